import type { Config } from '../config/load.ts';
import type { SecretRule } from '../core/secret-file.ts';
import { descriptorRootKey } from '../custody/root-key/descriptor.ts';
import { fileRootKey } from '../custody/root-key/file.ts';
import { memoryRootKey } from '../custody/root-key/memory.ts';
import { type OpenedRoot, openRootKeyForStore } from '../custody/root-key/open-for-store.ts';
import type { RootKeySource } from '../custody/root-key/source.ts';
import type { Engine } from '../engine/engine.ts';
import type { Logger } from '../observe/log.ts';
import type { Store } from '../store/store.ts';

/** The root key from where the configuration says. Throws a StartError. */
export async function openConfiguredRootKey(
  config: Config,
  log: Logger,
  engine: Engine,
  store: Store,
): Promise<OpenedRoot['root']> {
  const { root, made } = await openRootKeyForStore(engine, store, sourceOf(config));
  if (made) {
    log.warn(
      { path: config.rootKeyFile },
      'MADE A NEW ROOT KEY: keep a copy elsewhere, without it every key is lost',
    );
  }
  return root;
}

function sourceOf(config: Config): RootKeySource {
  const rule: SecretRule = { groupAllowed: config.groupReadableSecrets };
  if (config.amnesia) return memoryRootKey;
  return config.rootKeyFd === 0
    ? fileRootKey(config.rootKeyFile, rule)
    : descriptorRootKey(config.rootKeyFd, rule);
}
