import type { LiveConfig } from '../config/reload.ts';
import { systemClock } from '../core/clock.ts';
import type { Home, HomeContact } from '../custody/custody.ts';
import { type BackendMetrics, createBackendMetrics, type SeenBackend } from '../observe/backend-metrics.ts';
import type { Health } from '../observe/health.ts';
import type { Metrics } from '../observe/metrics.ts';

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
