import { type Static, Type } from '@sinclair/typebox';
import type { MintedToken, RootKeyState } from '../../../auth/tokens.ts';
import { parseUtc } from '../../../auth/utc.ts';
import { type ApprovableOperation, approvableOperations } from '../../../core/approvals.ts';
import { ownMember } from '../../../core/own-member.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';
import { scopes } from '../../../core/scope.ts';
import { factsOf } from '../../../operations/operation.ts';
import type { Operations } from '../../../operations/operations.ts';
import type { ExchangeRequest } from '../../../operations/token-exchange.ts';
import {
  type Discharge,
  type DischargeTokenRequest,
  longestDischargeMs,
  longestTokenMs,
  type MintTokenRequest,
  type RevokeTokenRequest,
} from '../../../operations/tokens.ts';
import type { AnyEndpoint, Endpoint, Presented } from '../../dialect.ts';
import {
  approvedRequestSha256,
  closed,
  optionalBody,
  parseNothing,
  shapeOf,
  typed,
} from '../../json-requests.ts';
import { timestamp } from './present.ts';
import { kidText, operationId, publishedName, publishedUtc } from './schemas.ts';

/** RFC 3339 in UTC. */
const utcText = Type.String({ minLength: 20, maxLength: 24, ...publishedUtc });
const tenantText = Type.String({ minLength: 1, maxLength: 63, ...publishedName });
/** As long as a capability may be. */
const maxTokenCharacters = 4_096;
const defaultTokenMs = 3_600_000;
const defaultDischargeMs = 900_000;

export const mintBody = closed({
  op_id: Type.Optional(operationId),
  tenant: Type.Optional(tenantText),
  scopes: Type.Array(Type.Union(scopes.map((scope) => Type.Literal(scope))), {
    minItems: 1,
    maxItems: scopes.length,
  }),
  ttl_s: Type.Optional(Type.Integer({ minimum: 1, maximum: longestTokenMs / 1_000 })),
  expires_at: Type.Optional(utcText),
  not_before: Type.Optional(utcText),
  caveats: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 2_048 }), { maxItems: 24 })),
  dual_control: Type.Optional(Type.Boolean()),
});

function mintRequestOf(body: Static<typeof mintBody>): Result<MintTokenRequest> {
  const { expires_at: expiresAt, not_before: notBefore, ttl_s: ttlS } = body;
  if (expiresAt !== undefined && ttlS !== undefined) {
    return refuse('BadRequest', 'give at most one of ttl_s and expires_at');
  }
  const atMs = expiresAt === undefined ? undefined : parseUtc(expiresAt);
  const notBeforeMs = notBefore === undefined ? undefined : parseUtc(notBefore);
  if (
    (expiresAt !== undefined && atMs === undefined) ||
    (notBefore !== undefined && notBeforeMs === undefined)
  ) {
    return refuse('BadRequest', 'expires_at and not_before are times in UTC (2027-01-31T12:00:00Z)');
  }
  const inMs = ttlS === undefined ? defaultTokenMs : ttlS * 1_000;
  return ok({
    tenant: body.tenant,
    scopes: body.scopes,
    expires: atMs === undefined ? { inMs } : { atMs },
    notBeforeMs,
    caveats: body.caveats ?? [],
    dualControl: body.dual_control ?? false,
    opId: body.op_id,
  });
}

export const exchangeBody = optionalBody(
  shapeOf(closed({ jwt: Type.Optional(Type.String({ minLength: 1, maxLength: 16_384 })) })),
);

/** POST /token, with a client certificate, over a Unix socket, or with a JSON Web Token in the body or as the bearer token. */
export function exchangeEndpoint({ token_exchange }: Operations): Endpoint<ExchangeRequest, MintedToken> {
  return {
    operation: token_exchange,
    parse: typed(exchangeBody, ({ jwt }) => ok({ jwt })),
    present: presentMinted,
  };
}

function presentMinted({ token, actor, expiresAtMs }: MintedToken): Presented {
  return { status: 201, body: { token, actor, expires_at: timestamp(expiresAtMs) } };
}

/** POST /token/mint */
export function mintEndpoint({ token_mint }: Operations): Endpoint<MintTokenRequest, MintedToken> {
  return {
    operation: token_mint,
    parse: typed(shapeOf(mintBody), mintRequestOf),
    present: presentMinted,
  };
}

export const dischargeBody = closed({
  /** Without it the discharge is an approval for /kms/v1, of one of its operations. */
  caveat_id: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9_-]{1,256}$', maxLength: 256 })),
  operation: Type.String({ minLength: 1, maxLength: 32 }),
  kid: Type.Optional(kidText),
  /** Of an approval: the key, where the change is of one. */
  key_id: Type.Optional(operationId),
  /** Of an approval: in place of the request, SHA-256 of its RFC 8785 JSON without approval_token. */
  request_sha256: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$', maxLength: 64 })),
  /** The body of the call, with its op_id; of an approval as it will be sent, with or without its approval_token. */
  request: Type.Optional(Type.Record(Type.String({ maxLength: 64 }), Type.Unknown(), { maxProperties: 16 })),
  ttl_s: Type.Optional(Type.Integer({ minimum: 1, maximum: longestDischargeMs / 1_000 })),
});

