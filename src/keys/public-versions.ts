import { setImmediate } from 'node:timers/promises';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Store } from '../store/store.ts';
import type { RecordMac } from './authenticity.ts';
import { decodeVersion, versionsPrefix } from './codec.ts';
import type { PublicVersion, PublicVersionsFilter } from './keyring.ts';
import { formatKid, isPurpose, parseKid } from './kid.ts';
import { ownKid } from './lookup.ts';
import type { KeyRecords } from './records.ts';

/** A page is decoded in one go on the main thread, at most about 1 ms. */
const versionsPerPage = 64;
/** Versions that one call looks at: about a third of a second, in pieces. */
const maxScanned = 20_000;

const tooMany = refuse('BadRequest', 'more than 20000 versions: narrow it by purpose or kid');

/** The newest versions of a tenant that are not destroyed, from the store: nobody signs with them here. */
export async function newestPublicVersions(
  store: Store,
  records: KeyRecords,
  mac: RecordMac,
  { tenant, purpose, kid, limit }: PublicVersionsFilter,
): Promise<Result<readonly PublicVersion[]>> {
  const own = kid === undefined ? undefined : ownKid(tenant, kid);
  if (own !== undefined && !own.ok) return own;
  if (purpose !== undefined && !isPurpose(purpose)) return refuse('BadRequest', 'purpose is not a purpose');
  if (own !== undefined) {
    const head = await records.head(own.value.id);
    if (!head.ok) return head;
    if (head.value === undefined || (own.value.version ?? 0) > head.value.record.currentVersion)
      return refuse('NotFound');
    if (purpose !== undefined && purpose !== own.value.purpose) return ok([]);
  }
  const named =
    own === undefined ? `${tenant}/${purpose === undefined ? '' : `${purpose}/`}` : `${own.value.id}#`;
  const prefix = `${versionsPrefix}${named}`;
  const found: PublicVersion[] = [];
  let after: string | undefined;
  for (let scanned = 0; scanned < maxScanned; scanned += versionsPerPage) {
    const page = await store.list({
      prefix,
      limit: versionsPerPage,
      ...(after === undefined ? undefined : { after }),
    });
    if (!page.ok) return page;
    for (const { key, value } of page.value) {
      after = key;
      const of = parseKid(key.slice(versionsPrefix.length, key.lastIndexOf('#')));
      const record = of === undefined ? undefined : decodeVersion(key, of, value, mac);
      if (of === undefined || record === undefined) records.corrupt(key);
      else if (record.state === 'active' && (own?.value.version ?? record.version) === record.version)
        found.push({
          kid: formatKid(record.id, record.version),
          ...{ algorithm: of.algorithm, version: record.version, createdAtMs: record.createdAtMs },
          publicKeys: record.parts.map((part) => part.publicKey),
        });
    }
    if (found.length > 2 * limit) keepNewest(found, limit);
    if (page.value.length < versionsPerPage) {
      keepNewest(found, limit);
      return ok(found);
    }
    await setImmediate();
  }
  return tooMany;
}

function keepNewest(found: PublicVersion[], limit: number): void {
  found.sort((one, other) => other.createdAtMs - one.createdAtMs || other.version - one.version);
  if (found.length > limit) found.length = limit;
}
