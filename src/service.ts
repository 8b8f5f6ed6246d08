import { FloodGuard } from './admission/flood-guard/flood-guard.ts';
import { algorithmNames, findAlgorithm, registry } from './algorithms/registry.ts';
import { createAdmission } from './assemble/admission.ts';
import { type OpenedAudit, openAudit } from './assemble/audit.ts';
import { type OpenedCapabilities, openCapabilities } from './assemble/capabilities.ts';
import {
  type ChosenEngine,
  type Cryptography,
  chooseEngine,
  defaultTuning,
  startCryptography,
  type Tuning,
  weightOf,
} from './assemble/cryptography.ts';
import { type OpenedKeyRoom, openKeyRoom } from './assemble/key-room.ts';
import { openPolicy, type PolicyParts } from './assemble/policy.ts';
import { pqPolicyOf } from './assemble/pq-policy.ts';
import { openRecords } from './assemble/records.ts';
import { openConfiguredRootKey } from './assemble/root-key.ts';
import { openDataDir, openMacaroons } from './assemble/secrets.ts';
import { openStore } from './assemble/store.ts';
import type { AuditRecorder } from './audit/audit-log.ts';
import type { Authenticator } from './auth/auth.ts';
import type { Config } from './config/load.ts';
import { type Clock, systemClock } from './core/clock.ts';
import { limitedSteps } from './core/limited-steps.ts';
import { StartError } from './core/start-error.ts';
import { createCostTable } from './dispatch/costs.ts';
import type { Engine, EngineDescription } from './engine/engine.ts';
import { openSystemCalls } from './engine/system-calls.ts';
import type { RecordMac } from './keys/authenticity.ts';
import type { Keyring, KeyringParts } from './keys/keyring.ts';
import { openKeyring } from './keys/open-keyring.ts';
import { registerAuditMetrics } from './observe/audit-metrics.ts';
import { createHealth, type Health } from './observe/health.ts';
import type { Logger } from './observe/log.ts';
import { createMetrics, type Metrics } from './observe/metrics.ts';
import { gaugePqPolicy } from './observe/pq-metrics.ts';
import { countRefusal, gaugeHeldRefusals } from './observe/refusals.ts';
import { createDenials } from './operations/denials.ts';
import { createOperations, type Operations } from './operations/operations.ts';
import {
  createKeyJournal,
  createTokenJournal,
  createUseRecorder,
  journalsNothing,
  notesNothing,
  recordsNothing,
} from './operations/recording.ts';
import { createRequestPath, type RequestPath } from './request-path.ts';
import type { Store } from './store/store.ts';

/**
 * The whole of Intaglio but its doors and its process: it reads no environment, handles no signal, ends no process and knows no
 * address. Several of them work side by side in one process.
 */
export interface Service {
  readonly engine: EngineDescription;
  /** The administrator's capability where no file holds it, in amnesia mode. */
  readonly administratorToken: string | undefined;
  readonly operations: Operations;
  readonly requestPath: RequestPath;
  readonly authenticator: Authenticator;
  readonly clock: Clock;
  /** Of this service alone; whoever opens a door adds conditions and metrics of their own. */
  readonly health: Health;
  readonly metrics: Metrics;
  /** Reads the policy file again; undefined where there is none. Never throws: the log says what came of it. */
  readonly reloadPolicy: (() => void) | undefined;
  /** Every call must have had its answer. Flushes and closes; each step has its limit. Idempotent; never rejects. */
  stop(): Promise<void>;
}

export interface ServiceOptions {
  readonly log: Logger;
  readonly tuning?: Tuning;
  /**
   * The audit log's thread has ended unasked. Nothing can be recorded any more, so the process should end, or at least this
   * service; `audit_ready` does not hold from then on.
   */
  readonly onAuditDeath: (cause: unknown) => void;
}

/** Builds every part; what it resolves to can be called. Throws a StartError when it cannot, and leaves nothing open. */
export async function openService(config: Config, options: ServiceOptions): Promise<Service> {
  const closing: Step[] = [];
  const stop = async () => {
    const limited = limitedSteps(config.shutdownTimeoutMs, (problem) =>
      options.log.error(problem, 'a step of the stop went wrong'),
    );
    for (const { step, close } of closing.reverse()) await limited(step, close());
  };
  try {
    const parts = await openParts(config, options, closing);
    let stopped: Promise<void> | undefined;
    return {
      ...parts,
      stop: () => {
        stopped ??= stop();
        return stopped;
      },
    };
  } catch (cause) {
    await stop();
    throw cause;
  }
}

interface Step {
  readonly step: string;
  readonly close: () => Promise<void>;
}

