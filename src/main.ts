import { existsSync } from 'node:fs';
import { join } from 'node:path';
import manifest from '../package.json' with { type: 'json' };
import { Admission } from './admission/admission.ts';
import { FloodGuard } from './admission/flood-guard/flood-guard.ts';
import { RateLimits, type RateWindow } from './admission/rate-limits.ts';
import { algorithmNames, findAlgorithm, registry } from './algorithms/registry.ts';
import { type OpenedAudit, openAudit } from './assemble/audit.ts';
import {
  type Cryptography,
  chooseEngine,
  defaultTuning,
  startCryptography,
  type Tuning,
  weightOf,
} from './assemble/cryptography.ts';
import { type OpenedKeyRoom, openKeyRoom } from './assemble/key-room.ts';
import { openRecords } from './assemble/records.ts';
import { openConfiguredRootKey } from './assemble/root-key.ts';
import type { AuditTrail } from './audit/trail.ts';
import { createMacaroonAuthenticator } from './auth/macaroon/authenticator.ts';
import { macaroonSalt } from './auth/macaroon/key.ts';
import { type Capabilities, macaroonKeyPath, openCapabilities } from './auth/macaroon/root-key.ts';
import type { RootKeys } from './auth/macaroon/root-keys.ts';
import type { Config } from './config/load.ts';
import { systemClock } from './core/clock.ts';
import { inspectedBy, refuseInspectorBySignal } from './core/inspection.ts';
import { limitedSteps } from './core/limited-steps.ts';
import type { Scope } from './core/scope.ts';
import { judgeSecretDirectory, type SecretRule } from './core/secret-file.ts';
import { StartError } from './core/start-error.ts';
import { createCostTable } from './dispatch/costs.ts';
import type { Engine, EngineDescription } from './engine/engine.ts';
import { openSystemCalls } from './engine/system-calls.ts';
import { type ConnectionLimits, countConnections } from './http/connections.ts';
import { affordableConnections } from './http/descriptors.ts';
import { intaglioDialect } from './http/dialects/intaglio/index.ts';
import { UwsListener } from './http/listeners/uws.ts';
import { Listeners } from './http/listeners.ts';
import { HttpServer } from './http/server.ts';
import type { RecordMac } from './keys/authenticity.ts';
import type { Keyring, KeyringParts } from './keys/keyring.ts';
import { openKeyring } from './keys/open-keyring.ts';
import { registerAuditMetrics } from './observe/audit-metrics.ts';
import { createHealth, type Health } from './observe/health.ts';
import type { Logger } from './observe/log.ts';
import { createMetrics, type Metrics } from './observe/metrics.ts';
import { countRefusal, gaugeHeldRefusals } from './observe/refusals.ts';
import { mayKnowOf } from './operations/admin.ts';
import { createDenials } from './operations/denials.ts';
import { createOperations } from './operations/operations.ts';
import {
  createKeyJournal,
  createUseRecorder,
  journalsNothing,
  recordsNothing,
} from './operations/recording.ts';
import { createRequestPath } from './request-path.ts';
import { LmdbStore } from './store/lmdb/lmdb-store.ts';
import { MemoryStore } from './store/memory/memory-store.ts';
import type { Store } from './store/store.ts';

export interface Service {
  /** `http://host:port`. */
  readonly url: string;
  readonly engine: EngineDescription;
  /** The administrator's capability where this start made one; `path` is undefined in amnesia mode. */
  readonly bootstrap: { readonly token: string; readonly path: string | undefined } | undefined;
  /** The file into which the first start wrote that capability. */
  readonly bootstrapFile: string;
  /** Refuse, drain, flush, close; each has its limit. Idempotent; never rejects. */
  stop(): Promise<void>;
}

