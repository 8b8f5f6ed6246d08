import { hash } from 'node:crypto';
import { createLocalJWKSet, decodeJwt, type JSONWebKeySet, type JWTVerifyGetKey, jwtVerify } from 'jose';
import type { Clock } from '../../core/clock.ts';
import { isName } from '../../core/name.ts';
import type { AgreedChange, AgreementReader } from '../approvals.ts';
import { isWellFormed } from './jwt.ts';
import { pseudonymOf } from './placed-identity.ts';

export interface ApproverTokenParts {
  /** Of approvers, and of nobody else. */
  readonly keys: JSONWebKeySet;
  readonly algorithms: readonly string[];
  /** The name of this service, if it has one: a token with `aud` has to name it. */
  readonly audience: string | undefined;
  readonly clock: Pick<Clock, 'utcMs'>;
  readonly timeSkewToleranceMs: number;
}

/** What nobody looks at might be meant to restrict, so there is nothing else in a token. */
const claimNames = new Set([
  ...['iss', 'sub', 'aud', 'jti', 'iat', 'nbf', 'exp'],
  ...['tenant_id', 'operation', 'key_id', 'request_sha256'],
]);

/** Reads tokens that an approver has signed (RFC 7515): the claims of a discharge under the names of JSON Web Tokens. */
export function createApproverTokenReader(parts: ApproverTokenParts): AgreementReader {
  const keys: JWTVerifyGetKey = createLocalJWKSet(parts.keys);
  return async (text) => {
    if (!isWellFormed(text)) return undefined;
    try {
      const { payload } = await jwtVerify(text, keys, {
        algorithms: [...parts.algorithms],
        requiredClaims: ['exp', 'sub', 'tenant_id', 'operation'],
        clockTolerance: parts.timeSkewToleranceMs / 1_000,
        currentDate: new Date(parts.clock.utcMs()),
        ...(decodeJwt(text).aud !== undefined ? { audience: parts.audience ?? [] } : undefined),
      });
      return changeIn(payload, text);
    } catch {
      return undefined;
    }
  };
}

function changeIn(payload: Readonly<Record<string, unknown>>, text: string): AgreedChange | undefined {
  if (!Object.keys(payload).every((name) => claimNames.has(name))) return undefined;
  const {
    sub,
    exp,
    jti,
    tenant_id: tenant,
    operation,
    key_id: keyId,
    request_sha256: requestSha256,
  } = payload;
  if (typeof tenant !== 'string' || !isName(tenant)) return undefined;
  if (typeof sub !== 'string' || typeof operation !== 'string' || typeof exp !== 'number') return undefined;
  if (![jti, keyId, requestSha256].every((each) => each === undefined || typeof each === 'string'))
    return undefined;
  // The signature itself may have several forms (ECDSA), what it signs has one.
  const id =
    jti === undefined ? ['signed', hash('sha256', text.slice(0, text.lastIndexOf('.')))] : ['jti', sub, jti];
  return {
    ...{ id: JSON.stringify(id), tenant, operation, approver: pseudonymOf(tenant, sub) },
    ...{ keyId: keyId as string | undefined, requestSha256: requestSha256 as string | undefined },
    expiresAtMs: exp * 1_000,
  };
}