/** `closing`: what each part needs at the end, in the order of opening. */
async function openParts(
  config: Config,
  { log, tuning = defaultTuning, onAuditDeath }: ServiceOptions,
  closing: Step[],
): Promise<Omit<Service, 'stop'>> {
  const closes = (step: string, close: () => Promise<void>) => void closing.push({ step, close });
  // Before anything is open: its file can refuse the start.
  const policy = openPolicy(config, systemClock, log);
  closes('closing the policy', async () => policy.close());
  openDataDir(config);
  const health = createHealth();
  const metrics = createMetrics(config.telemetryService);
  const engine = engineOfProcess(config, log);
  closes('wiping the engine', wipesWithLast(engine.engine));
  const store = await openStore(config, log, health);
  closes('closing the store', () => store.close());
  const root = await openConfiguredRootKey(config, log, engine.engine, store);
  const records = await openRecords(config, log, { engine: engine.engine, root, store });
  const { rootKeys, administratorToken } = openMacaroons(config, log, engine.engine);
  const capabilities = await openCapabilities(config, log, { rootKeys, store });
  closes('closing what revokes capabilities', async () => capabilities.close());
  const cryptography = await startCryptography(config, log, engine, root, { health, metrics, tuning });
  closes('ending the workers', () => cryptography.stop());
  const audit = await openAudit(config, log, {
    engine: engine.engine,
    root,
    store,
    mac: records.mac,
    lane: cryptography.lane,
    health,
    clockSynchronised: () => systemCalls.clockSynchronised(),
    died: onAuditDeath,
  });
  // Its last checkpoint is signed by the workers and anchored in the store, so these two end after it.
  closes('closing the audit log', () => audit.close());
  records.recordFound(audit.recorder);
  closes('closing the records of keys', () => records.close());
  const keyRoom = openKeyRoom(config, audit.log);
  closes('closing the room for keys', async () => keyRoom.close());
  const keys = openKeys(config, store, records.mac, cryptography, audit.recorder, keyRoom, log);
  closes('closing the keys', () => keys.keyring.close());
  const callParts = { cryptography, keys, audit, capabilities, policy, metrics, queueOf: tuning.queueOf };
  const calls = createCalls(config, callParts);
  if (audit.log !== undefined) registerAuditMetrics(metrics, audit.log);
  metrics.engine(engine.engine.description.name);
  metrics.queueDepth(cryptography.waitingCalls);
  gaugePqPolicy(metrics, () => pqPolicyOf(config));
  metrics.keyCounts(() => keys.keyring.counts());
  return {
    engine: engine.engine.description,
    administratorToken,
    ...{ ...calls, reloadPolicy: policy.reload, clock: systemClock },
    health,
    metrics,
  };
}

const systemCalls = openSystemCalls();

/** The native engine's pages are the process's, so that all services in it must agree on their size. */
function engineOfProcess(config: Config, log: Logger): ChosenEngine {
  try {
    return chooseEngine(config, log);
  } catch (cause) {
    if ((cause as { code?: string }).code !== 'ALREADY_CONFIGURED') throw cause;
    throw new StartError('KMS_KEY_CACHE_BYTES must be the same for all services of a process', { cause });
  }
}

/** Services of this process by the engine's name: the native one keeps the keys of all of them in the same pages. */
const users = new Map<string, number>();

/** Wipes once the last service with an engine of this name has ended; one of its own is wiped at once. */
function wipesWithLast(engine: Engine): () => Promise<void> {
  const { name } = engine.description;
  users.set(name, (users.get(name) ?? 0) + 1);
  return async () => {
    const left = (users.get(name) ?? 1) - 1;
    users.set(name, left);
    if (name !== 'native' || left === 0) engine.wipe();
  };
}

function openKeys(
  config: Config,
  store: Store,
  mac: RecordMac,
  { custodies, forget }: Cryptography,
  recorder: AuditRecorder | undefined,
  { room }: OpenedKeyRoom,
  log: Logger,
) {
  const parts: KeyringParts = {
    store,
    custodies,
    clock: systemClock,
    mac,
    journal: recorder === undefined ? journalsNothing : createKeyJournal(recorder),
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

/** Who may call, what can be called, and the way of every call. */
function createCalls(
  config: Config,
  parts: {
    cryptography: Cryptography;
    keys: ReturnType<typeof openKeys>;
    audit: OpenedAudit;
    capabilities: OpenedCapabilities;
    policy: PolicyParts;
    metrics: Metrics;
    queueOf: Tuning['queueOf'];
  },
): Pick<Service, 'operations' | 'authenticator' | 'requestPath'> {
  const { cryptography, keys, metrics } = parts;
  const { authenticator, authority } = parts.capabilities;
  const operations = createOperations({
    ...keys,
    costs: createCostTable(registry),
    allowedAlgorithms: allowedAlgorithms(config),
    audit: parts.audit.parts,
    pqPolicy: pqPolicyOf(config),
    clock: systemClock,
    timeSkewToleranceMs: config.timeSkewToleranceMs,
    tokens: {
      authority,
      journal: parts.audit.recorder === undefined ? notesNothing : createTokenJournal(parts.audit.recorder),
      clock: systemClock,
      identities: parts.policy.identities,
    },
    load: (onlyTenant) => cryptography.load.report(onlyTenant),
  });
  const floodGuard = new FloodGuard({
    clock: systemClock,
    soon: (callBack) => void setImmediate(callBack),
    weightOf: (tenant) => weightOf(config, tenant),
    queueOf: parts.queueOf,
    queueTargetMs: config.queueTargetMs,
    utilization: eventLoopUse(),
  });
  gaugeHeldRefusals(metrics, () => floodGuard.heldRefusals);
  const requestPath = createRequestPath({
    authenticator,
    admission: createAdmission(config),
    floodGuard,
    signatures: cryptography.lane,
    audit:
      parts.audit.recorder === undefined
        ? recordsNothing
        : createUseRecorder(
            parts.audit.recorder,
            config.auditDurability,
            createDenials(parts.audit.recorder, config.auditDurability, keys.keyring, systemClock),
          ),
    policy: parts.policy.policy,
    clock: systemClock,
    observer: {
      done(op, alg, result, seconds) {
        metrics.operation(op, alg).done(result, seconds);
        if (result === 'ok') cryptography.load.done(op, alg, seconds);
      },
      itemRefused: (reason) => countRefusal(metrics, reason),
    },
  });
  return { operations, authenticator, requestPath };
}

function allowedAlgorithms({ allowedAlgs }: Config): ReadonlySet<string> {
  if (allowedAlgs === 'all') return new Set(algorithmNames);
  return new Set(allowedAlgs.flatMap((name) => findAlgorithm(name)?.name ?? []));
}

/** The part of this thread's time that was not spent waiting for something to happen, since it was last asked. */
function eventLoopUse(): () => number {
  let before = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    return utilization;
  };
}
