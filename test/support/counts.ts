import { createHmac } from 'node:crypto';
import { sealedBy } from '../../src/assemble/key-uses.ts';
import { DurableCounts } from '../../src/store/durable-counts.ts';
import type { Store } from '../../src/store/store.ts';

const key = Buffer.alloc(32, 7);

/** Counts in this store, under a key of the tests. */
export function countsIn(
  store: Store,
  onCorruptRecord: (storeKey: string) => void = () => {},
): DurableCounts {
  const seal = sealedBy((message) => createHmac('sha256', key).update(message).digest());
  return new DurableCounts({ store, seal, onCorruptRecord });
}
