import { type TSchema, Type } from '@sinclair/typebox';
import { hybridMode } from './schemas.ts';

/** The answers of this surface, for its published description. Tests hold the golden answers against them. */

const kid = Type.String({ description: 'tenant/purpose/alg/uuid#vN' });
const time = Type.String({ description: 'RFC 3339, UTC, with milliseconds' });
const base64 = Type.String({ description: 'base64 (RFC 4648, padded)' });
const state = Type.String({ description: 'active or destroyed' });

const policy = Type.Optional(
  Type.Object(
    {
      rotate_after_days: Type.Optional(Type.Integer()),
      keep_versions: Type.Optional(Type.Integer()),
      rotates_at: Type.Optional(
        Type.String({ description: 'the moment at which the current version is replaced, RFC 3339' }),
      ),
      usages: Type.Optional(
        Type.Array(Type.String(), { description: 'missing where the key may do all that its alg can' }),
      ),
      backend: Type.Optional(Type.String({ description: 'missing of a key in software' })),
      adopt: Type.Optional(
        Type.Union([Type.Object({ label: Type.String() }), Type.Object({ id_hex: Type.String() })], {
          description: 'the key of the token that version 1 is',
        }),
      ),
      allow_sign_fallback: Type.Optional(Type.Literal(true)),
      attest: Type.Optional(Type.Union([Type.Literal(true), Type.Literal('require')])),
    },
    { description: 'missing where it would be empty' },
  ),
);

const component = Type.Object({ alg: Type.String(), pubkey_b64: base64, spki_b64: base64 });
const hpke = Type.Object(
  {
    ...{ kem_id: Type.Integer(), kdf_id: Type.Integer(), aead_id: Type.Integer() },
    source: Type.String({ description: 'the document that the KEM follows, with its version' }),
  },
  { description: 'of a KEM key: the suite of RFC 9180, base mode, in which it wraps' },
);
const publicKey = Type.Object(
  {
    alg: Type.String(),
    pubkey_b64: base64,
    spki_b64: Type.Optional(base64),
    hpke: Type.Optional(hpke),
    components: Type.Optional(Type.Array(component, { description: 'of a hybrid key, both parts' })),
  },
  { description: 'missing where a key has no public part' },
);

const failure = Type.Object({
  code: Type.String({ description: 'one of a closed list' }),
  message: Type.String({ description: 'from a fixed table: no input, no cause' }),
  retryable: Type.Boolean(),
  hint: Type.String(),
  retry_after_ms: Type.Optional(Type.Integer()),
});
export const errorAnswer = Type.Object({
  error: Type.Composite([failure, Type.Object({ ts: time, request_id: Type.String() })]),
});

export const createAnswer = Type.Object({ kid, public: Type.Optional(publicKey), created_at: time });
export const rotateAnswer = Type.Object({ kid, previous: kid, public: Type.Optional(publicKey) });
export const destroyAnswer = Type.Object({ kid, state: Type.Literal('destroyed') });

export const listAnswer = Type.Object({
  keys: Type.Array(
    Type.Object({
      ...{ kid, alg: Type.String(), purpose: Type.String(), state },
      ...{ current_version: Type.Integer(), created_at: time },
      policy,
    }),
  ),
  next_cursor: Type.Optional(Type.String()),
});

export const readAnswer = Type.Object({
  ...{ kid, alg: Type.String(), purpose: Type.String(), state, current_version: Type.Integer() },
  versions: Type.Array(
    Type.Object({
      ...{ kid, version: Type.Integer(), state, created_at: time },
      public: Type.Optional(publicKey),
      source: Type.Optional(
        Type.String({ description: 'derived, imported or imported_public; missing where it was made here' }),
      ),
      derived_from: Type.Optional(kid),
    }),
  ),
  backend: Type.String(),
  attestation_class: Type.String(),
  policy,
});

const receipt = Type.Object({
  kid,
  index: Type.Integer({ description: 'position in the audit log' }),
  seq: Type.Integer({ description: "number within the key's records" }),
  salt_b64: Type.Optional(base64),
});

export const evidenceAnswer = Type.Object({
  kid,
  class: Type.String({ description: "the attestation class of the key's backend" }),
  evidence: Type.Object(
    {
      payload: Type.String(),
      signatures: Type.Array(Type.Object({ protected: Type.String(), signature: Type.String() })),
    },
    {
      description:
        'general JWS (RFC 7515) of EAT claims (RFC 9711), by EdDSA and ML-DSA-44; docs/attestation.md',
    },
  ),
});

export const signAnswer = Type.Object({
  kid,
  sigs: Type.Array(
    Type.Object({
      ...{ kid, alg: Type.String(), signature_b64: base64 },
      backend: Type.Optional(
        Type.String({
          description: "that signed in the place of the key's own, by policy.allow_sign_fallback",
        }),
      ),
    }),
  ),
  receipts: Type.Optional(Type.Array(receipt)),
  attestation: Type.Optional(
    Type.Array(evidenceAnswer, {
      description: 'of each key whose policy has `attest`; kept for minutes, no nonce',
    }),
  ),
});

