import { openEvidence } from './assemble/attestation.ts';
import { openAudit } from './assemble/audit.ts';
import { createCalls, rotationGraceMs } from './assemble/calls.ts';
import { openCapabilities } from './assemble/capabilities.ts';
import { type Cryptography, defaultTuning, startCryptography, type Tuning } from './assemble/cryptography.ts';
import { openDeks } from './assemble/deks.ts';
import { type ChosenEngine, chooseEngine } from './assemble/engine.ts';
import { openHomes, openTpm } from './assemble/homes.ts';
import { type OpenedKeyRoom, openKeyRoom } from './assemble/key-room.ts';
import { openCounts } from './assemble/key-uses.ts';
import { openWebhooks } from './assemble/kms-v1/webhooks.ts';
import { recordOfflineActs } from './assemble/offline-acts.ts';
import { openPolicy } from './assemble/policy.ts';
import { startScheduledRotation } from './assemble/rotation.ts';
import { openDataDir, openMacaroons, requireRestored } from './assemble/secrets.ts';
import { openRecords, openTrust } from './assemble/store/records.ts';
import { openRootKey } from './assemble/store/root-key.ts';
import { requireUsableSources } from './assemble/store/root-sources.ts';
import { openStore, requireOpenable } from './assemble/store/store.ts';
import { openTpmAnchor } from './assemble/store/store-head.ts';
import type { AuditRecorder } from './audit/audit-log.ts';
import { createEventHistory } from './audit/event-history.ts';
import { keepsNothing, publishing } from './audit/publishing.ts';
import type { Authenticator } from './auth/auth.ts';
import type { Config } from './config/load.ts';
import { type LiveConfig, prepareAll, type Reloadable } from './config/reload.ts';
import { type Clock, systemClock } from './core/clock.ts';
import { limitedSteps } from './core/process/limited-steps.ts';
import { refuse } from './core/result.ts';
import { StartError } from './core/start-error.ts';
import type { Home } from './custody/custody.ts';
import { ResealingStore } from './custody/root-key/rotation/resealing-store.ts';
import type { RootKeySource } from './custody/root-key/source.ts';
import { SoftwareKeyPool } from './custody/software/key-pool.ts';
import type { Engine, EngineDescription } from './engine/engine.ts';
import { openSystemCalls } from './engine/system-calls.ts';
import { type EventSource, ServiceEvents } from './events/event-source.ts';
import type { RecordMac } from './keys/authenticity.ts';
import type { KeyPool, Keyring, KeyringParts } from './keys/keyring.ts';
import type { StateCount } from './keys/lifecycle/state-counter.ts';
import { openKeyring } from './keys/open-keyring.ts';
import { softwareBackend } from './keys/record.ts';
import { RotationSchedule } from './keys/rotation-schedule.ts';
import { createHealth, type Health } from './observe/health.ts';
import type { Logger } from './observe/log.ts';
import { createMetrics, type Metrics } from './observe/metrics.ts';
import { registerAuditMetrics } from './observe/series/audit-metrics.ts';
import { createPoolMetrics } from './observe/series/pool-metrics.ts';
import { createRotationMetrics } from './observe/series/rotation-metrics.ts';
import type { DekOperations } from './operations/deks/operations.ts';
import type { Operations } from './operations/operations.ts';
import { EventFeeds } from './operations/receipts/event-feeds.ts';
import {
  createKeyJournal,
  createSettingsJournal,
  type SettingsEvent,
} from './operations/recording/journals.ts';
import type { RequestPath } from './request-path.ts';
import type { Store } from './store/store.ts';

/**
 * The whole of Intaglio but its doors and its process: it reads no environment, handles no signal, ends no process and knows no
 * address. Several of them work side by side in one process.
 */
