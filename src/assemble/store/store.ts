import { join } from 'node:path';
import type { Config } from '../../config/load.ts';
import { StartError } from '../../core/start-error.ts';
import type { Health } from '../../observe/health.ts';
import type { Logger } from '../../observe/log.ts';
import { MemoryStore } from '../../store/memory/memory-store.ts';
import type { Store } from '../../store/store.ts';

/** About 20 million keys. Writes are refused beyond. */
const maxStoreBytes = 64 * 2 ** 30;

/** The store as the configuration wants it. Throws a StartError. */
export async function openStore(config: Config, log: Logger, health: Health): Promise<Store> {
  if (config.backend === 'memory') return new MemoryStore();
  try {
    // Only here: a service in memory needs no LMDB.
    const { LmdbStore } = await import('../../store/lmdb/lmdb-store.ts');
    const store = await LmdbStore.open({
      directory: join(config.dataDir, 'store'),
      maxBytes: maxStoreBytes,
      report: (cause) => log.error({ err: cause }, 'the store failed'),
    });
    // Not required: keys that are there go on signing and verifying.
    health.condition('store', 'wanted', () => store.writable);
    return store;
  } catch (cause) {
    throw new StartError(`the store in ${config.dataDir} cannot be opened: ${(cause as Error).message}`, {
      cause,
    });
  }
}
