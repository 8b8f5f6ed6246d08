import type { Config } from '../config/load.ts';
import type { LiveConfig, Reloadable } from '../config/reload.ts';
import { tokensOf } from '../config/tokens/fields.ts';
import { systemClock } from '../core/clock.ts';
import { threadEntry } from '../core/own-package.ts';
import { StartError } from '../core/start-error.ts';
import type { Home, HomeContact } from '../custody/custody.ts';
import { Pkcs11Home } from '../custody/pkcs11/index.ts';
import { TpmDevice } from '../custody/tpm/device.ts';
import { TpmHome } from '../custody/tpm/index.ts';
import { tpmPlaceOf } from '../custody/tpm/transport.ts';
import type { Health } from '../observe/health.ts';
import type { Logger } from '../observe/log.ts';
import type { Metrics } from '../observe/metrics.ts';
import {
  type BackendMetrics,
  createBackendMetrics,
  type SeenBackend,
} from '../observe/series/backend-metrics.ts';

/** A reload tries again what a token refused: the operator may have changed it. */
export interface OpenedHomes extends Reloadable {
  readonly homes: readonly Home[];
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
  device: TpmDevice | undefined,
): Promise<OpenedHomes> {
  const { allowCoreDumps, groupReadableSecrets } = config;
  const homes = [...tokensOf(config)].map(([backend, token]) => {
    const settings = { ...token, groupReadableSecrets };
    const home = new Pkcs11Home({
      ...{ backend, settings, clock: systemClock },
      ...{ entry: threadEntry('hsm'), allowCoreDumps, environment },
      tell: (what, reason) => log.warn({ backend, reason }, what),
    });
    return home;
  });
  const tell = (what: string, reason: string) => log.warn({ backend: tpmBackend, reason }, what);
  const tpms =
    device === undefined ? [] : [new TpmHome({ backend: tpmBackend, device, clock: systemClock, tell })];
  const all = [...homes, ...tpms];
  for (const { backend, contact } of all)
    contact.onChange(({ up, reason }) => {
      if (up) log.info({ backend }, 'the token is there');
      else log.warn({ backend, reason }, 'THE TOKEN IS NOT THERE: its keys are refused until it is');
    });
  await Promise.all(all.map((home) => home.open()));
  return {
    homes: all,
    prepare: () => ({
      commit() {
        for (const home of homes) home.retryPin();
      },
    }),
    close: async () => {
      await Promise.all(all.map((home) => home.close()));
    },
  };
}

/** Its name in records of keys. */
const tpmBackend = 'tpm';

/** The TPM of the configuration, which is opened when it is used; undefined where there is none. Throws a StartError. */
export function openTpm({ tpm }: Config): TpmDevice | undefined {
  if (tpm === 'none') return undefined;
  const place = tpmPlaceOf(tpm);
  if (place === undefined) throw new StartError(`KMS_TPM: ${tpm} names no TPM`);
  return new TpmDevice(place);
}

/**
 * Conditions and metrics of the backends that can be away. Their keys alone are refused meanwhile, and verification goes on, so
 * that the service is ready without them unless the operator says otherwise.
 */
export function registerBackends(
  settings: LiveConfig,
  homes: readonly Home[],
  { health, metrics }: { readonly health: Health; readonly metrics: Metrics },
): BackendMetrics {
  const contacts = homes.flatMap(({ custody: { backend }, contact }) =>
    contact === undefined ? [] : [{ backend, contact }],
  );
  const backendMetrics = createBackendMetrics(metrics, () => contacts.map(seen));
  const need = settings.now.backendsRequired ? 'required' : 'wanted';
  for (const { backend, contact } of contacts) {
    health.condition(`backend_${backend}`, need, () => contact.up);
    let { up } = contact;
    contact.onChange((now) => {
      if (up && !now.up) backendMetrics.lost(backend);
      up = now.up;
    });
  }
  return backendMetrics;
}

function seen({
  backend,
  contact,
}: {
  readonly backend: string;
  readonly contact: HomeContact;
}): SeenBackend {
  const { up, lastContactAtMs, trying = false, timeouts = 0 } = contact;
  const ageMs = systemClock.monotonicMs() - lastContactAtMs;
  return {
    ...{ backend, up, timeouts },
    contactAgeMs: Number.isFinite(ageMs) ? Math.max(0, ageMs) : undefined,
    breaker: up ? 'closed' : trying ? 'half_open' : 'open',
  };
}
