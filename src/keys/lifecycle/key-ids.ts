import { BoundedCache } from '../../core/bounded-cache.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { Change, Store } from '../../store/store.ts';
import type { KeyHandle, ListKeyIds, NamedVersion } from '../keyring.ts';
import { formatKid, isUuid, type Kid } from '../kid.ts';
import type { KeyLookup } from '../lookup.ts';
import type { KeyHead, KeyPlacement, KeyVersion } from '../record.ts';
import type { KeyRecords } from '../records.ts';
import { aliasKey, idPrefix, isAlias } from './names.ts';

/** As many as the look-up has keys: about 200 bytes each. */
const maxNames = 65_536;

const notFound = refuse('NotFound');
const aliasTaken = refuse('Conflict', 'another key of this place has this alias');
const badAlias = refuse('BadRequest', 'an alias has 1 to 128 of A-Z a-z 0-9 . _ : / @ + -');

/**
 * Records that lead from other names to kids. They are written with what they name, in one commit, and nothing vouches for
 * them: a name counts where the record of the key, which is authentic, has it too. A key_id never comes to mean another version.
 */
export class KeyIds {
  readonly #store: Store;
  readonly #records: KeyRecords;
  readonly #lookup: KeyLookup;
  /** From `<tenant>/<key_id>` to the versioned kid. */
  readonly #names = new BoundedCache<string, string>(maxNames);

  constructor(store: Store, records: KeyRecords, lookup: KeyLookup) {
    this.#store = store;
    this.#records = records;
    this.#lookup = lookup;
  }

  find(tenant: string, keyId: string): Result<KeyHandle> | Promise<Result<KeyHandle>> {
    const kid = this.#names.get(`${tenant}/${keyId}`);
    if (kid !== undefined) return this.#lookup.find(tenant, kid);
    return isUuid(keyId) ? this.#findInStore(tenant, keyId) : notFound;
  }

  async #findInStore(tenant: string, keyId: string): Promise<Result<KeyHandle>> {
    const storeKey = idPrefix(tenant) + keyId;
    const entry = await this.#store.get(storeKey);
    if (!entry.ok) return entry;
    if (entry.value === undefined) return notFound;
    const kid = Buffer.from(entry.value.value).toString('latin1');
    const found = await this.#lookup.find(tenant, kid);
    if (found.ok ? found.value.version.keyId !== keyId : isWrong(found.failure.code))
      return this.#records.corrupt(storeKey);
    if (found.ok) this.#names.set(`${tenant}/${keyId}`, kid);
    return found;
  }

  async findByAlias(tenant: string, placement: KeyPlacement, alias: string): Promise<Result<KeyHandle>> {
    if (!isAlias(alias)) return notFound;
    const storeKey = aliasKey(tenant, placement, alias);
    const entry = await this.#store.get(storeKey);
    if (!entry.ok) return entry;
    if (entry.value === undefined) return notFound;
    const found = await this.#lookup.find(tenant, Buffer.from(entry.value.value).toString('latin1'));
    if (found.ok ? !hasAlias(found.value.head, placement, alias) : isWrong(found.failure.code))
      return this.#records.corrupt(storeKey);
    return found;
  }

  async list({ tenant, after, limit }: ListKeyIds): Promise<Result<readonly NamedVersion[]>> {
    const prefix = idPrefix(tenant);
    const page = await this.#store.list({
      ...{ prefix, limit },
      ...(after === undefined ? undefined : { after: prefix + after }),
    });
    if (!page.ok) return page;
    return ok(
      page.value.map(({ key, value }) => ({
        keyId: key.slice(prefix.length),
        kid: Buffer.from(value).toString('latin1'),
      })),
    );
  }

  /** The name of its record. */
  aliasNamed({ tenant }: Kid, placement: KeyPlacement, alias: string): string {
    return aliasKey(tenant, placement, alias);
  }

  /** For the commit that makes the version. */
  changeFor({ tenant }: Kid, { id, version, keyId }: KeyVersion): readonly Change[] {
    if (keyId === undefined) return [];
    const value = Buffer.from(formatKid(id, version), 'latin1');
    return [{ key: idPrefix(tenant) + keyId, value, expectedRevision: 0 }];
  }

  /** For the commit that makes the key. Conflict: a key that is not destroyed has the alias. */
  async changeForAlias(
    { id, tenant }: Kid,
    placement: KeyPlacement | undefined,
    alias: string | undefined,
  ): Promise<Result<readonly Change[]>> {
    if (alias === undefined) return ok([]);
    if (placement === undefined || !isAlias(alias)) return badAlias;
    const storeKey = aliasKey(tenant, placement, alias);
    const entry = await this.#store.get(storeKey);
    if (!entry.ok) return entry;
    let expectedRevision = 0;
    if (entry.value !== undefined) {
      const other = await this.#records.head(Buffer.from(entry.value.value).toString('latin1'));
      if (!other.ok) return other;
      const head = other.value?.record;
      if (head?.state === 'active' && hasAlias(head, placement, alias)) return aliasTaken;
      expectedRevision = entry.value.revision;
    }
    return ok([{ key: storeKey, value: Buffer.from(id, 'latin1'), expectedRevision }]);
  }

  clear(): void {
    this.#names.clear();
  }
}

/** A name leads to what is no kid, or to a key that is not there. */
function isWrong(code: string): boolean {
  return code === 'NotFound' || code === 'BadRequest';
}

function hasAlias(head: KeyHead, { environment, plane }: KeyPlacement, alias: string): boolean {
  return (
    head.alias === alias && head.placement?.environment === environment && head.placement.plane === plane
  );
}
