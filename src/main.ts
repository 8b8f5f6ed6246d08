import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import manifest from '../package.json' with { type: 'json' };
import { Admission } from './admission/admission.ts';
import { RateLimits, type RateWindow } from './admission/rate-limits.ts';
import type { SchedulerLimits } from './admission/scheduler.ts';
import { algorithmNames, findAlgorithm, registry } from './algorithms/registry.ts';
import { storeAnchors } from './audit/anchor.ts';
import type { AuditLog } from './audit/audit-log.ts';
import type { AuditLogClient, AuditLogParts } from './audit/client.ts';
import { type NoteSigner, noteKey, signatureTypes } from './audit/note.ts';
import { type AuditParts, type AuditReading, startAuditReading } from './audit/reading.ts';
import { auditSecretBytes, deriveSecrets } from './audit/secrets.ts';
import { startAuditLog } from './audit/start.ts';
import { type AuditTrail, createAuditTrail, noAuditTrail } from './audit/trail.ts';
import { parsePolicy } from './audit/witness/policy.ts';
import { createWitnessing } from './audit/witness/witnessing.ts';
import { createMacaroonAuthenticator } from './auth/macaroon/authenticator.ts';
import { type Capabilities, openCapabilities } from './auth/macaroon/root-key.ts';
import type { Config } from './config/load.ts';
import { systemClock } from './core/clock.ts';
import { limitedSteps } from './core/limited-steps.ts';
import { errorCode, readPrivateFile, writePrivateFile } from './core/private-file.ts';
import type { Scope } from './core/scope.ts';
import { StartError } from './core/start-error.ts';
import { openAttestationKeys, signWith } from './custody/attestation-keys.ts';
import { type OpenedRoot, openRootKey } from './custody/root-key/file.ts';
import { createSoftwareCustody } from './custody/software/index.ts';
import { createCostTable } from './dispatch/costs.ts';
import { announceForgotten, createForgottenRing } from './dispatch/forgotten.ts';
import { createGenerationCarrier, type GenerateCall } from './dispatch/generation.ts';
import { Lane, type LaneObserver } from './dispatch/lane.ts';
import { startWorkerPool, type WorkerPool } from './dispatch/pool.ts';
import { createCryptoLane, createSignatureCarrier, type SignatureLane } from './dispatch/signatures.ts';
import type { Engine, EngineDescription, EngineOptions, GeneratedKey } from './engine/engine.ts';
import { loadNativeEngine } from './engine/native/index.ts';
import { createOpensslEngine } from './engine/openssl/index.ts';
import { listenUws } from './http/listeners/uws.ts';
import { HttpServer } from './http/server.ts';
import { openKeyring } from './keys/directory.ts';
import type { Keyring } from './keys/keyring.ts';
import { registerAuditMetrics } from './observe/audit-metrics.ts';
import { createHealth, type Health } from './observe/health.ts';
import { createLoadMonitor } from './observe/load.ts';
import type { Logger } from './observe/log.ts';
import { createMetrics, type Metrics } from './observe/metrics.ts';
import { countRefusal } from './observe/refusals.ts';
import { createOperations } from './operations/operations.ts';
import { createKeyJournal, createUseRecorder } from './operations/recording.ts';
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
  /** Where the first start wrote that capability. */
  readonly bootstrapFile: string;
  /** Refuse, drain, flush, close; each has its limit. Idempotent; never rejects. */
  stop(): Promise<void>;
}