/** POST /token/discharge. `calls`: the endpoints of the calls that a second principal can agree to. */
export function dischargeEndpoint(
  { token_discharge }: Operations,
  calls: Readonly<Record<string, AnyEndpoint>>,
): Endpoint<DischargeTokenRequest, Discharge> {
  const requestOf = (body: Static<typeof dischargeBody>): Result<DischargeTokenRequest> => {
    const { caveat_id: caveatId } = body;
    if (caveatId === undefined) return approvalRequestOf(body);
    if (body.key_id !== undefined || body.request_sha256 !== undefined) return onlyOfApprovals;
    const endpoint = Object.hasOwn(calls, body.operation) ? calls[body.operation] : undefined;
    if (endpoint === undefined) {
      return refuse('BadRequest', `operation: one of ${Object.keys(calls).join(', ')}`);
    }
    const call = endpoint.parse({
      ...{ named: body.kid, query: '' },
      body: Buffer.from(JSON.stringify(body.request ?? {})),
    });
    if (!call.ok) return call;
    if (endpoint.operation.kind === 'entry') return notAgreed;
    return ok({
      caveatId: Buffer.from(caveatId, 'base64url'),
      call: factsOf(endpoint.operation, call.value),
      scope: endpoint.operation.scope,
      lifetimeMs: lifetimeOf(body),
    });
  };
  return {
    operation: token_discharge,
    parse: typed(shapeOf(dischargeBody), requestOf),
    present: ({ discharge, expiresAtMs }) => ({
      status: 201,
      body: { discharge, expires_at: timestamp(expiresAtMs) },
    }),
  };
}

function lifetimeOf({ ttl_s: ttlS }: Static<typeof dischargeBody>): number {
  return ttlS === undefined ? defaultDischargeMs : ttlS * 1_000;
}

/** To a change of one key, or to one whole request. */
function approvalRequestOf(body: Static<typeof dischargeBody>): Result<DischargeTokenRequest> {
  const { operation, kid, key_id: keyId, request, request_sha256: digest } = body;
  const scope = ownMember<ApprovableOperation>(approvableOperations, operation)?.scope;
  if (scope === undefined) {
    return refuse('BadRequest', `operation: one of ${Object.keys(approvableOperations).join(', ')}`);
  }
  const named = [request, digest].filter((one) => one !== undefined).length;
  if (kid !== undefined || named > 1 || (named === 0 && keyId === undefined)) return notOneChange;
  const requestSha256 = request === undefined ? digest : approvedRequestSha256(request);
  return ok({
    caveatId: undefined,
    call: {
      ...{ operation, kids: keyId === undefined ? [] : [keyId.toLowerCase()], changes: true },
      ...(requestSha256 === undefined ? undefined : { requestSha256: () => requestSha256 }),
    },
    scope,
    lifetimeMs: lifetimeOf(body),
  });
}

const notOneChange = refuse(
  'BadRequest',
  'an approval is for a key_id or, where there is none yet, for a request or its request_sha256',
);
const onlyOfApprovals = refuse('BadRequest', 'key_id and request_sha256 are of approvals, without caveat_id');
const notAgreed = refuse('BadRequest', 'nobody agrees to this');

export const revokeBody = closed({
  op_id: Type.Optional(operationId),
  token: Type.Optional(Type.String({ minLength: 1, maxLength: maxTokenCharacters })),
  actor: Type.Optional(Type.String({ pattern: '^cap:[0-9a-f]{16}$', maxLength: 20 })),
  root_key: Type.Optional(Type.Integer({ minimum: 0, maximum: 999_999_999 })),
  tenant: Type.Optional(tenantText),
  issued_before: Type.Optional(utcText),
});

function revokeRequestOf(body: Static<typeof revokeBody>): Result<RevokeTokenRequest> {
  const { token, actor, root_key: rootKeyId, tenant, issued_before: before, op_id: opId } = body;
  const named = [token, actor, rootKeyId, before].filter((one) => one !== undefined).length;
  if (named > 1 || (named === 0 && tenant === undefined)) return notOneThing;
  if ((token !== undefined || rootKeyId !== undefined) && tenant !== undefined) return notOneThing;
  if (token !== undefined) return ok({ token, opId });
  if (actor !== undefined) return ok({ actor, tenant, opId });
  if (rootKeyId !== undefined) return ok({ rootKeyId, opId });
  const beforeMs = before === undefined ? undefined : parseUtc(before);
  if (before !== undefined && beforeMs === undefined) {
    return refuse('BadRequest', 'issued_before is a time in UTC (2027-01-31T12:00:00Z)');
  }
  return ok({ tenant, beforeMs, opId });
}

const notOneThing = refuse(
  'BadRequest',
  'give one of token, actor, root_key, issued_before and tenant; tenant may go with actor and issued_before',
);

/** POST /token/revoke */
export function revokeEndpoint({ token_revoke }: Operations): Endpoint<RevokeTokenRequest, void> {
  return {
    operation: token_revoke,
    parse: typed(shapeOf(revokeBody), revokeRequestOf),
    present: () => ({ status: 200, body: { revoked: true } }),
  };
}

/** GET /token/keys */
export function tokenKeysEndpoint({ token_keys }: Operations): Endpoint<void, readonly RootKeyState[]> {
  return { operation: token_keys, parse: parseNothing, present: (keys) => ({ status: 200, body: { keys } }) };
}

export const rotateTokenKeyBody = optionalBody(shapeOf(closed({ op_id: Type.Optional(operationId) })));

/** POST /token/keys */
export function rotateTokenKeyEndpoint({
  token_rotate_key,
}: Operations): Endpoint<{ readonly opId: string | undefined }, number> {
  return {
    operation: token_rotate_key,
    parse: typed(rotateTokenKeyBody, ({ op_id: opId }) => ok({ opId })),
    present: (id) => ({ status: 201, body: { id } }),
  };
}
