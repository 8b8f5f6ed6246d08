import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { availableParallelism } from 'node:os';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { algorithmNames } from '../../src/algorithms/registry.ts';
import { defaultTuning, type Tuning } from '../../src/assemble/cryptography.ts';
import { createReload } from '../../src/assemble/reload.ts';
import { type Config, type LoadedConfig, loadConfig } from '../../src/config/load.ts';
import { createCancellation } from '../../src/core/cancellation.ts';
import { peerAt } from '../../src/core/peer.ts';
import type { Home } from '../../src/custody/custody.ts';
import { countConnections } from '../../src/http/connections.ts';
import type { Dialect } from '../../src/http/dialect.ts';
import { openDoor } from '../../src/http/door.ts';
import type { Listener, ListenerHandlers, RequestHeaders, Response } from '../../src/http/exchange.ts';
import type { UwsOptions } from '../../src/http/listeners/uws.ts';
import { createLog, setLogging } from '../../src/observe/log.ts';
import { registerProcessMetrics } from '../../src/observe/metrics.ts';
import type { Operations } from '../../src/operations/operations.ts';
import { openService } from '../../src/service.ts';
import { surfacesOf } from '../../src/surfaces.ts';
import { testEngineOptions } from './engines.ts';
import type { RawAnswer, RawRequest } from './requests.ts';
import {
  capabilitiesOf,
  generous,
  type InProcessService,
  type ListeningService,
  lineOf,
  temporaryDirectory,
} from './service.ts';

export interface InProcessOptions {
  /** As for a process; KMS_BIND is not used. */
  readonly env?: Readonly<Record<string, string>>;
  /** A temporary one, removed at the end, when not given. */
  readonly dataDir?: string;
  readonly tuning?: Partial<Tuning>;
  /** Beside those that the settings name. */
  readonly homes?: readonly Home[];
  /** Dialects beside that of Intaglio. */
  readonly dialects?: (operations: Operations, config: Config) => readonly Dialect[];
  /** On a free port of loopback: for tests that need the bytes of HTTP or an address. */
  readonly listen?: boolean;
  /** With `listen`, another listener than that of uWebSockets.js. */
  readonly makeListener?: (limits: UwsLimits) => Listener;
}

export type UwsLimits = Omit<UwsOptions, 'host' | 'port'>;

/**
 * One thread for each kind of work: the tests of the suite run side by side. The size of the native engine's pages is the
 * process's, and so that of the engines that tests use beside the service.
 */
const small = { KMS_WORKERS: '1', KMS_KEY_CACHE_BYTES: String(testEngineOptions.keyCacheBytes) };

// As the command line does it, so that threads start in a fifth of the time.
enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/compiled', import.meta.url)));

/**
 * The service in the process of the test, with an LMDB directory, or a memory store where KMS_BACKEND says so. A request takes
 * the way of every listener's from the exchange on. Throws a StartError where a process would not start.
 */
export function startInProcess(
  options: InProcessOptions & { readonly listen: true },
): Promise<ListeningService>;
export function startInProcess(
  options?: InProcessOptions & { readonly listen?: false },
): Promise<InProcessService>;
export async function startInProcess(
  options: InProcessOptions = {},
): Promise<InProcessService | ListeningService> {
  const dataDir = options.dataDir ?? temporaryDirectory();
  const config = configOf({ KMS_DATA_DIR: dataDir, ...options.env });
  const lines: string[] = [];
  const log = createLog(config.logLevel, config.telemetryService, {
    write: (text) => void lines.push(text.trimEnd()),
  });
  setLogging(log, config);
  const service = await openService(config, {
    log,
    tuning: { ...defaultTuning, ...options.tuning },
    environment: process.env,
    homes: options.homes ?? [],
    onAuditDeath: (cause) => log.fatal({ err: cause }, 'the audit thread ended'),
  });
  const surfaces = surfacesOf(service);
  const door = openDoor(log, service, (operations, now) => [
    ...surfaces(operations, now),
    ...(options.dialects?.(operations, now) ?? []),
  ]);
  const listening =
    options.listen === true ? await listen(config, door.handlers, options.makeListener) : undefined;
  if (listening !== undefined) registerProcessMetrics(service.metrics);
  let stopped: Promise<number> | undefined;
  const stop = async () => {
    listening?.listener.stopAccepting();
    await door.drain();
    await listening?.listener.drain();
    listening?.listener.close();
    await service.stop();
    running.delete(end);
    return lines.some((line) => line.includes('a step of the stop went wrong')) ? 1 : 0;
  };
  const end = () => {
    stopped ??= stop();
    return stopped;
  };
  running.add(end);
  const reload = createReload({
    ...{ settings: service.settings, log, health: service.health, record: service.recordReload },
    parts: [{ prepare: (now) => ({ commit: () => setLogging(log, now) }) }, service.reloadable, door],
  });
  const started = {
    reload: (env: Readonly<Record<string, string>>) =>
      reload(loadedOf({ KMS_DATA_DIR: dataDir, ...options.env, ...env })),
    engine: service.engine.name,
    dataDir,
    ...capabilitiesOf(dataDir),
    log: lines,
    logged: (fits: (line: string) => boolean) => lineOf(lines, fits, () => !running.has(end)),
    stop: end,
  };
  return listening === undefined
    ? { ...started, send: (sent) => send(door.handlers, config.maxPayloadBytes, sent) }
    : { ...started, url: listening.url, port: portOf(listening.url) };
}

