import { join } from 'node:path';
import { defaultTuning, type Tuning } from './assemble/cryptography.ts';
import { createReload, type SettingsReload } from './assemble/reload.ts';
import type { Authenticator } from './auth/auth.ts';
import { isLoopback, listenAddresses } from './config/listen-kinds.ts';
import type { Config } from './config/load.ts';
import type { Reloadable } from './config/reload.ts';
import { refuseInspection, refuseInspectorBySignal } from './core/process/inspection.ts';
import { limitedSteps } from './core/process/limited-steps.ts';
import type { EngineDescription } from './engine/engine.ts';
import { openSystemCalls } from './engine/system-calls.ts';
import { type ConnectionLimits, countConnections } from './http/connections.ts';
import { affordableConnections, requireDescriptors } from './http/descriptors.ts';
import { openDoor } from './http/door.ts';
import { configuredListeners, requireListeners } from './http/listeners/open.ts';
import { type Logger, setLogging } from './observe/log.ts';
import { registerProcessMetrics } from './observe/metrics.ts';
import { flushSpans } from './observe/tracing.ts';
import { openService, type Service, type ServiceOptions } from './service.ts';
import { surfacesOf } from './surfaces.ts';

/** The service as a process of its own. */
export interface Server {
  /** Of each listener in order, with the ports that were taken: `http://host:port`, `https://host:port`, `unix:/path`. */
  readonly urls: readonly [string, ...string[]];
  readonly engine: EngineDescription;
  /** The administrator's capability where no file holds it, in amnesia mode. */
  readonly administratorToken: string | undefined;
  /** The file into which the first start wrote that capability. */
  readonly administratorFile: string;
  /** Takes settings that were read again, with the files that they name. */
  readonly reload: SettingsReload;
  /** Refuse, drain, flush, close; each has its limit. Idempotent; never rejects. */
  stop(): Promise<void>;
}

export interface StartOptions {
  readonly tuning?: Tuning;
  readonly rootKey?: ServiceOptions['rootKey'];
  /** The surfaces; those of the configuration where it is absent. */
  readonly surfaces?: typeof surfacesOf;
  /** Whoever says who is calling; capabilities where it is absent. */
  readonly authenticator?: Authenticator;
  /** Parts of the caller's that a reload changes with the service's. */
  readonly reloadable?: readonly Reloadable[];
  /** Another way in, beside HTTP. */
  readonly sideDoor?: (service: Service) => SideDoor;
}

/** A way in of another protocol: as a listener, and it answers by itself. */
export interface SideDoor {
  listen(): Promise<string>;
  stopAccepting(): void;
  /** No new calls. Resolves when those under way have their answers. */
  drain(): Promise<void>;
  close(): void;
}

