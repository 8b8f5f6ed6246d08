import { refuse } from '../../core/result.ts';
import type { Keyring } from '../../keys/keyring.ts';

const notFound = refuse('NotFound');

/**
 * The keyring of all other operations: no name leads to the KEK. An unwrap by it would give out the bytes of DEKs; a rotation or
 * destruction would leave DEKs behind. Lists show that it is there.
 */
export function keyringWithout(keyring: Keyring, kekId: string): Keyring {
  // The UUID names it alone, however the rest of the name is written.
  const uuid = kekId.slice(kekId.lastIndexOf('/') + 1);
  const isKek = (kid: string) => kid.toLowerCase().includes(uuid);
  return {
    find: (tenant, kid) => (isKek(kid) ? notFound : keyring.find(tenant, kid)),
    describe: async (tenant, kid) => (isKek(kid) ? notFound : keyring.describe(tenant, kid)),
    rotate: async (request) => (isKek(request.kid) ? notFound : keyring.rotate(request)),
    destroy: async (request) => (isKek(request.kid) ? notFound : keyring.destroy(request)),
    archive: async (request) => (isKek(request.kid) ? notFound : keyring.archive(request)),
    revoke: async (request) => (isKek(request.kid) ? notFound : keyring.revoke(request)),
    create: (request) => keyring.create(request),
    findByKeyId: (tenant, keyId) => keyring.findByKeyId(tenant, keyId),
    findByAlias: (tenant, placement, alias) => keyring.findByAlias(tenant, placement, alias),
    keyIds: (request) => keyring.keyIds(request),
    list: (request) => keyring.list(request),
    publicVersions: (filter) => keyring.publicVersions(filter),
    refresh: () => keyring.refresh(),
    counts: () => keyring.counts(),
    stateCounts: () => keyring.stateCounts(),
    close: () => keyring.close(),
  };
}
