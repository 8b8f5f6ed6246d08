import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openDataDir, requireRestored } from '../../assemble/secrets.ts';
import { rootSourcesOf } from '../../assemble/store/root-sources.ts';
import { openStore } from '../../assemble/store/store.ts';
import { sealStore } from '../../assemble/store/store-head.ts';
import type { Config } from '../../config/load.ts';
import { StartError } from '../../core/start-error.ts';
import type { CloudWrapping } from '../../custody/root-key/cloud/wrapping.ts';
import { LiveRoot } from '../../custody/root-key/live-root.ts';
import { type OpenedRoot, openRootKeyForStore } from '../../custody/root-key/open-for-store.ts';
import type { Reading, TokenWrapping, TpmSealing } from '../../custody/root-key/read-source.ts';
import { ResealingStore } from '../../custody/root-key/rotation/resealing-store.ts';
import { readRotation, witnessKey } from '../../custody/root-key/rotation/rotation-state.ts';
import type { RootKeySource } from '../../custody/root-key/source.ts';
import type { RootSources } from '../../custody/root-key/sources.ts';
import type { Engine } from '../../engine/engine.ts';
import { createHealth } from '../../observe/health.ts';
import type { Logger } from '../../observe/log.ts';
import { heldBy, lockDirectory } from '../../store/lmdb/directory-lock.ts';
import type { Store } from '../../store/store.ts';

/** What commands on the root key of a stopped service need from around them. */
export interface Bench {
  readonly config: Config;
  readonly log: Logger;
  readonly engine: Engine;
  /** A line for whoever called. */
  readonly say: (line: string) => void;
  /** Undefined where npm pkcs11js is not installed. */
  readonly token: TokenWrapping | undefined;
  readonly tpm: TpmSealing;
  readonly cloud: CloudWrapping;
}

/** The store of a service that is stopped, held meanwhile. */
export interface StoppedStore {
  readonly store: ResealingStore;
  readonly sources: RootSources;
  /** A witness of a root key is there. */
  readonly hasRootKey: boolean;
  readonly rotating: boolean;
}

/** With its root key open; every commit has its head. */
export interface StoppedDirectory extends StoppedStore {
  readonly root: LiveRoot;
  readonly opened: OpenedRoot;
}

/** Throws a StartError: where a service runs, where there is no store, or where it cannot be opened. */
export async function withStoppedStore<T>(
  { config, log }: Bench,
  use: (stopped: StoppedStore) => Promise<T>,
  make = false,
): Promise<T> {
  if (config.amnesia || config.backend === 'memory')
    throw new StartError('a service that keeps nothing on disk has no root key to look after');
  requireRestored(config);
  const directory = join(config.dataDir, 'store');
  if (!make && !existsSync(join(directory, 'data.mdb')))
    throw new StartError(`there is no store in ${config.dataDir}: intaglio root init makes one`);
  if (make) openDataDir(config);
  if (existsSync(directory)) await requireStopped(config.dataDir, directory);
  const store = new ResealingStore(await openStore(config, log, createHealth()));
  try {
    return await use({
      ...{ store, sources: rootSourcesOf(config), hasRootKey: await has(store, witnessKey) },
      rotating: (await readRotation(store)) !== undefined,
    });
  } finally {
    await store.close();
  }
}

/** The same with its root key, by the given sources or its own. Throws a StartError. */
export function withStoppedDirectory<T>(
  bench: Bench,
  use: (stopped: StoppedDirectory) => Promise<T>,
  by?: (stopped: StoppedStore) => readonly RootKeySource[],
): Promise<T> {
  return withStoppedStore(bench, async (stopped) => {
    if (!stopped.hasRootKey)
      throw new StartError(`${bench.config.dataDir} has no root key: intaglio root init makes one`);
    return useOpened(bench, stopped, by?.(stopped) ?? stopped.sources.all(), use);
  });
}

/** Opens, or makes, the root key by these sources. Wipes it behind `use`. */
export async function useOpened<T>(
  { config, log, engine }: Bench,
  stopped: StoppedStore,
  sources: readonly RootKeySource[],
  use: (stopped: StoppedDirectory) => Promise<T>,
): Promise<T> {
  const opened = await openRootKeyForStore(engine, stopped.store, sources);
  const root = new LiveRoot(engine, opened.root, opened.before);
  await sealStore(config, log, { root, store: stopped.store });
  return use({ ...stopped, root, opened });
}

/** By which sources are read and made, in this process. */
export function readingOf({ config, token, tpm, cloud }: Bench, { sources }: StoppedStore): Reading {
  const credentials = process.env.CREDENTIALS_DIRECTORY;
  const reading = { ...sources.around, dataDir: config.dataDir, credentials, tpm, cloud };
  return token === undefined ? reading : { ...reading, token };
}

async function requireStopped(dataDir: string, directory: string): Promise<void> {
  const unlock = await lockDirectory(directory);
  if (unlock === undefined)
    throw new StartError(
      `${dataDir} is in use: ${await heldBy(directory)}; stop the service first (a running one is asked with --token-file, by root status and root rotate)`,
    );
  await unlock();
}

async function has(store: Store, key: string): Promise<boolean> {
  const found = await store.get(key);
  if (!found.ok) throw new StartError('the store does not answer');
  return found.value !== undefined;
}
