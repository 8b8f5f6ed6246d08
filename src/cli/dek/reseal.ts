import { timingSafeEqual } from 'node:crypto';
import { chooseEngine } from '../../assemble/engine.ts';
import type { Config } from '../../config/load.ts';
import { StartError } from '../../core/start-error.ts';
import { openCloudWrapping } from '../../custody/root-key/cloud/providers.ts';
import { givenRootKey } from '../../custody/root-key/given.ts';
import { tpmSealing } from '../../custody/tpm/root-sealing.ts';
import { createLog } from '../../observe/log.ts';
import { goOverStopped } from '../root/rotate-stopped.ts';
import { withStoppedDirectory } from '../root/stopped-directory.ts';
import { secretRule, settingsOrFail } from '../settings.ts';
import { type DekConfigFile, readDekConfig } from './config-file.ts';

export interface ResealFlags {
  readonly oldConfig: string;
  readonly config: string;
  readonly dataDir: string;
}

/** Throws a StartError. Goes on where an earlier one was cut off, and has nothing to do where that one was done. */
export async function reseal(
  flags: ResealFlags,
  progress: (done: number, total: number) => void,
): Promise<void> {
  // It ends the command where a setting is wrong, so before a key is read.
  const { config } = settingsOrFail(['--data-dir', flags.dataDir]);
  const rule = secretRule();
  const old = readDekConfig(flags.oldConfig, rule);
  let next: DekConfigFile | undefined;
  try {
    next = readDekConfig(flags.config, rule);
    if (timingSafeEqual(old.masterKey, next.masterKey))
      throw new StartError('both configurations have the same master key');
    await resealBetween(old, next, config, progress);
  } finally {
    for (const file of [old, next]) file?.masterKey.fill(0);
  }
}

async function resealBetween(
  old: DekConfigFile,
  next: DekConfigFile,
  config: Config,
  progress: (done: number, total: number) => void,
): Promise<void> {
  const log = createLog('error', config.telemetryService, process.stderr);
  const { engine } = chooseEngine(config, log);
  const toNext = givenRootKey(next.place, next.masterKey);
  const sources = [givenRootKey(old.place, old.masterKey), toNext];
  const cloud = openCloudWrapping(engine);
  const bench = { config, log, engine, say: () => {}, token: undefined, tpm: tpmSealing, cloud };
  try {
    await withStoppedDirectory(
      bench,
      async (stopped) => {
        // An earlier one came to its end: a kill may have come before it said so.
        if (!stopped.rotating && stopped.opened.source === toNext) return;
        await goOverStopped(bench, stopped, {
          ...{ actor: 'operator', progress },
          renew: async () => engine.openRoot(await toNext.open()),
          settle: () => {},
        });
      },
      () => sources,
    );
  } finally {
    engine.wipe();
  }
}
