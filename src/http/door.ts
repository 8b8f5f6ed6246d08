import { RateLimits } from '../admission/rate-limits.ts';
import type { Config } from '../config/load.ts';
import type { Reloadable } from '../config/reload.ts';
import { manifest } from '../core/own-package.ts';
import type { Caller } from '../core/scope.ts';
import { buildVersion } from '../observe/build-version.ts';
import type { Logger } from '../observe/log.ts';
import { countRefusal } from '../observe/refusals.ts';
import { HttpMetrics } from '../observe/series/http-metrics.ts';
import { findTracer } from '../observe/tracing.ts';
import { mayKnowOf } from '../operations/admin.ts';
import type { Operations } from '../operations/operations.ts';
import type { Service } from '../service.ts';
import { behindProxies } from './behind-proxies.ts';
import { withCorrelationIds } from './correlation.ts';
import type { ListenerHandlers } from './exchange.ts';
import { HttpServer, type ServerParts } from './server.ts';
import { Telemetry } from './telemetry.ts';

/** What listeners hand their exchanges to. */
export interface Door extends Reloadable {
  readonly handlers: ListenerHandlers;
  /** From now on nothing is ready and every call is refused. Resolves when those under way have their answers. */
  drain(): Promise<void>;
}

/** Addresses that cause refusals at a time: about 300 bytes each. */
const maxAddresses = 16_384;

/** HTTP in front of a service, whichever listeners there are, or none. */
export function openDoor(
  log: Logger,
  service: Service,
  dialectsOf: (operations: Operations, config: Config) => ServerParts['dialects'],
): Door {
  const { settings } = service;
  let dialects = dialectsOf(service.operations, settings.now);
  let refusals = refusalsOf(settings.now);
  const { requestPath, health, authenticator, metrics, clock } = service;
  const shownTo = (caller: Caller | undefined) => (tenant: string) =>
    settings.now.metricsNames === 'open' || mayKnowOf(caller, tenant);
  const server = new HttpServer({
    ...{ requestPath, health, authenticator, clock },
    get dialects() {
      return dialects;
    },
    metrics: async (caller) => ({
      contentType: metrics.contentType,
      text: await metrics.exposition(shownTo(caller)),
    }),
    version: {
      name: 'intaglio',
      version: buildVersion(manifest.version),
      engine: service.engine,
      node: process.version,
    },
    get refusals() {
      return refusals;
    },
    telemetry: new Telemetry(new HttpMetrics(metrics.registry), log, findTracer(manifest.version)),
    onRefused: (reason) => countRefusal(metrics, reason),
    onInternal: (requestId) => log.error({ request_id: requestId }, 'answered 500'),
    onBug: (cause, requestId) => log.error({ err: cause, request_id: requestId }, 'a request failed: a bug'),
  });
  let draining = false;
  health.condition('draining', 'required', () => !draining);
  return {
    handlers: withCorrelationIds(behindProxies(server, settings.now.trustedProxies), settings),
    prepare(config) {
      const same = config.refusalsPerAddress === settings.now.refusalsPerAddress;
      const next = same ? refusals : refusalsOf(config);
      return {
        // After the service's own, so that these are its new operations.
        commit() {
          dialects = dialectsOf(service.operations, config);
          refusals = next;
        },
      };
    },
    drain() {
      draining = true;
      return server.drain();
    },
  };
}

function refusalsOf({ refusalsPerAddress: count }: Config): RateLimits {
  return new RateLimits([{ count, windowMs: 1_000 }], maxAddresses);
}
