import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../../config/load.ts';
import { StartError } from '../../core/start-error.ts';
import type { Health } from '../../observe/health.ts';
import type { Logger } from '../../observe/log.ts';
import { heldBy, isHeld } from '../../store/lmdb/directory-lock.ts';
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

/**
 * Throws a StartError where another process has the store, before anything is made for this one. Opening the store is what counts:
 * another process may come between.
 */
export async function requireUnheld({ backend, dataDir }: Config): Promise<void> {
  const directory = join(dataDir, 'store');
  if (backend === 'memory' || !existsSync(directory) || !(await isHeld(directory))) return;
  throw new StartError(
    `the store in ${dataDir} cannot be opened: the data directory is in use: ${await heldBy(directory)}`,
  );
}
