import { type Jwk, jwkOf } from '../../algorithms/public-formats.ts';
import { ok } from '../../core/result.ts';
import type { PublicVersionsFilter } from '../../keys/keyring.ts';
import type { KeyOperation, OperationParts } from '../operation.ts';

export type JwksRequest = Omit<PublicVersionsFilter, 'tenant' | 'limit'>;

/** Verifiers read the whole set: ML-DSA-87 keys make 1.8 MiB of so many. */
export const maxJwks = 500;

/** The tenant's public keys as a JSON Web Key Set (RFC 7517), newest first. */
export function jwksOperation({ keyring }: OperationParts): KeyOperation<JwksRequest, readonly Jwk[]> {
  return {
    kind: 'keys',
    name: 'jwks',
    scope: 'kms:read',
    subjects: ({ kid }) => (kid === undefined ? [] : [kid]),
    facts: ({ purpose }) => ({ purpose }),
    async run(filter, { tenant }) {
      const found = await keyring.publicVersions({ ...filter, tenant, limit: maxJwks });
      if (!found.ok) return found;
      return ok(found.value.flatMap((version) => jwkOf(version) ?? []));
    },
  };
}