export const verifyAnswer = Type.Object({
  ok: Type.Boolean(),
  details: Type.Object({
    checked: Type.Array(
      Type.Object({ kid, alg: Type.String(), ok: Type.Boolean(), reason: Type.Optional(Type.String()) }),
    ),
    satisfied_mode: Type.Union([hybridMode, Type.Literal('none')]),
    reason: Type.Optional(
      Type.String({ description: 'stripped or downgraded: valid signatures that do not satisfy the mode' }),
    ),
  }),
  hints: Type.Object({ kids: Type.Array(kid), algs: Type.Array(Type.String()) }),
  cache_age_ms: Type.Optional(
    Type.Integer({
      description:
        'of keys whose backend can be away: milliseconds since the last contact with it, also as X-KMS-Cache-Age',
    }),
  ),
  stale: Type.Optional(
    Type.Literal(true, { description: 'cache_age_ms is more than this service takes without a remark' }),
  ),
});

/** Each item has its own answer or its own error, in the order of the request. */
export function batchOf(answer: TSchema) {
  return Type.Object({ results: Type.Array(Type.Union([answer, Type.Object({ error: failure })])) });
}

export const jwksAnswer = Type.Object({
  keys: Type.Array(Type.Object({ kty: Type.String(), kid, use: Type.String() }), {
    description: 'RFC 7517; ML-DSA as AKP of RFC 9964',
  }),
});
export const jwtAnswer = Type.Object({ kid, token: Type.String({ description: 'compact JWS' }) });
export const csrAnswer = Type.Object({ kid, csr_pem: Type.String({ description: 'PKCS #10, RFC 7468' }) });

export const macAnswer = Type.Object({ kid, mac_b64: base64 });
export const macVerifyAnswer = Type.Object({ ok: Type.Boolean() });

export const encryptAnswer = Type.Object({ kid, nonce_b64: base64, ciphertext_b64: base64 });
export const openedAnswer = Type.Object({ kid, plaintext_b64: base64 });
export const wrapAnswer = Type.Object({ kid, wrapped_b64: base64 });
export const rewrapAnswer = Type.Union([wrapAnswer, encryptAnswer], {
  description: 'in the form in which it came',
});
export const dataKeyAnswer = Type.Object({
  ...{ kid, wrapped_b64: base64, plaintext_b64: Type.Optional(base64) },
});
export const randomAnswer = Type.Object({ random_b64: base64 });

export const loadAnswer = Type.Object(
  {},
  { description: 'queues, latency and tenants of late; docs/fairness.md' },
);

export const rootAnswer = Type.Object({
  generation: Type.Integer({ description: '1, and one more with each rotation' }),
  root: Type.String({ description: 'a name by which root keys are told apart' }),
  rotated_at: Type.Optional(time),
  opened_by: Type.String(),
  sources: Type.Array(Type.Object({ id: Type.String(), kind: Type.String(), place: Type.String() })),
  rotation: Type.Optional(
    Type.Object({
      ...{ generation: Type.Integer(), started_at: time },
      ...{ done: Type.Integer(), total: Type.Integer({ description: 'records' }) },
    }),
  ),
});

export const vkeysAnswer = Type.Object({
  vkeys: Type.Array(Type.String({ description: 'C2SP signed-note verifier key' })),
  replaced: Type.Optional(Type.Object({ vkeys: Type.Array(Type.String()), until: time })),
});

export const recordsAnswer = Type.Object({
  records: Type.Array(
    Type.Object({ index: Type.Integer(), record: Type.Object({}, { description: 'docs/audit.md' }) }),
  ),
  next: Type.Optional(Type.Integer({ description: 'where the next page begins' })),
});

const pending = Type.Object({
  ...{ approval: Type.String(), failure: Type.String(), reason: Type.String(), approver: Type.String() },
  expires_at: time,
});
export const acceptAnswer = Type.Union([
  Type.Composite([Type.Object({ state: Type.Literal('pending') }), pending]),
  Type.Object({ state: Type.Literal('accepted'), approvers: Type.Array(Type.String()) }),
]);
export const pendingAnswer = Type.Object({
  failure: Type.Union([Type.String(), Type.Null()]),
  pending: Type.Array(pending),
});

export const mintAnswer = Type.Object({ token: Type.String(), actor: Type.String(), expires_at: time });
export const dischargeAnswer = Type.Object({ discharge: Type.String(), expires_at: time });
export const revokeAnswer = Type.Object({ revoked: Type.Literal(true) });
export const tokenKeysAnswer = Type.Object({ keys: Type.Array(Type.Object({ id: Type.Integer() })) });
export const rotateTokenKeyAnswer = Type.Object({ id: Type.Integer() });

export const sealAnswer = Type.Object({ sealed_b64: base64 });
export const unsealAnswer = Type.Object({ plaintext_b64: base64 });
export const wrappingKeyAnswer = Type.Object({
  wrapping_key_id: Type.String({ description: 'UUID' }),
  alg: Type.String(),
  public: publicKey,
  expires_at: time,
  info: Type.Optional(Type.String({ description: 'the info of HPKE, ASCII' })),
});
