import { randomUUID } from 'node:crypto';
import type { AuditEvent, AuditRecorder } from '../../audit/audit-log.ts';
import type { Config } from '../../config/load.ts';
import { systemClock } from '../../core/clock.ts';
import { type Result, refuse } from '../../core/result.ts';
import { LiveRoot } from '../../custody/root-key/live-root.ts';
import { memoryRootKey } from '../../custody/root-key/memory.ts';
import { openRootKeyForStore } from '../../custody/root-key/open-for-store.ts';
import type { ResealingStore } from '../../custody/root-key/rotation/resealing-store.ts';
import {
  RootRotation,
  type RotationEvent,
  type RotationProgress,
} from '../../custody/root-key/rotation/root-rotation.ts';
import {
  markRecorded,
  type RootEntry,
  unrecordedRotation,
} from '../../custody/root-key/rotation/rotation-state.ts';
import type { RootKeySource } from '../../custody/root-key/source.ts';
import type { RootKeyView } from '../../custody/root-key-view.ts';
import type { Engine } from '../../engine/engine.ts';
import type { Logger } from '../../observe/log.ts';
import type { Metrics } from '../../observe/metrics.ts';
import { registerRootMetrics } from '../../observe/series/root-metrics.ts';
import { operatorTenant } from '../../operations/admin.ts';
import { rootSourcesOf } from './root-sources.ts';
import { resealStoreHead, sealStore } from './store-head.ts';

/** So that signatures get the main thread at least four fifths of the time. */
const pauseMs = 5;

export interface OpenedRootKey {
  readonly root: LiveRoot;
  /** What the operator sees of it, and does with it. */
  readonly view: RootKeyView;
  /** When everything that uses the root key is there: goes on with a rotation that was cut off, and records. */
  start(recorder: AuditRecorder | undefined): Promise<void>;
  close(): Promise<void>;
}

/** The root key from where the list of its sources, or the configuration, says. Throws a StartError. */
export async function openRootKey(
  config: Config,
  log: Logger,
  {
    engine,
    store,
    metrics,
    overlapMs,
    given,
  }: {
    engine: Engine;
    store: ResealingStore;
    metrics: Metrics;
    overlapMs: number;
    given?: readonly RootKeySource[] | undefined;
  },
): Promise<OpenedRootKey> {
  const sources = rootSourcesOf(config, given);
  const opened = await openRootKeyForStore(engine, store, config.amnesia ? memoryRootKey : sources.all());
  const root = new LiveRoot(engine, opened.root, opened.before);
  if (opened.made) {
    log.warn(
      { path: config.rootKeyFile },
      'MADE A NEW ROOT KEY: keep a copy elsewhere, without it every key is lost',
    );
  }
  for (const reason of opened.passedOver)
    log.warn({ reason, by: opened.source.place }, 'a source of the root key does not open; another did');
  await sealStore(config, log, { root, store });
  let recorder: AuditRecorder | undefined;
  const record = async () => {
    const entry = await unrecordedRotation(store, root.mac);
    if (entry === undefined) return;
    if (recorder !== undefined) {
      // The next start does it again.
      if (recorder.reserve(1) !== undefined) return;
      const appended = await recorder.append(rotatedEvent(entry.value), 'synced');
      if (!appended.ok) return;
    }
    await markRecorded(store, root.mac, entry);
  };
  const recordLater = () =>
    void record().catch((cause) => log.error({ err: cause }, 'the audit log was not told of a rotation'));
  const rotation = await RootRotation.open({
    ...{ engine, store, root, clock: systemClock, pauseMs, overlapMs },
    renew: (generation) => sources.renew(engine, generation),
    resealHead: () => resealStoreHead({ root, store }),
    settle(generation, name) {
      if (!config.amnesia) sources.settle(engine, generation, name);
    },
    report(event) {
      tell(log, event);
      if (event.kind === 'done') recordLater();
    },
  });
  registerRootMetrics(metrics, () => rotation.state);
  const begin = (actor: string): Promise<Result<RotationProgress>> =>
    config.amnesia || !store.durable ? Promise.resolve(inMemory) : rotation.begin(actor);
  return {
    root,
    view: {
      state: () => rotation.state,
      sources: () => (config.amnesia ? [] : sources.views()),
      opened: opened.source.place,
      rotate: begin,
    },
    async start(to) {
      recorder = to;
      recordLater();
      await rotation.resume();
    },
    close: () => rotation.close(),
  };
}

function rotatedEvent({ actor, generation, root, before, records, rotatedAtMs }: RootEntry): AuditEvent {
  return {
    ...{ actor, tenant: operatorTenant, opId: randomUUID(), alg: 'none', inputDigest: undefined },
    ...{ keyId: `${operatorTenant}/-`, keyVersion: 0, purpose: 'root_rotate', result: 'ok' },
    type: 'root.rotated',
    data: { generation, root, before, records, rotated_at_ms: rotatedAtMs },
  };
}

const inMemory = refuse('Conflict', 'the root key is in memory only: every start makes another');

function tell(log: Logger, event: RotationEvent): void {
  switch (event.kind) {
    case 'delayed':
      log.error({ err: event.cause }, 'the rotation of the root key waits');
      return;
    case 'done': {
      const { generation, root, before, records } = event.entry;
      log.warn(
        { generation, root, before, records },
        'the root key was rotated: copies of the old one open old backups only',
      );
      return;
    }
    default:
      log.info({ generation: event.generation }, `root key rotation: ${event.kind}`);
  }
}
