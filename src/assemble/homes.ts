import type { Config } from '../config/load.ts';
import type { Reloadable } from '../config/reload.ts';
import { tokensOf } from '../config/tokens/fields.ts';
import { systemClock } from '../core/clock.ts';
import { threadEntry } from '../core/own-package.ts';
import { Pkcs11Home } from '../custody/pkcs11/index.ts';
import type { Logger } from '../observe/log.ts';

/** A reload tries again what a token refused: the operator may have changed it. */
export interface OpenedHomes extends Reloadable {
  readonly homes: readonly Pkcs11Home[];
  /** Waits for calls under way. Idempotent. */
  close(): Promise<void>;
}

/**
 * The homes of keys that are not in our engine, as the configuration names them. One that cannot be reached stops no start: its
 * keys are refused until it can.
 */
export async function openHomes(
  config: Config,
  log: Logger,
  environment: NodeJS.ProcessEnv,
): Promise<OpenedHomes> {
  const { allowCoreDumps, groupReadableSecrets } = config;
  const homes = [...tokensOf(config)].map(([backend, token]) => {
    const settings = { ...token, groupReadableSecrets };
    const home = new Pkcs11Home({
      ...{ backend, settings, clock: systemClock },
      ...{ entry: threadEntry('hsm'), allowCoreDumps, environment },
    });
    home.contact.onChange(({ up, reason }) => {
      if (up) log.info({ backend }, 'the token is there');
      else log.warn({ backend, reason }, 'THE TOKEN IS NOT THERE: its keys are refused until it is');
    });
    return home;
  });
  await Promise.all(homes.map((home) => home.open()));
  return {
    homes,
    prepare: () => ({
      commit() {
        for (const home of homes) home.retryPin();
      },
    }),
    close: async () => {
      await Promise.all(homes.map((home) => home.close()));
    },
  };
}
