import { setImmediate } from 'node:timers/promises';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Store } from '../store/store.ts';
import { headKey, versionKey } from './codec.ts';
import type { DescribedVersion, KeyDescription, KeyPage, ListKeys } from './keyring.ts';
import { formatKid, isPurpose, isTenant, parseKid } from './kid.ts';
import { ownKid } from './lookup.ts';
import { type KeyHead, type KeyVersion, lifecycleIn } from './record.ts';
import type { KeyRecords } from './records.ts';

const defaultLimit = 100;
const maxLimit = 1_000;
/** A page is decoded in one go on the main thread: about 1 ms. */
const headsPerPage = 256;
/** Heads that one call looks at when a filter passes few of them; then it ends with a cursor. */
const maxScanned = 20 * headsPerPage;
/** A description is one answer; older versions are found by their kid. */
const maxDescribedVersions = 256;

const badCursor = refuse('BadRequest', 'this cursor does not belong to this listing');

/** Reads of key records that nobody signs with: straight from the store. */
export class KeyListing {
  readonly #store: Store;
  readonly #records: KeyRecords;

  constructor(store: Store, records: KeyRecords) {
    this.#store = store;
    this.#records = records;
  }

  async list(request: ListKeys): Promise<Result<KeyPage>> {
    const { tenant, purpose, algorithm, cursor, limit = defaultLimit } = request;
    if (!Number.isInteger(limit) || limit < 1 || limit > maxLimit) {
      return refuse('BadRequest', `limit is 1 to ${maxLimit}`);
    }
    if (!isTenant(tenant) || (purpose !== undefined && !isPurpose(purpose))) return refuse('BadRequest');
    const prefix = headKey(prefixOf(request));
    let after = cursor === undefined ? undefined : storeKeyIn(cursor, prefix);
    if (cursor !== undefined && after === undefined) return badCursor;
    const keys: KeyHead[] = [];
    for (let scanned = 0; scanned < maxScanned; scanned += headsPerPage) {
      const page = await this.#store.list({
        prefix,
        limit: headsPerPage,
        ...(after === undefined ? undefined : { after }),
      });
      if (!page.ok) return page;
      for (const entry of page.value) {
        if (keys.length === limit) return ok({ keys, nextCursor: cursorOf(after!) });
        after = entry.key;
        const head = this.#records.headIn(entry);
        if (head !== undefined && (algorithm === undefined || head.alg === algorithm.name)) keys.push(head);
      }
      if (page.value.length < headsPerPage) return ok({ keys });
      await setImmediate();
    }
    return ok({ keys, ...(after === undefined ? undefined : { nextCursor: cursorOf(after) }) });
  }

  async describe(tenant: string, text: string): Promise<Result<KeyDescription>> {
    const kid = ownKid(tenant, text);
    if (!kid.ok) return kid;
    const { id, algorithm, version } = kid.value;
    const head = await this.#records.head(id);
    if (!head.ok) return head;
    if (head.value === undefined || (version ?? 0) > head.value.record.currentVersion) {
      return refuse('NotFound');
    }
    const { record } = head.value;
    if (version === undefined) {
      const versions = await this.#records.newestVersions(kid.value, maxDescribedVersions);
      if (!versions.ok) return versions;
      // A rotation may have come between the two reads; the description is that of its head.
      const known = versions.value.filter((each) => each.record.version <= record.currentVersion);
      return ok({ head: record, algorithm, versions: known.map((each) => described(each.record)) });
    }
    const only = await this.#records.version(kid.value, version);
    if (!only.ok) return only;
    if (only.value === undefined) return this.#records.corrupt(versionKey(id, version));
    return ok({ head: record, algorithm, versions: [described(only.value.record)] });
  }
}

function prefixOf({ tenant, purpose, algorithm }: ListKeys): string {
  if (purpose === undefined) return `${tenant}/`;
  return algorithm === undefined ? `${tenant}/${purpose}/` : `${tenant}/${purpose}/${algorithm.name}/`;
}

/** The id of the last key that was looked at. It says nothing that its tenant may not read. */
function cursorOf(storeKey: string): string {
  return Buffer.from(storeKey.slice(headKey('').length), 'latin1').toString('base64url');
}

function storeKeyIn(cursor: string, prefix: string): string | undefined {
  // A kid has at most 256 characters, which base64url makes 342.
  if (cursor.length > 342) return undefined;
  const id = Buffer.from(cursor, 'base64url').toString('latin1');
  const kid = parseKid(id);
  if (kid === undefined || kid.version !== undefined) return undefined;
  const storeKey = headKey(id);
  return storeKey.startsWith(prefix) && cursorOf(storeKey) === cursor ? storeKey : undefined;
}

function described(record: KeyVersion): DescribedVersion {
  const { id, version, state, createdAtMs, source, parts } = record;
  return {
    kid: formatKid(id, version),
    version,
    state,
    createdAtMs,
    source,
    publicKeys: parts.map((part) => part.publicKey),
    ...lifecycleIn(record),
  };
}
