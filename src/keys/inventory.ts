import { ok, type Result } from '../core/result.ts';
import type { Store } from '../store/store.ts';
import type { RecordMac } from './authenticity.ts';
import { decodeHead, headKey } from './codec.ts';

/** A key as its head says. */
export interface InventoryKey {
  readonly id: string;
  /** The current one; undefined where the head cannot be read or is not authentic. */
  readonly version: number | undefined;
  readonly destroyed: boolean;
}

const keysPerPage = 1_000;

/** Keys in the order of their ids, 1,000 at a time: from after this one on. A page takes about 8 ms. */
export async function inventoryPage(
  store: Store,
  mac: RecordMac,
  after: string | undefined,
): Promise<Result<readonly InventoryKey[]>> {
  const prefix = headKey('');
  const page = await store.list({
    prefix,
    limit: keysPerPage,
    ...(after === undefined ? undefined : { after: headKey(after) }),
  });
  if (!page.ok) return page;
  return ok(
    page.value.map(({ key, value }) => {
      const head = decodeHead(key, value, mac);
      return {
        id: key.slice(prefix.length),
        version: head?.currentVersion,
        destroyed: head?.state === 'destroyed',
      };
    }),
  );
}