/** Builds every part, and serves when it resolves. Throws a StartError when it cannot. */
export async function start(config: Config, log: Logger, tuning: Tuning = defaultTuning): Promise<Service> {
  process.umask(0o077);
  const health = createHealth();
  const metrics = createMetrics();
  const engine = chooseEngine(config, log);
  const store = await openStore(config, log, health);
  try {
    const root = await openRoot(config, log, engine, store);
    const capabilities = openMacaroons(config);
    const cryptography = await startCryptography(config, log, engine, root, { health, metrics, tuning });
    const audit = await openAudit(config, log, engine, root, store, cryptography, health);
    const keys = openKeys(store, cryptography, audit.trail, log);
    const server = createServer(config, log, { cryptography, keys, audit, capabilities, health, metrics });
    if (audit.log !== undefined) registerAuditMetrics(metrics, audit.log);
    metrics.engine(engine.engine.description.name);
    metrics.queueDepth(cryptography.waitingCalls);
    metrics.keyCounts(() => keys.keyring.counts());
    let draining = false;
    health.condition('draining', 'required', () => !draining);

    const { host, port } = config.bind;
    const { maxPayloadBytes: maxBodyBytes, maxConnections } = config;
    const listener = await listenUws({ host, port, maxBodyBytes, bodyTimeoutMs, maxConnections }, server);

    const stop = async (): Promise<void> => {
      draining = true;
      listener.stopAccepting();
      const limited = limitedSteps(config.shutdownTimeoutMs, (problem) =>
        log.error(problem, 'a step of the stop went wrong'),
      );
      await limited('answering the calls under way', server.drain());
      listener.close();
      await limited('closing the keys', keys.keyring.close());
      // Its last checkpoint is signed by the workers and anchored in the store, so these two end after it.
      await limited('closing the audit log', audit.close());
      await limited('ending the workers', cryptography.stop());
      await limited('closing the store', store.close());
      engine.engine.wipe();
    };
    let stopped: Promise<void> | undefined;
    return {
      url: listener.url,
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

/** What benches change in order to compare; the service itself runs with the defaults. */
export interface Tuning {
  /**
   * Cost of one job, in microseconds: the thread hop costs 40 to 60 on both sides together, a sixth of this, and nobody
   * waits longer behind somebody else's job, unless that is a single dearer call.
   */
  readonly jobBudgetUs: number;
  /** So that a job's results stay under 256 KiB (ML-DSA-65) whatever the meters say. */
  readonly jobMaxCalls: number;
  /** Half a job: the thread hop takes about as long as this. */
  readonly followUpBelowUs: number;
  /** Whose turn a tenant's calls are counted to. */
  readonly queueOf: (tenant: string) => string;
}

export const defaultTuning: Tuning = {
  jobBudgetUs: 300,
  jobMaxCalls: 64,
  followUpBelowUs: 150,
  queueOf: (tenant) => tenant,
};

/** From the first to the last byte of a request's body. */
const bodyTimeoutMs = 5_000;

interface ChosenEngine {
  readonly engine: Engine;
  readonly options: EngineOptions;
}

/** OpenSSL's heap is not locked, so that no limit of the system binds its cache; each thread has one. */
const opensslKeyCacheBytes = 64 * 2 ** 20;

function chooseEngine(config: Config, log: Logger): ChosenEngine {
  const { rngReseedIntervalOps: reseedIntervalOps, keyCacheBytes } = config;
  if (config.engine !== 'openssl') {
    const options = { reseedIntervalOps, keyCacheBytes };
    const native = loadNativeEngine(options);
    if (!('unavailable' in native)) return { engine: native, options };
    if (config.engine === 'native') throw new StartError(`KMS_ENGINE=native, but ${native.unavailable}`);
    log.warn(
      { reason: native.unavailable },
      'THE NATIVE ENGINE IS NOT IN USE: serving with OpenSSL, several times slower for ML-DSA and with keys in unlocked memory. `npm run build:native` says what is missing.',
    );
  }
  const options = { reseedIntervalOps, keyCacheBytes: opensslKeyCacheBytes };
  return { engine: createOpensslEngine(options), options };
}

/** About 20 million keys. Writes are refused beyond. */
const maxStoreBytes = 64 * 2 ** 30;

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

async function openRoot(
  config: Config,
  log: Logger,
  { engine }: ChosenEngine,
  store: Store,
): Promise<OpenedRoot['root']> {
  const where = config.amnesia
    ? ({ kind: 'memory' } as const)
    : ({ kind: 'file', path: config.rootKeyFile } as const);
  const { root, made } = await openRootKey(engine, store, where);
  if (made && where.kind === 'file') {
    log.warn(
      { path: where.path },
      'MADE A NEW ROOT KEY: keep a copy elsewhere, without it every key is lost',
    );
  }
  return root;
}

function openMacaroons(config: Config): Extract<Capabilities, { ok: true }> {
  const capabilities = openCapabilities({ dataDir: config.dataDir, amnesia: config.amnesia });
  if (!capabilities.ok) throw new StartError(capabilities.problem);
  return capabilities;
}

/** Dear calls give way to quick ones where both want the same processor, and keep about a third of it (sched(7)). */
const slowNiceness = 5;

/** Making a key gives way to all signatures, and keeps about a tenth. */
const generationNiceness = 10;

/** Keys are made one at a time: a second thread would only take the processor from signatures. */
const generationThreads = 1;

async function startCryptography(
  config: Config,
  log: Logger,
  { engine, options }: ChosenEngine,
  root: OpenedRoot['root'],
  { health, metrics, tuning }: { health: Health; metrics: Metrics; tuning: Tuning },
) {
  const { jobBudgetUs, jobMaxCalls, followUpBelowUs, queueOf } = tuning;
  const forgotten = createForgottenRing();
  const workerData = { engine: engine.description.name, options, root, forgotten };
  const onCrash = (cause: unknown) => log.error({ err: cause }, 'a crypto worker failed');
  const startPool = (threads: number, niceness: number) =>
    startWorkerPool(threads, { ...workerData, niceness }, { onCrash });
  const [signers, slowSigners, makers] = await Promise.all([
    startPool(config.workers, 0),
    startPool(Math.max(1, Math.floor(config.workers / 4)), slowNiceness),
    startPool(generationThreads, generationNiceness),
  ]);
  const pools = [signers, slowSigners, makers];
  health.condition('crypto_workers', 'required', () => pools.every((pool) => pool.alive));
  const limits: SchedulerLimits = {
    perTenantCalls: config.queuePerTenant,
    // More could not be served within the deadline, even by all workers.
    perTenantCostUs: config.signDeadlineMs * 1000 * config.workers,
    totalCalls: config.queueTotal,
    quantumUs: jobBudgetUs,
  };
  const weightOf = (tenant: string) => config.tenantWeights[tenant] ?? 1;
  const observer: LaneObserver = {
    sent: (calls, costUs, stillWaiting) => load.sent(calls, costUs, stillWaiting),
    waited: (tenant, costUs, waitMs) => load.waited(tenant, costUs, waitMs),
    served: (serviceMs) => load.served(serviceMs),
  };
  const signatureLane = (pool: WorkerPool): SignatureLane =>
    new Lane(
      { limits, jobBudgetUs, jobMaxCalls, followUpBelowUs },
      { carrier: createSignatureCarrier(pool, onCrash), clock: systemClock, weightOf, observer },
    );
  const lanes = { quick: signatureLane(signers), slow: signatureLane(slowSigners) };
  const generation = new Lane<GeneratedKey, GenerateCall>(
    // Keys are made rarely and may take seconds: only their number is bounded.
    {
      limits: { ...limits, perTenantCostUs: Number.POSITIVE_INFINITY },
      jobBudgetUs,
      jobMaxCalls: 1,
      followUpBelowUs: 0,
    },
    { carrier: createGenerationCarrier(makers, onCrash), clock: systemClock },
  );
  const load = createLoadMonitor(metrics, () => ({
    waiting_calls: lanes.quick.waitingCalls + lanes.slow.waitingCalls,
    waiting_cost_us: Math.round(lanes.quick.waitingCostUs + lanes.slow.waitingCostUs),
    active_tenants: Math.max(lanes.quick.activeTenants, lanes.slow.activeTenants),
  }));
  health.condition('memory_unlocked', 'wanted', () => engine.stats().memoryLocked);
  return {
    generation,
    description: engine.description,
    load,
    /** Whose turn a tenant's calls are counted to. */
    lane: createCryptoLane(lanes, queueOf),
    waitingCalls: () => lanes.quick.waitingCalls + lanes.slow.waitingCalls + generation.waitingCalls,
    forget(keyNumber: number) {
      engine.forget(keyNumber);
      announceForgotten(forgotten, keyNumber);
    },
    async stop() {
      await Promise.all([lanes.quick.drained(), lanes.slow.drained(), generation.drained()]);
      await Promise.all(pools.map((pool) => pool.close()));
      load.stop();
    },
  };
}

type Cryptography = Awaited<ReturnType<typeof startCryptography>>;

/** A log of a few million records is recovered by then; a longer one goes on while verification is served already. */
const recoveryWaitMs = 5_000;

interface OpenedAudit {
  readonly trail: AuditTrail;
  /** Undefined where nothing is recorded. */
  readonly log: AuditLog | undefined;
  readonly parts: AuditParts | undefined;
  close(): Promise<void>;
}

async function openAudit(
  config: Config,
  log: Logger,
  { engine }: ChosenEngine,
  root: OpenedRoot['root'],
  store: Store,
  { lane }: Cryptography,
  health: Health,
): Promise<OpenedAudit> {
  if (config.audit === 'off') {
    return { trail: noAuditTrail, log: undefined, parts: undefined, close: async () => {} };
  }
  const secret = openSecret(join(config.dataDir, 'audit.secret'), auditSecretBytes);
  const keys = await openAttestationKeys(engine, root, store);
  const sign = {
    ed25519: signWith(lane, keys.ed25519, systemClock),
    mlDsa44: signWith(lane, keys.mlDsa44, systemClock),
  };
  const signersOf = (origin: string): NoteSigner[] => [
    { vkey: noteKey(origin, signatureTypes.ed25519, keys.ed25519.publicKey).vkey, sign: sign.ed25519 },
    { vkey: noteKey(origin, signatureTypes.mlDsa44, keys.mlDsa44.publicKey).vkey, sign: sign.mlDsa44 },
  ];
  const reading: AuditReading = startAuditReading(() => auditLog.directory);
  const auditLog: AuditLogClient = startAuditLog(
    {
      directory: join(config.dataDir, 'audit'),
      headPath: join(config.dataDir, 'audit.head'),
      secret,
      origin: config.auditOrigin,
      inputHash: { mode: config.auditInputHash, modeOfTenant: {}, kid: '1' },
    },
    {
      attestationKeys: async (origin) => ({ signers: signersOf(origin) }),
      anchors: storeAnchors(store, deriveSecrets(secret).anchor),
      ...witnessOf(config, reading),
      report: (event, detail) => log.warn({ event, detail }, 'audit'),
    },
    (cause) => {
      // A service that can sign and not log must not live.
      log.fatal({ err: cause }, 'the audit thread ended');
      process.exit(1);
    },
  );
  health.condition('audit_ready', 'required', () => auditLog.state === 'ready');
  await Promise.race([
    auditLog.recovered(),
    new Promise((resolve) => setTimeout(resolve, recoveryWaitMs).unref()),
  ]);
  const vkeys = () => signersOf(auditLog.stats().origin).map(({ vkey }) => vkey);
  return {
    trail: createAuditTrail(auditLog),
    log: auditLog,
    parts: { reading, vkeys, witnessed: config.auditWitnessPolicy !== 'none' },
    async close() {
      await auditLog.close();
      await reading.close();
    },
  };
}

function witnessOf(config: Config, reading: AuditReading): Pick<AuditLogParts, 'witness'> | undefined {
  const { auditWitnessPolicy: file, auditWitnessFailure: fail } = config;
  if (file === 'none') return undefined;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new StartError(`the witness policy ${file} cannot be read (${errorCode(cause)})`, { cause });
  }
  const parsed = parsePolicy(text);
  if (!parsed.ok) throw new StartError(`the witness policy ${file}: ${parsed.problem}`);
  return { witness: createWitnessing(parsed.policy, fail, reading) };
}

function openSecret(path: string, length: number): Uint8Array {
  const read = readPrivateFile(path, length);
  if (read.ok) return read.bytes;
  if (!read.missing) throw new StartError(read.problem);
  const secret = randomBytes(length);
  try {
    writePrivateFile(path, secret, 'create');
  } catch (cause) {
    throw new StartError(`${path} cannot be made (${errorCode(cause)})`, { cause });
  }
  return secret;
}

function openKeys(store: Store, { generation, forget }: Cryptography, trail: AuditTrail, log: Logger) {
  const custody = createSoftwareCustody({ lane: generation, clock: systemClock });
  const keyring: Keyring = openKeyring({
    store,
    custody,
    clock: systemClock,
    journal: createKeyJournal(trail),
    onForget: forget,
    onCorruptRecord: (key) => log.error({ key }, 'a record in the store cannot be read'),
  });
  return { custody, keyring };
}

function createServer(
  config: Config,
  log: Logger,
  parts: {
    cryptography: Cryptography;
    keys: ReturnType<typeof openKeys>;
    audit: OpenedAudit;
    capabilities: { readonly rootKey: Uint8Array };
    health: Health;
    metrics: Metrics;
  },
): HttpServer {
  const { cryptography, keys, health, metrics } = parts;
  const operations = createOperations({
    ...keys,
    costs: createCostTable(registry),
    allowedAlgorithms: allowedAlgorithms(config),
    batchMaxItems: config.batchMaxItems,
    audit: parts.audit.parts,
    load: (onlyTenant) => cryptography.load.report(onlyTenant),
  });
  const requestPath = createRequestPath({
    authenticator: createMacaroonAuthenticator({
      rootKey: parts.capabilities.rootKey,
      timeSkewToleranceMs: config.timeSkewToleranceMs,
    }),
    admission: createAdmission(config),
    signatures: cryptography.lane,
    audit: createUseRecorder(parts.audit.trail, config.auditDurability),
    clock: systemClock,
    observer: {
      done(op, alg, result, seconds) {
        metrics.operation(op, alg).done(result, seconds);
        if (result === 'ok') cryptography.load.done(op, alg, seconds);
      },
    },
  });
  return new HttpServer({
    operations,
    requestPath,
    health,
    metrics: async () => ({ contentType: metrics.contentType, text: await metrics.exposition() }),
    version: {
      name: 'intaglio',
      version: manifest.version,
      engine: cryptography.description,
      node: process.version,
    },
    refusals: new RateLimits([{ count: config.refusalsPerAddress, windowMs: 1_000 }], maxAddresses),
    clock: systemClock,
    onRefused: (reason) => countRefusal(metrics, reason),
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
  for (const { scope, count, windowMs } of config.rateLimits) add(scope, count, windowMs);
  return new Admission({
    rates,
    keyUses: config.keyUsesPerDay === 0 ? [] : [{ count: config.keyUsesPerDay, windowMs: 86_400_000 }],
    defaultDeadlineMs: config.defaultDeadlineMs,
    batchDeadlineMs: config.signDeadlineMs,
    maxDeadlineMs: config.signDeadlineMs,
  });
}

function allowedAlgorithms({ allowedAlgs }: Config): ReadonlySet<string> {
  if (allowedAlgs === 'all') return new Set(algorithmNames);
  return new Set(allowedAlgs.flatMap((name) => findAlgorithm(name)?.name ?? []));
}
