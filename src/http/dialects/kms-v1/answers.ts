import { type TProperties, type TSchema, Type } from '@sinclair/typebox';
import { environments, planes } from '../../../core/scope.ts';
import { lifecycleStates } from '../../../keys/lifecycle/states.ts';
import { revocationReasons } from '../../../keys/record.ts';
import { closed } from '../../json-requests.ts';

/** Schemas of answers: what is published of them, and what tests hold answers against. */

const one = <const T extends string>(names: readonly T[]) =>
  Type.Union(names.map((name) => Type.Literal(name)));
const orNull = (schema: TSchema) => Type.Union([schema, Type.Null()]);
const moment = Type.String({ format: 'date-time' });
const uuid = Type.String({ format: 'uuid' });
const base64 = Type.String({ contentEncoding: 'base64' });
const pem = Type.String({ description: 'PEM' });
const sha256 = Type.String({ pattern: '^[0-9a-f]{64}$' });

export const generatedKey = closed({ key_id: uuid, public_key: orNull(pem) });
export const rotatedKey = closed({ old_key_id: uuid, new_key_id: uuid, new_public_key: orNull(pem) });
export const revokedKey = closed({ key_id: uuid, revoked_at: moment });
export const archivedKey = closed({ key_id: uuid, archived_at: moment });
export const signedData = closed({ signature: base64, key_id: uuid });
export const verifiedData = closed({ valid: Type.Boolean(), key_id: uuid, algorithm: Type.String() });
export const encryptedData = closed({
  ...{ ciphertext: base64, key_id: uuid, algorithm: Type.String(), iv: base64 },
});
export const decryptedData = closed({ plaintext: base64, key_id: uuid });

export const keyMetadata = closed({
  ...{ key_id: uuid, kid: Type.String(), tenant_id: Type.String() },
  ...{ environment: one(environments), plane: one(planes) },
  ...{ key_type: Type.String(), key_size_bits: Type.Integer(), key_usage: Type.Array(Type.String()) },
  ...{ key_alias: orNull(Type.String()), key_state: one(lifecycleStates), public_key: orNull(pem) },
  ...{ created_at: moment, valid_from: moment, valid_until: orNull(moment) },
  ...{ rotation_count: Type.Integer(), rotate_after_days: Type.Optional(Type.Integer()) },
  access_policy: closed({
    allowed_modules: orNull(Type.Array(Type.String())),
    ...{ requires_approval: Type.Boolean(), max_usage_per_day: orNull(Type.Integer()) },
  }),
  ...{ archived_at: Type.Optional(moment), revoked_at: Type.Optional(moment) },
  revocation_reason: Type.Optional(one(revocationReasons)),
});

/** A page of a listing, in a member of this name. */
function page(members: TProperties): TSchema {
  return closed({ ...members, next_cursor: Type.Optional(Type.String()) });
}

export const keyPage = page({ keys: Type.Array(keyMetadata) });

export const addedAnchor = closed({ trust_anchor_id: uuid, anchor_type: Type.String() });
export const removedAnchor = closed({ trust_anchor_id: uuid, removed: Type.Literal(true) });

export const trustAnchor = closed({
  ...{ trust_anchor_id: uuid, tenant_id: Type.String(), anchor_type: Type.String() },
  places: Type.Array(closed({ environment: Type.String(), plane: Type.String() })),
  ...{ subject: Type.String(), issuer: Type.String(), serial_number: Type.String(), sha256 },
  ...{ valid_from: moment, valid_until: moment, added_at: moment, ca_kid: Type.Optional(Type.String()) },
  crl: orNull(
    closed({
      ...{ number: orNull(Type.String()), entries: Type.Integer(), sha256 },
      ...{ this_update: moment, next_update: moment },
    }),
  ),
  certificate: pem,
});

export const anchorPage = page({ trust_anchors: Type.Array(trustAnchor) });

export const chainVerdict = closed({
  ...{ valid: Type.Boolean(), problem: orNull(Type.String()), depth: orNull(Type.Integer()) },
  ...{ path_sha256: Type.Array(sha256), trust_anchor_id: orNull(uuid) },
  ...{ revocation_checked: Type.Boolean(), validated_at: moment },
});

const certificate = {
  ...{ certificate_id: Type.String(), anchor_id: uuid, ca_kid: Type.String(), certificate: pem, sha256 },
  ...{ valid_from: moment, valid_until: moment },
};
export const enrolledCertificate = closed({ ...certificate, issuer_certificate: pem });
export const certificatePage = page({ certificates: Type.Array(closed(certificate)) });

export const signedReceipt = closed({
  ...{ receipt_id: uuid, ts: moment, tenant_id: Type.String() },
  ...{ environment: orNull(Type.String()), plane: orNull(Type.String()), module: Type.String() },
  operation: Type.String(),
  kms_context: closed({
    ...{ key_id: orNull(Type.String()), operation_type: Type.String(), algorithm: orNull(Type.String()) },
    ...{ key_size_bits: orNull(Type.Integer()), success: Type.Boolean(), error_code: orNull(Type.String()) },
  }),
  requesting_module: Type.String(),
  audit: closed({ index: Type.Integer(), origin: Type.String() }),
  signature: closed({ algorithm: Type.Literal('Ed25519'), key: Type.String(), value: base64 }),
});

export const receiptPage = page({ receipts: Type.Array(signedReceipt) });

const webhook = {
  ...{ webhook_id: uuid, tenant_id: Type.String(), environment: one(environments), plane: one(planes) },
  ...{ url: Type.String(), event_types: Type.Array(Type.String()), created_at: moment },
};
export const createdWebhook = closed({ ...webhook, secret: Type.String({ description: 'told once' }) });
export const webhookPage = closed({
  webhooks: Type.Array(
    closed({
      ...webhook,
      delivery: closed({
        ...{ failed_attempts: Type.Integer(), given_up: Type.Integer(), disabled: Type.Boolean() },
      }),
    }),
  ),
});
export const deletedWebhook = closed({ webhook_id: uuid, removed: Type.Literal(true) });

export const healthAnswer = closed({
  status: one(['healthy', 'degraded', 'unhealthy']),
  checks: Type.Array(
    closed({ name: Type.String(), status: one(['pass', 'fail', 'warn']), detail: Type.String() }),
  ),
});

export const configAnswer = closed({
  key_rotation_schedule: Type.Record(Type.String(), Type.String()),
  rotation_grace_period: Type.String(),
  allowed_algorithms: Type.Array(Type.String()),
  max_usage_per_day_default: orNull(Type.Integer()),
  dual_authorization_required_operations: Type.Array(Type.String()),
});

export const errorCodes = [
  ...['INVALID_REQUEST', 'UNAUTHENTICATED', 'UNAUTHORIZED', 'KEY_NOT_FOUND', 'KEY_REVOKED', 'KEY_INACTIVE'],
  ...['POLICY_VIOLATION', 'RATE_LIMITED', 'DEPENDENCY_UNAVAILABLE', 'INTERNAL_ERROR'],
] as const;

export const errorEnvelope = closed({
  error: closed({
    code: one(errorCodes),
    message: Type.String(),
    details: closed({
      reason: Type.String({ description: 'the kind of the refusal, of a longer list' }),
      hint: Type.String({ description: 'what to do next' }),
      retry_after_ms: Type.Optional(Type.Integer()),
      request_id: uuid,
      ts: moment,
    }),
    retryable: Type.Boolean(),
  }),
});
