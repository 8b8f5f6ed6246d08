import manifest from '../../package.json' with { type: 'json' };
import { RateLimits } from '../admission/rate-limits.ts';
import type { Config } from '../config/load.ts';
import { buildVersion } from '../observe/build-version.ts';
import { HttpMetrics } from '../observe/http-metrics.ts';
import type { Logger } from '../observe/log.ts';
import { countRefusal } from '../observe/refusals.ts';
import { findTracer } from '../observe/tracing.ts';
import { mayKnowOf } from '../operations/admin.ts';
import type { Service } from '../service.ts';
import { behindProxies } from './behind-proxies.ts';
import type { ListenerHandlers } from './exchange.ts';
import { HttpServer, type ServerParts } from './server.ts';
import { Telemetry } from './telemetry.ts';

/** What listeners hand their exchanges to. */
export interface Door {
  readonly handlers: ListenerHandlers;
  /** From now on nothing is ready and every call is refused. Resolves when those under way have their answers. */
  drain(): Promise<void>;
}

/** Addresses that cause refusals at a time: about 300 bytes each. */
const maxAddresses = 16_384;

/** HTTP in front of a service, whichever listeners there are, or none. */
export function openDoor(
  config: Config,
  log: Logger,
  service: Service,
  dialects: ServerParts['dialects'],
): Door {
  const { requestPath, health, authenticator, metrics, clock } = service;
  const server = new HttpServer({
    ...{ requestPath, health, authenticator, clock },
    dialects,
    metrics: async (caller) => ({
      contentType: metrics.contentType,
      text: await metrics.exposition((tenant) => config.metricsNames === 'open' || mayKnowOf(caller, tenant)),
    }),
    version: {
      name: 'intaglio',
      version: buildVersion(manifest.version),
      engine: service.engine,
      node: process.version,
    },
    refusals: new RateLimits([{ count: config.refusalsPerAddress, windowMs: 1_000 }], maxAddresses),
    telemetry: new Telemetry(new HttpMetrics(metrics.registry), log, findTracer(manifest.version)),
    onRefused: (reason) => countRefusal(metrics, reason),
    onInternal: (requestId) => log.error({ request_id: requestId }, 'answered 500'),
    onBug: (cause, requestId) => log.error({ err: cause, request_id: requestId }, 'a request failed: a bug'),
  });
  let draining = false;
  health.condition('draining', 'required', () => !draining);
  return {
    handlers: behindProxies(server, config.trustedProxies),
    drain() {
      draining = true;
      return server.drain();
    },
  };
}
