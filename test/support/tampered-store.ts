import assert from 'node:assert/strict';
import { join } from 'node:path';
import { addOfflineAct } from '../../src/assemble/offline-acts.ts';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import type { Store } from '../../src/store/store.ts';
import { type InProcessOptions, startInProcess } from './in-process.ts';

/** The store of a service that is stopped, without the key of its head: what is committed to it is not covered. */
export async function withStore<T>(dataDir: string, use: (store: Store) => Promise<T>): Promise<T> {
  const store = await LmdbStore.open({
    directory: join(dataDir, 'store'),
    maxBytes: 64 * 2 ** 20,
    report: (cause) => assert.fail(String(cause)),
  });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

/** The refusal of a start on such a store. */
export async function storeRefusal(
  options: InProcessOptions & { readonly dataDir: string },
): Promise<string> {
  const started = await startInProcess({ ...options, listen: false }).catch((cause: unknown) => cause);
  assert.ok(started instanceof Error, 'the start was not refused');
  assert.equal(started.name, 'StartError');
  assert.match(started.message, /is not as it was left/);
  return started.message;
}

/** An operator accepts what was done to the store, so that the next start takes it; the refusal before that. */
export async function acceptTampered(
  options: InProcessOptions & { readonly dataDir: string },
): Promise<string> {
  const refusal = await storeRefusal(options);
  const failure = /--failure ([0-9a-f]{16})/.exec(refusal)?.[1] ?? assert.fail(refusal);
  const act = { type: 'store.accepted', atMs: Date.now(), actor: 'uid:0', reason: 'a test did it' } as const;
  addOfflineAct(options.dataDir, { ...act, facts: { failure } });
  return refusal;
}