/** Builds every part, and serves when it resolves. Throws a StartError when it cannot. */
export async function start(config: Config, log: Logger, tuning: Tuning = defaultTuning): Promise<Service> {
  process.umask(0o077);
  requireOwnDataDir(config);
  const health = createHealth();
  const metrics = createMetrics(config.telemetryService);
  forbidCoreDumps(config, log, health);
  const engine = chooseEngine(config, log);
  const store = await openStore(config, log, health);
  try {
    const root = await openConfiguredRootKey(config, log, engine.engine, store);
    const records = await openRecords(config, log, { engine: engine.engine, root, store });
    const capabilities = openMacaroons(config, log, engine.engine);
    const cryptography = await startCryptography(config, log, engine, root, { health, metrics, tuning });
    const audit = await openAudit(config, log, {
      engine: engine.engine,
      root,
      store,
      mac: records.mac,
      lane: cryptography.lane,
      health,
      clockSynchronised: () => systemCalls.clockSynchronised(),
    });
    records.recordFound(audit.trail);
    const keyRoom = openKeyRoom(config, audit.log);
    const keys = openKeys(config, store, records.mac, cryptography, audit.trail, keyRoom, log);
    const server = createServer(config, log, {
      ...{ cryptography, keys, audit, capabilities, health, metrics },
      queueOf: tuning.queueOf,
    });
    if (audit.log !== undefined) registerAuditMetrics(metrics, audit.log);
    metrics.engine(engine.engine.description.name);
    metrics.queueDepth(cryptography.waitingCalls);
    metrics.keyCounts(() => keys.keyring.counts());
    let draining = false;
    health.condition('draining', 'required', () => !draining);

    const { host, port } = config.bind;
    const { maxPayloadBytes: maxBodyBytes } = config;
    const connections = countConnections(connectionLimits(config, log));
    const listeners = new Listeners([
      new UwsListener({ host, port, maxBodyBytes, bodyTimeoutMs, connections }),
    ]);
    const [url = ''] = await listeners.listen(server);

    const stop = async (): Promise<void> => {
      draining = true;
      listeners.stopAccepting();
      const limited = limitedSteps(config.shutdownTimeoutMs, (problem) =>
        log.error(problem, 'a step of the stop went wrong'),
      );
      const answered = server.drain().then(() => listeners.drain());
      await limited('answering the calls under way', answered);
      listeners.close();
      keyRoom.close();
      await limited('closing the keys', keys.keyring.close());
      await limited('closing the records of keys', records.close());
      // Its last checkpoint is signed by the workers and anchored in the store, so these two end after it.
      await limited('closing the audit log', audit.close());
      await limited('ending the workers', cryptography.stop());
      await limited('closing the store', store.close());
      engine.engine.wipe();
    };
    let stopped: Promise<void> | undefined;
    return {
      url,
      engine: engine.engine.description,
      bootstrap: capabilities.bootstrap,
      bootstrapFile: join(config.dataDir, 'bootstrap.token'),
      stop: () => {
        stopped ??= stop();
        return stopped;
      },
    };
  } catch (cause) {
    await store.close();
    throw cause;
  }
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

/** Before any secret is in memory. */
function forbidCoreDumps({ allowCoreDumps }: Config, log: Logger, health: Health): void {
  refuseInspectorBySignal();
  if (allowCoreDumps) {
    log.warn('core dumps are allowed, and inspection: they show capabilities in use, and with OpenSSL keys');
    return;
  }
  const inspected = inspectedBy();
  if (inspected !== undefined) {
    throw new StartError(
      `${inspected} shows this process's memory: leave it away, or set KMS_ALLOW_CORE_DUMPS=true`,
    );
  }
  const forbidden = systemCalls.forbidCoreDumps();
  health.condition('core_dumps_possible', 'wanted', () => forbidden);
  if (!forbidden)
    log.warn('core dumps are NOT forbidden, for want of the native addon: set LimitCORE=0 or ulimit -c 0');
}

const systemCalls = openSystemCalls();

/** From the first to the last byte of a request's body. */
const bodyTimeoutMs = 5_000;

/** About 20 million keys. Writes are refused beyond. */
const maxStoreBytes = 64 * 2 ** 30;

function secretRuleOf({ groupReadableSecrets }: Config): SecretRule {
  return { groupAllowed: groupReadableSecrets };
}

/** Before anything is put there; one that is missing is made later with mode 0700. */
function requireOwnDataDir(config: Config): void {
  if (config.amnesia || !existsSync(config.dataDir)) return;
  const problem = judgeSecretDirectory(config.dataDir, secretRuleOf(config));
  if (problem !== undefined) throw new StartError(problem);
}

async function openStore(config: Config, log: Logger, health: Health): Promise<Store> {
  if (config.backend === 'memory') return new MemoryStore();
  try {
    const store = await LmdbStore.open({
      directory: join(config.dataDir, 'store'),
      maxBytes: maxStoreBytes,
      report: (cause) => log.error({ err: cause }, 'the store failed'),
    });
    // Not required: keys that are there go on signing and verifying.
    health.condition('store', 'wanted', () => store.writable);
    return store;
  } catch (cause) {
    throw new StartError(`the store in ${config.dataDir} cannot be opened: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function openMacaroons(config: Config, log: Logger, engine: Engine): Extract<Capabilities, { ok: true }> {
  const { dataDir, amnesia } = config;
  const openKey = (rootKey: Uint8Array) => engine.macKey(engine.extractMacKey(rootKey, macaroonSalt));
  const capabilities = openCapabilities({ dataDir, amnesia, secretRule: secretRuleOf(config) }, openKey);
  if (!capabilities.ok) throw new StartError(capabilities.problem);
  if (capabilities.replacedLost === true) {
    log.warn(
      { path: macaroonKeyPath(config.dataDir) },
      'MADE A NEW MACAROON KEY IN PLACE OF ONE THAT IS MISSING: no capability minted before is valid any more; put the old file back, or mint them again',
    );
  }
  return capabilities;
}

function openKeys(
  config: Config,
  store: Store,
  mac: RecordMac,
  { custodies, forget }: Cryptography,
  trail: AuditTrail | undefined,
  { room }: OpenedKeyRoom,
  log: Logger,
) {
  const parts: KeyringParts = {
    store,
    custodies,
    clock: systemClock,
    mac,
    journal: trail === undefined ? journalsNothing : createKeyJournal(trail),
    room,
    onForget: forget,
    onUnknownBackend: (key, backend) =>
      log.error(
        { key, backend },
        'a key is refused: this service has no backend of the name that its record has',
      ),
    onCorruptRecord: (key) => log.error({ key }, 'a record in the store cannot be read or is not authentic'),
  };
  const keyring: Keyring = openKeyring(parts, { maxKeysPerTenant: config.keysPerTenant });
  return { custodies, keyring };
}

function createServer(
  config: Config,
  log: Logger,
  parts: {
    cryptography: Cryptography;
    keys: ReturnType<typeof openKeys>;
    audit: OpenedAudit;
    capabilities: { readonly rootKeys: RootKeys };
    health: Health;
    metrics: Metrics;
    queueOf: Tuning['queueOf'];
  },
): HttpServer {
  const { cryptography, keys, health, metrics } = parts;
  const operations = createOperations({
    ...keys,
    costs: createCostTable(registry),
    allowedAlgorithms: allowedAlgorithms(config),
    audit: parts.audit.parts,
    load: (onlyTenant) => cryptography.load.report(onlyTenant),
  });
  const floodGuard = new FloodGuard({
    clock: systemClock,
    soon: (callBack) => void setImmediate(callBack),
    weightOf: (tenant) => weightOf(config, tenant),
    queueOf: parts.queueOf,
  });
  gaugeHeldRefusals(metrics, () => floodGuard.heldRefusals);
  const authenticator = createMacaroonAuthenticator({
    rootKey: parts.capabilities.rootKeys,
    timeSkewToleranceMs: config.timeSkewToleranceMs,
  });
  const requestPath = createRequestPath({
    authenticator,
    admission: createAdmission(config),
    floodGuard,
    signatures: cryptography.lane,
    audit:
      parts.audit.trail === undefined
        ? recordsNothing
        : createUseRecorder(
            parts.audit.trail,
            config.auditDurability,
            createDenials(parts.audit.trail, config.auditDurability, keys.keyring, systemClock),
          ),
    clock: systemClock,
    observer: {
      done(op, alg, result, seconds) {
        metrics.operation(op, alg).done(result, seconds);
        if (result === 'ok') cryptography.load.done(op, alg, seconds);
      },
    },
  });
  return new HttpServer({
    dialects: [intaglioDialect(operations, config)],
    requestPath,
    health,
    authenticator,
    metrics: async (caller) => ({
      contentType: metrics.contentType,
      text: await metrics.exposition((tenant) => config.metricsNames === 'open' || mayKnowOf(caller, tenant)),
    }),
    version: {
      name: 'intaglio',
      version: manifest.version,
      engine: cryptography.description,
      node: process.version,
    },
    refusals: new RateLimits([{ count: config.refusalsPerAddress, windowMs: 1_000 }], maxAddresses),
    clock: systemClock,
    onRefused: (reason) => countRefusal(metrics, reason),
    onInternal: (requestId) => log.error({ request_id: requestId }, 'answered 500'),
    onBug: (cause, requestId) => log.error({ err: cause, request_id: requestId }, 'a request failed: a bug'),
  });
}

/** Addresses that cause refusals at a time: about 300 bytes each. */
const maxAddresses = 16_384;

function createAdmission(config: Config): Admission {
  const rates: Partial<Record<Scope, RateWindow[]>> = {};
  const add = (scope: Scope, count: number, windowMs: number) => {
    const windows = rates[scope] ?? [];
    rates[scope] = windows;
    windows.push({ count, windowMs });
  };
  if (config.signRateLimit > 0) add('kms:sign', config.signRateLimit, 1_000);
  if (config.destroyRateLimit > 0) add('kms:destroy', config.destroyRateLimit, 1_000);
  for (const { scope, count, windowMs } of config.rateLimits) add(scope, count, windowMs);
  return new Admission({
    rates,
    sharedRates: [{ scopes: ['kms:create', 'kms:rotate'], windows: makingWindows(config) }],
    keyUses: config.keyUsesPerDay === 0 ? [] : [{ count: config.keyUsesPerDay, windowMs: 86_400_000 }],
    defaultDeadlineMs: config.defaultDeadlineMs,
    batchDeadlineMs: config.signDeadlineMs,
    maxDeadlineMs: config.signDeadlineMs,
  });
}

/** A bucket for ten seconds: whoever sets up a fleet makes many keys at once, and then few. */
function makingWindows({ createRateLimit }: Config): RateWindow[] {
  return createRateLimit === 0 ? [] : [{ count: 10 * createRateLimit, windowMs: 10_000 }];
}

function allowedAlgorithms({ allowedAlgs }: Config): ReadonlySet<string> {
  if (allowedAlgs === 'all') return new Set(algorithmNames);
  return new Set(allowedAlgs.flatMap((name) => findAlgorithm(name)?.name ?? []));
}
