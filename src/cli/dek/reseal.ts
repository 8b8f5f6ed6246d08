import { chooseEngine } from '../../assemble/engine.ts';
import { StartError } from '../../core/start-error.ts';
import { openCloudWrapping } from '../../custody/root-key/cloud/providers.ts';
import { givenRootKey } from '../../custody/root-key/given.ts';
import { tpmSealing } from '../../custody/tpm/root-sealing.ts';
import { createLog } from '../../observe/log.ts';
import { goOverStopped } from '../root/acts.ts';
import { withStoppedDirectory } from '../root/stopped-directory.ts';
import { secretRule, settingsOrFail } from '../settings.ts';
import { readDekConfig } from './config-file.ts';

export interface ResealFlags {
  readonly oldConfig: string;
  readonly config: string;
  readonly dataDir: string;
}

/** Throws a StartError. Goes on where an earlier one was cut off. */
export async function reseal(
  flags: ResealFlags,
  progress: (done: number, total: number) => void,
): Promise<void> {
  const rule = secretRule();
  const [old, next] = [readDekConfig(flags.oldConfig, rule), readDekConfig(flags.config, rule)];
  if (Buffer.from(old.masterKey).equals(next.masterKey))
    throw new StartError('both configurations have the same master key');
  const { config } = settingsOrFail(['--data-dir', flags.dataDir]);
  const log = createLog('error', config.telemetryService, process.stderr);
  const { engine } = chooseEngine(config, log);
  const sources = [givenRootKey(old.place, old.masterKey), givenRootKey(next.place, next.masterKey)];
  const cloud = openCloudWrapping(engine);
  const bench = { config, log, engine, say: () => {}, token: undefined, tpm: tpmSealing, cloud };
  try {
    await withStoppedDirectory(
      bench,
      (stopped) =>
        goOverStopped(bench, stopped, {
          ...{ actor: 'operator', progress },
          renew: async () => engine.openRoot(await (sources[1] as (typeof sources)[0]).open()),
          settle: () => {},
        }),
      () => sources,
    );
  } finally {
    for (const { masterKey } of [old, next]) masterKey.fill(0);
    engine.wipe();
  }
}
