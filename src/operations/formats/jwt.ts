import { maxMessageBytes } from '../../algorithms/signed-input.ts';
import { jwsNames } from '../../algorithms/standard-names.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { KeyHandle } from '../../keys/keyring.ts';
import type { CryptoOperation, OperationParts } from '../operation.ts';
import { planDocument, type SignedDocument } from './signed-document.ts';

type Members = Readonly<Record<string, unknown>>;

export interface JwtRequest {
  readonly kid: string;
  /** `alg` chooses among those of the key, `kid` and `typ` are added where they are missing. */
  readonly header: Members;
  readonly claims: Members;
  readonly opId: string | undefined;
}

/** A JSON Web Token (RFC 7519) in its compact form. */
export interface JwtAnswer {
  readonly kid: string;
  readonly token: string;
}

export function jwtOperation(parts: OperationParts): CryptoOperation<JwtRequest, JwtAnswer> {
  return {
    kind: 'crypto',
    batch: false,
    name: 'jwt',
    scope: 'kms:sign',
    subjects: ({ kid }) => [kid],
    facts: ({ opId }) => ({ opId }),
    plan: (request, caller) =>
      refusalOf(request) ?? planDocument(parts, request, caller, (handle) => tokenOf(request, handle)),
  };
}

const extended = refuse('BadRequest', 'header: no crit and no b64');
const badTimes = refuse('BadRequest', 'claims: exp, nbf and iat are numbers of seconds');

function refusalOf({ header, claims }: JwtRequest) {
  // Extensions that change what the signature means (RFC 7515 section 4.1.11, RFC 7797).
  if (Object.hasOwn(header, 'crit') || Object.hasOwn(header, 'b64')) return extended;
  const times = [claims.exp, claims.nbf, claims.iat];
  return times.every((time) => time === undefined || typeof time === 'number') ? undefined : badTimes;
}

const otherKid = refuse('BadRequest', 'header.kid is not the version that signs: leave it out');
const noSuchAlg = refuse('Unsupported', 'the key makes no JSON Web Signature by this alg');
const tooLong = refuse('TooLarge', 'a token signs at most 65536 bytes');

function tokenOf({ header, claims }: JwtRequest, handle: KeyHandle): Result<SignedDocument<JwtAnswer>> {
  const { kid } = handle.version;
  if (header.kid !== undefined && header.kid !== kid) return otherKid;
  const { components } = handle.algorithm;
  const ways = components.length > 1 ? [] : components[0].schemes;
  const scheme = ways.find((way) => {
    const name = jwsNames.get(way.scheme);
    return name !== undefined && (header.alg === undefined || header.alg === name);
  });
  if (scheme === undefined) return noSuchAlg;
  const full = { typ: 'JWT', ...header, alg: jwsNames.get(scheme.scheme), kid };
  const signed = [full, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  if (signed.length > maxMessageBytes) return tooLong;
  return ok({
    scheme,
    message: Buffer.from(signed),
    finish: (signature) => ({ kid, token: `${signed}.${Buffer.from(signature).toString('base64url')}` }),
  });
}
