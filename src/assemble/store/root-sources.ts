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
