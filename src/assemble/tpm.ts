import type { Config } from '../config/load.ts';
import { StartError } from '../core/start-error.ts';
import { TpmAnchor } from '../custody/tpm/anchor.ts';
import { TpmDevice } from '../custody/tpm/device.ts';
import { tpmPlaceOf } from '../custody/tpm/transport.ts';
import type { Health } from '../observe/health.ts';
import type { Logger } from '../observe/log.ts';
import type { Store } from '../store/store.ts';
import { acceptAsItIs } from './store-head.ts';

/** The TPM of the configuration, which is opened when it is used; undefined where there is none. Throws a StartError. */
export function openTpm({ tpm }: Config): TpmDevice | undefined {
  if (tpm === 'none') return undefined;
  const place = tpmPlaceOf(tpm);
  if (place === undefined) throw new StartError(`KMS_TPM: ${tpm} names no TPM`);
  return new TpmDevice(place);
}

/** Holds the store against the counter in the TPM, where the configuration names one. Throws a StartError where it was put back. */
export async function openTpmAnchor(
  config: Config,
  log: Logger,
  {
    device,
    store,
    health,
  }: { readonly device: TpmDevice | undefined; readonly store: Store; readonly health: Health },
): Promise<TpmAnchor | undefined> {
  const { tpmCounter: index } = config;
  if (device === undefined || index === 0) return undefined;
  const anchor = await TpmAnchor.open({
    ...{ device, index, store },
    accept: (failure) => acceptAsItIs(config, log, failure),
    report(problem) {
      if (problem === undefined) log.info({}, 'the TPM counts for the store again');
      else
        log.warn(
          { reason: problem },
          'THE TPM DOES NOT COUNT FOR THE STORE: a copy of now would not be told from later ones',
        );
    },
  });
  health.condition('tpm_counter', 'wanted', () => anchor.problem === undefined);
  return anchor;
}