export interface Service {
  readonly engine: EngineDescription;
  /** The administrator's capability where no file holds it, in amnesia mode. */
  readonly administratorToken: string | undefined;
  /** Of now, see Calls. */
  readonly operations: Operations;
  /** Undefined where the configuration wants no data encryption keys. Of now, too. */
  readonly dekOperations: DekOperations | undefined;
  readonly requestPath: RequestPath;
  /** The same way for callers whom somebody else knows, such as the process itself. */
  requestPathFor(authenticator: Authenticator): RequestPath;
  readonly authenticator: Authenticator;
  readonly clock: Clock;
  readonly settings: LiveConfig;
  /** Of this service alone; whoever opens a door adds conditions and metrics of their own. */
  readonly health: Health;
  readonly metrics: Metrics;
  /** Versions of keys with a placement, by algorithm and state; a walk over all of them. */
  readonly keyStates: () => readonly StateCount[];
  /** What happens in this service, for whoever wants to know. */
  readonly events: EventSource;
  /** All of the service that a reload changes. */
  readonly reloadable: Reloadable;
  /** Puts a reload that was taken on the audit log. */
  recordReload(taken: SettingsEvent): void;
  /** Every call must have had its answer. Flushes and closes; each step has its limit. Idempotent; never rejects. */
  stop(): Promise<void>;
}

export interface ServiceOptions {
  readonly log: Logger;
  readonly tuning?: Tuning;
  /** The engine runs on the thread of the caller, and no thread is started for it: calls are done one at a time. */
  readonly inline?: boolean;
  /** Variables for the modules of tokens, which have settings of their own there. The service reads none. */
  readonly environment?: NodeJS.ProcessEnv;
  /** The root key, in place of what the configuration says of it. */
  readonly rootKey?: readonly RootKeySource[] | undefined;
  /** Whoever calls is known otherwise: no capability counts, and neither a macaroon key nor the administrator's capability is made. */
  readonly withoutCapabilities?: boolean;
  /** Called when nobody else holds the data directory, before anything is made there: its rejection refuses the start. */
  readonly beforeMaking?: () => Promise<void>;
  /** Homes of keys beside those that the configuration names. They are closed with the service. */
  readonly homes?: readonly Home[];
  /**
   * The audit log's thread has ended unasked. Nothing can be recorded any more, so the process should end, or at least this
   * service; `audit_ready` does not hold from then on.
   */
  readonly onAuditDeath: (cause: unknown) => void;
}

