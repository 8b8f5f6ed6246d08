import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../../config/load.ts';
import type { RootKeySource } from '../../custody/root-key/source.ts';
import { RootSources } from '../../custody/root-key/sources.ts';

export function rootSourcesOf(config: Config, given?: readonly RootKeySource[]): RootSources {
  return new RootSources(
    config.dataDir,
    { groupAllowed: config.groupReadableSecrets },
    { path: config.rootKeyFile, descriptor: config.rootKeyFd, given },
  );
}

/** Of a store that is still to be made: throws a StartError where a file may not be used as it is, so that no store is made for it. */
export function requireUsableSources(config: Config, given?: readonly RootKeySource[]): void {
  if (config.amnesia || existsSync(join(config.dataDir, 'store'))) return;
  rootSourcesOf(config, given)
    .all()
    .find((source) => source.isThere());
}