/** Makes this process the service's, and serves when it resolves. Throws a StartError when it cannot. */
export async function start(
  config: Config,
  log: Logger,
  {
    tuning = defaultTuning,
    rootKey,
    surfaces = surfacesOf,
    authenticator,
    reloadable: callers = [],
    sideDoor,
  }: StartOptions = {},
): Promise<Server> {
  process.umask(0o077);
  const forbidden = forbidCoreDumps(config, log);
  const service = await openService(config, {
    log,
    ...{ tuning, rootKey },
    environment: process.env,
    withoutCapabilities: authenticator !== undefined,
    async beforeMaking() {
      requireDescriptors(config);
      await requireListeners(config);
    },
    onAuditDeath(cause) {
      // A service that can sign and not log must not live.
      log.fatal({ err: cause }, 'the audit thread ended');
      process.exit(1);
    },
  });
  let side: SideDoor | undefined;
  try {
    const { health, metrics, engine, administratorToken } = service;
    registerProcessMetrics(metrics);
    if (forbidden !== undefined) health.condition('core_dumps_possible', 'wanted', () => forbidden);
    const called = calledBy(service, authenticator);
    const door = openDoor(log, called, surfaces(called));
    warnOfBind(config, log);
    const connections = countConnections(connectionLimits(config, log));
    const { listeners, reloadable } = await configuredListeners(config, {
      ...{ log, health, metrics, connections },
    });
    const reload = createReload({
      ...{ settings: service.settings, log, health, record: service.recordReload },
      parts: [reloadableLog(log), service.reloadable, door, ...reloadable, ...callers],
    });
    side = sideDoor?.(called);
    await side?.listen();
    const urls = (await listeners.listen(door.handlers)) as [string, ...string[]];
    const stop = async (): Promise<void> => {
      listeners.stopAccepting();
      side?.stopAccepting();
      const limited = limitedSteps(service.settings.now.shutdownTimeoutMs, (problem) =>
        log.error(problem, 'a step of the stop went wrong'),
      );
      const answered = door.drain().then(() => listeners.drain());
      await limited('answering the calls under way', Promise.all([answered, side?.drain()]));
      listeners.close();
      side?.close();
      await service.stop();
      await limited('sending the spans', flushSpans());
    };
    let stopped: Promise<void> | undefined;
    return {
      ...{ urls, engine, administratorToken, reload },
      administratorFile: join(config.dataDir, 'bootstrap.token'),
      stop: () => {
        stopped ??= stop();
        return stopped;
      },
    };
  } catch (cause) {
    side?.close();
    await service.stop();
    throw cause;
  }
}

/** The service with another say of who is calling. */
function calledBy(service: Service, authenticator: Authenticator | undefined): Service {
  if (authenticator === undefined) return service;
  const requestPath = service.requestPathFor(authenticator);
  return Object.create(service, {
    authenticator: { value: authenticator },
    requestPath: { value: requestPath },
  });
}

function reloadableLog(log: Logger): Reloadable {
  return { prepare: (config) => ({ commit: () => setLogging(log, config) }) };
}

/** Stops on SIGTERM and SIGINT, and ends the process; `begins` is told first. The result does the same for another reason. */
export function stopOnSignals(server: Server, log: Logger, begins: () => void): (signal: string) => void {
  const stop = (signal: string) => {
    log.info({ signal }, 'stopping');
    begins();
    void server.stop().then(() => {
      log.info('stopped');
      // Everything is closed; a handle that a library left open must not keep the process.
      process.exit(0);
    });
  };
  // A second signal changes nothing: the stop is under way, and each of its steps has a limit.
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  return stop;
}

/** Taken until the next minor version. */
function warnOfBind({ bind, listen }: Config, log: Logger): void {
  if (isLoopback(bind.host)) return;
  log.warn(
    { KMS_LISTEN: listenAddresses.format(listen) },
    'KMS_BIND beyond loopback is plain HTTP for everybody who reaches it, and will be refused: set KMS_LISTEN as here instead',
  );
}

/** Once everything else has its descriptors. */
function connectionLimits(config: Config, log: Logger): ConnectionLimits {
  const total = affordableConnections(config.maxConnections);
  if (total < config.maxConnections) {
    log.warn(
      { wanted: config.maxConnections, connections: total },
      'KMS_MAX_CONNECTIONS is LOWERED to what the limit of open files leaves: raise that (ulimit -n, LimitNOFILE)',
    );
  }
  return { total, perAddress: Math.min(total, config.maxConnectionsPerAddress || Math.ceil(total / 2)) };
}

/** Before any secret is in memory. Whether it could be done; undefined where the operator wants dumps. */
function forbidCoreDumps({ allowCoreDumps }: Config, log: Logger): boolean | undefined {
  refuseInspectorBySignal();
  if (allowCoreDumps) {
    log.warn('core dumps are allowed, and inspection: they show capabilities in use, and with OpenSSL keys');
    return undefined;
  }
  refuseInspection();
  const forbidden = openSystemCalls().forbidCoreDumps();
  if (!forbidden)
    log.warn('core dumps are NOT forbidden, for want of the native addon: set LimitCORE=0 or ulimit -c 0');
  return forbidden;
}