/** Builds every part; what it resolves to can be called. Throws a StartError when it cannot, and leaves nothing open. */
export async function openService(config: Config, options: ServiceOptions): Promise<Service> {
  const closing: Step[] = [];
  const settings = { now: config };
  const stop = async () => {
    const limited = limitedSteps(settings.now.shutdownTimeoutMs, (problem) =>
      options.log.error(problem, 'a step of the stop went wrong'),
    );
    for (const { step, close } of closing.reverse()) await limited(step, close());
  };
  try {
    const parts = await openParts(settings, options, closing);
    let stopped: Promise<void> | undefined;
    return Object.assign(parts, {
      stop: () => {
        stopped ??= stop();
        return stopped;
      },
    });
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
  settings: { now: Config },
  {
    log,
    tuning = defaultTuning,
    inline,
    homes = [],
    environment = {},
    rootKey: given,
    withoutCapabilities = false,
    beforeMaking,
    onAuditDeath,
  }: ServiceOptions,
  closing: Step[],
): Promise<Omit<Service, 'stop'>> {
  const config = settings.now;
  const closes = (step: string, close: () => Promise<void>) => void closing.push({ step, close });
  // Before anything is open: its file can refuse the start.
  const policy = openPolicy(config, systemClock, log);
  closes('closing the policy', async () => policy.close());
  // A start that is refused leaves nothing behind, so what can be known before anything is made is asked first.
  requireRestored(config);
  await requireOpenable(config);
  requireUsableSources(config, given);
  await beforeMaking?.();
  const engine = engineOfProcess(config, log);
  closes('wiping the engine', wipesWithLast(engine.engine));
  openDataDir(config);
  const health = createHealth();
  const metrics = createMetrics(config.telemetryService);
  const store = new ResealingStore(await openStore(config, log, health));
  closes('closing the store', () => store.close());
  const rootKey = await openRootKey(config, log, {
    ...{ engine: engine.engine, store, metrics, overlapMs: tuning.rootOverlapMs, given },
  });
  const device = openTpm(config);
  if (device !== undefined) closes('closing the TPM', () => device.close());
  const anchor = await openTpmAnchor(config, log, { device, store, health });
  // Its last count is of all that the parts which end before it have written.
  if (anchor !== undefined) closes('counting in the TPM', () => anchor.close());
  const { root } = rootKey;
  const { mac } = root;
  const records = await openRecords(config, log, { engine: engine.engine, root: root.ref, mac, store });
  const { rootKeys, administratorToken } = openMacaroons(config, log, {
    ...{ engine: engine.engine, withoutCapabilities },
  });
  const capabilities = await openCapabilities(config, log, { rootKeys, store });
  closes('closing what revokes capabilities', async () => capabilities.close());
  const tokens = await openHomes(config, log, environment, device);
  closes('ending the workers of tokens', () => tokens.close());
  const around = { health, metrics, tuning, inline };
  const cryptography = await startCryptography(settings, log, engine, root.ref, around, [
    ...tokens.homes,
    ...homes,
  ]);
  root.onChange((ref) => cryptography.useRoot(ref));
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
  const acts = recordOfflineActs(config, log, audit.recorder);
  closes('closing the records of offline acts', () => acts.close());
  records.recordFound(audit.recorder);
  closes('closing the records of keys', () => records.close());
  const keyRoom = openKeyRoom(config, audit.log);
  closes('closing the room for keys', async () => keyRoom.close());
  const events = new ServiceEvents(systemClock);
  closes('ending the subscriptions', async () => events.close());
  const history = audit.log && audit.parts ? createEventHistory(audit.log, audit.parts.reading) : undefined;
  const feeds = new EventFeeds({ events, history });
  closes('ending the feeds of events', async () => feeds.close());
  // From here on whoever records also tells.
  const recorder = publishing(audit.recorder ?? keepsNothing, events);
  const webhooks = await openWebhooks(config, log, {
    ...{ store, mac: records.mac, cryptography, metrics, auditLog: audit.log, history, recorder },
    approvals: capabilities.approvals,
  });
  closes('ending the webhooks', () => webhooks.close());
  const schedule = new RotationSchedule();
  const pool = await openKeyPool(config, log, { store, mac: records.mac, cryptography, metrics });
  // The key that is being made is stored before the store closes.
  closes('closing the pool of keys', async () => pool?.close());
  const graceMs = () => rotationGraceMs(settings.now);
  const keyring = openKeys(
    store,
    records.mac,
    cryptography,
    { recorder, keyRoom, schedule, pool, graceMs },
    log,
  );
  root.onRefresh(() => keyring.refresh());
  closes('closing the keys', () => keyring.close());
  const counts = openCounts(log, { store, mac: records.mac });
  closes('closing the counts of uses', () => counts.close());
  const evidence = openEvidence(config, {
    ...{ engine: engine.engine, homes: cryptography.homes, custodies: cryptography.custodies },
    ...{ rotation: audit.parts?.rotation, health, metrics },
  });
  closes('ending the watch over evidence', async () => evidence.close());
  const deks = await openDeks(config, log, {
    ...{ store, mac: records.mac, keyring, cryptography, recorder, audit, events },
  });
  closes('ending a rotation of the KEK', async () => deks?.close());
  const callParts = {
    deks,
    ...{ cryptography, evidence: evidence.parts, feeds, webhooks: webhooks.parts },
    trust: openTrust(log, { store, mac: records.mac, room: keyRoom.room }),
    keyring,
    counts,
    audit: { ...audit, recorder: audit.recorder && recorder },
    recorder,
    capabilities,
    rootKey,
    policy,
    metrics,
    queueOf: tuning.queueOf,
  };
  const calls = createCalls(settings, callParts);
  await rootKey.start(recorder);
  closes('stopping a rotation of the root key', () => rootKey.close());
  const rotation = startScheduledRotation({
    ...{ settings, schedule, keyring, log, done: calls.done },
    operations: () => calls.operations,
    metrics: createRotationMetrics(metrics),
  });
  closes('ending the rotation by schedules', () => rotation.close());
  if (audit.log !== undefined) registerAuditMetrics(metrics, audit.log);
  metrics.engine(engine.engine.description.name);
  metrics.queueDepth(cryptography.waitingCalls);
  metrics.keyCounts(() => keyring.counts());
  const journal = createSettingsJournal(recorder);
  return {
    engine: engine.engine.description,
    administratorToken,
    get operations() {
      return calls.operations;
    },
    get dekOperations() {
      return calls.dekOperations;
    },
    ...{ requestPath: calls.requestPath, authenticator: calls.authenticator },
    requestPathFor: calls.requestPathFor,
    ...{ clock: systemClock, settings, health, metrics, events },
    keyStates: () => keyring.stateCounts(),
    reloadable: {
      prepare: (next) => prepareAll([held(settings), policy, capabilities, tokens, calls], next),
    },
    recordReload: (taken) => void journal(taken),
  };
}

function held(settings: { now: Config }): Reloadable {
  return {
    prepare: (next) => ({
      commit() {
        settings.now = next;
      },
    }),
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

/** Undefined where none is wanted, or the store does not answer: keys are made one by one then. */
async function openKeyPool(
  { rsaPool }: Config,
  log: Logger,
  parts: {
    readonly store: Store;
    readonly mac: RecordMac;
    readonly cryptography: Cryptography;
    readonly metrics: Metrics;
  },
): Promise<SoftwareKeyPool | undefined> {
  const { store, mac, cryptography, metrics } = parts;
  if (rsaPool === 0) return undefined;
  const custody = cryptography.custodies.get(softwareBackend);
  const opened = await SoftwareKeyPool.open({
    ...{ store, mac, clock: systemClock },
    generate: async (...of) => custody?.generate(...of) ?? refuse('StoreUnavailable'),
    idle: () => cryptography.restedSinceAsked(),
    target: rsaPool,
    observer: createPoolMetrics(metrics, () => (opened.ok ? opened.value.fill : 0)),
    onCorruptEntry: (entry) =>
      log.error({ key: entry }, 'an entry of the pool cannot be read or is not authentic'),
  });
  if (!opened.ok) return undefined;
  opened.value.start();
  return opened.value;
}

function openKeys(
  store: Store,
  mac: RecordMac,
  { custodies, forget }: Cryptography,
  around: {
    readonly recorder: AuditRecorder;
    readonly keyRoom: OpenedKeyRoom;
    readonly schedule: RotationSchedule;
    readonly pool: KeyPool | undefined;
    readonly graceMs: () => number;
  },
  log: Logger,
): Keyring {
  const parts: KeyringParts = {
    store,
    custodies,
    clock: systemClock,
    mac,
    journal: createKeyJournal(around.recorder),
    room: around.keyRoom.room,
    pool: around.pool,
    onForget: forget,
    onHead: (head) => around.schedule.heard(head),
    graceMs: around.graceMs,
    onUnknownBackend: (key, backend) =>
      log.error(
        { key, backend },
        'a key is refused: this service has no backend of the name that its record has',
      ),
    onLeftInHome: (kid, backend) =>
      log.warn(
        { kid, backend },
        'a key is left in its backend: the store does not say whether it has a record',
      ),
    onCorruptRecord: (key) => log.error({ key }, 'a record in the store cannot be read or is not authentic'),
  };
  return openKeyring(parts);
}