const running = new Set<() => Promise<number>>();

/** Those that no test has stopped. */
export async function stopRunning(): Promise<void> {
  await Promise.all([...running].map((end) => end()));
}

// Whatever a failed test left behind, whose threads would keep the process.
after(stopRunning);

function loadedOf(env: Readonly<Record<string, string>>): LoadedConfig {
  return loadConfig({
    argv: [],
    env: { ...process.env, ...generous, ...small, ...env },
    readFile: (path) => readFileSync(path, 'utf8'),
    cores: availableParallelism(),
    algorithmNames,
  });
}

/** As for a process. */
export function configOf(env: Readonly<Record<string, string>>): Config {
  const loaded = loadedOf(env);
  assert.ok(loaded.ok, loaded.ok ? '' : loaded.problems.join('\n'));
  return loaded.config;
}

/** Loaded only where it is wanted. */
async function listen(
  { maxPayloadBytes: maxBodyBytes }: Config,
  handlers: ListenerHandlers,
  make: InProcessOptions['makeListener'],
) {
  const { UwsListener } = await import('../../src/http/listeners/uws.ts');
  const connections = countConnections({ total: 10_000, perAddress: 10_000 });
  const limits = { maxBodyBytes, bodyTimeoutMs: 5_000, connections };
  const listener = make?.(limits) ?? new UwsListener({ host: '127.0.0.1', port: 0, ...limits });
  return { listener, url: await listener.listen(handlers) };
}

/** As a listener hands a request on: in a turn of its own, and with the listener's limit of bodies. */
async function send(handlers: ListenerHandlers, maxBodyBytes: number, sent: RawRequest): Promise<RawAnswer> {
  await new Promise((resolve) => setImmediate(resolve));
  const headers = headersOf(sent);
  const body = Buffer.from(sent.body ?? '');
  const length = Number(sent.headers?.['content-length'] ?? body.length);
  const [path = '', query = ''] = cutAt(sent.path, '?');
  if (length > maxBodyBytes) return answerOf(sent.method, handlers.refused('TooLarge', headers, path));
  return new Promise((resolve) => {
    handlers.onExchange({
      ...{ scheme: 'http', method: sent.method.toLowerCase(), path, query, headers, body },
      cancellation: createCancellation(),
      peer: () => peerAt('tcp', '127.0.0.1'),
      respond: (response) => resolve(answerOf(sent.method, response)),
    });
  });
}

function cutAt(text: string, mark: string): string[] {
  const at = text.indexOf(mark);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function headersOf({ token, headers = {} }: RawRequest): RequestHeaders {
  const given = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  return {
    authorization: given.get('authorization') ?? (token === undefined ? undefined : `Bearer ${token}`),
    severalAuthorizations: false,
    contentEncoding: given.get('content-encoding'),
    requestId: given.get('x-request-id'),
    correlationId: given.get('x-corr-id'),
    traceparent: given.get('traceparent'),
    discharges: given.get('x-kms-discharge'),
    ifNoneMatch: given.get('if-none-match'),
    deadlineMs: given.get('x-deadline-ms'),
    xForwardedFor: given.get('x-forwarded-for'),
    forwarded: given.get('forwarded'),
    approval: given.get('x-approval-token'),
    claimedCertificate: given.get('x-client-certificate'),
    origin: given.get('origin'),
    lastEventId: given.get('last-event-id'),
  };
}

/** As a client of HTTP sees it. */
function answerOf(method: string, { status, headers, body, close = false }: Response): RawAnswer {
  const bytes = method.toUpperCase() === 'HEAD' || status === 304 ? Buffer.alloc(0) : Buffer.from(body);
  return {
    status,
    headers: { ...Object.fromEntries(headers), ...(close ? { connection: 'close' } : {}) },
    text: bytes.toString(),
    bytes,
  };
}

/** NaN of a Unix socket. */
function portOf(url: string): number {
  return Number(/:(\d+)$/.exec(url)?.[1]);
}
