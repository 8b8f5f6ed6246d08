import type { Config } from '../config/load.ts';
import type { LiveConfig, Reloadable } from '../config/reload.ts';
import { tokensOf } from '../config/tokens/fields.ts';
import { systemClock } from '../core/clock.ts';
import { threadEntry } from '../core/own-package.ts';
import type { Home, HomeContact } from '../custody/custody.ts';
import { Pkcs11Home } from '../custody/pkcs11/index.ts';
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
      tell: (what, reason) => log.warn({ backend, reason }, what),
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
