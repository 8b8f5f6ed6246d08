import { hash } from 'node:crypto';
import { Type } from '@sinclair/typebox';
import type { Jwk } from '../../../algorithms/public-formats.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';
import type { SignedEvidence } from '../../../custody/key-evidence.ts';
import { type AttestRequest, maxNonceBytes, minNonceBytes } from '../../../operations/formats/attest.ts';
import type { CsrAnswer, CsrRequest } from '../../../operations/formats/csr.ts';
import type { JwksRequest } from '../../../operations/formats/jwks.ts';
import type { JwtAnswer, JwtRequest } from '../../../operations/formats/jwt.ts';
import type { Operations } from '../../../operations/operations.ts';
import type { Endpoint, Presented } from '../../dialect.ts';
import { closed, parseQuery, shapeOf, typed } from '../../json-requests.ts';
import { presentEvidence } from './present.ts';
import { kidText, operationId } from './schemas.ts';

/** GET /jwks?purpose&kid */
export function jwksEndpoint({ jwks }: Operations): Endpoint<JwksRequest, readonly Jwk[]> {
  return {
    operation: jwks,
    parse: ({ query }) => parseQuery(query, ['purpose', 'kid']),
    present: presentJwks,
  };
}

function presentJwks(keys: readonly Jwk[]): Presented {
  const bytes = Buffer.from(JSON.stringify({ keys }));
  return {
    status: 200,
    raw: { contentType: 'application/jwk-set+json', bytes },
    // Verifiers see a rotation within a minute. Private: the answer is the tenant's own.
    cache: { etag: `"${hash('sha256', bytes, 'base64url')}"`, control: 'private, max-age=60' },
  };
}

const anyMembers = Type.Record(Type.String(), Type.Unknown());

export const jwtShape = shapeOf(
  closed({
    kid: kidText,
    header: Type.Optional(anyMembers),
    claims: anyMembers,
    op_id: Type.Optional(operationId),
  }),
);

/** POST /jwt */
export function jwtEndpoint({ jwt }: Operations): Endpoint<JwtRequest, JwtAnswer> {
  return {
    operation: jwt,
    parse: typed(jwtShape, ({ kid, header = {}, claims, op_id: opId }) => ok({ kid, header, claims, opId })),
    present: ({ kid, token }) => ({ status: 200, body: { kid, token } }),
  };
}

/** A name of a dozen attributes. */
const maxSubjectLength = 1_024;

export const csrShape = shapeOf(
  closed({
    kid: kidText,
    subject: Type.String({ minLength: 1, maxLength: maxSubjectLength }),
    op_id: Type.Optional(operationId),
  }),
);

/** POST /csr */
export function csrEndpoint({ csr }: Operations): Endpoint<CsrRequest, CsrAnswer> {
  return {
    operation: csr,
    parse: typed(csrShape, ({ kid, subject, op_id: opId }) => ok({ kid, subject, opId })),
    present: ({ kid, pem }) => ({ status: 200, body: { kid, csr_pem: pem } }),
  };
}

/** GET /attest?kid&nonce */
export function attestEndpoint({ attest }: Operations): Endpoint<AttestRequest, SignedEvidence> {
  return {
    operation: attest,
    parse: ({ query }) => parseAttest(query),
    present: (evidence) => ({ status: 200, body: presentEvidence(evidence) }),
  };
}

const badNonce = refuse(
  'BadRequest',
  `nonce: ${minNonceBytes} to ${maxNonceBytes} bytes in base64url, without padding`,
);
const noKid = refuse('BadRequest', 'kid is required');

function parseAttest(query: string): Result<AttestRequest> {
  const parsed = parseQuery(query, ['kid', 'nonce']);
  if (!parsed.ok) return parsed;
  const { kid = '', nonce } = parsed.value;
  if (kid === '') return noKid;
  if (nonce === undefined) return ok({ kid, nonce });
  const bytes = Buffer.from(nonce, 'base64url');
  const { length } = bytes;
  // One text for each value: the evidence says it as it came.
  const plain = bytes.toString('base64url') === nonce;
  return plain && length >= minNonceBytes && length <= maxNonceBytes ? ok({ kid, nonce }) : badNonce;
}
