import { lstatSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { registry } from '../algorithms/registry.ts';
import type { AuditRecorder } from '../audit/audit-log.ts';
import { followLog } from '../audit/lines/follow.ts';
import { openLineFile } from '../audit/lines/line-file.ts';
import type { Config } from '../config/load.ts';
import { systemClock } from '../core/clock.ts';
import { createCostTable } from '../dispatch/costs.ts';
import type { EventSource } from '../events/event-source.ts';
import type { RecordMac } from '../keys/authenticity.ts';
import type { Keyring } from '../keys/keyring.ts';
import type { Logger } from '../observe/log.ts';
import { DekStore } from '../operations/deks/dek-store.ts';
import { createDekJournal } from '../operations/deks/journal.ts';
import { Keks } from '../operations/deks/keks.ts';
import type { DekParts } from '../operations/deks/parts.ts';
import { DekRewrapper } from '../operations/deks/rotation/dek-rewrapper.ts';
import { KekRotation, type KekRotationEvent } from '../operations/deks/rotation/kek-rotation.ts';
import { noSnapshots, openSnapshots } from '../operations/deks/rotation/snapshots.ts';
import type { Store } from '../store/store.ts';
import type { OpenedAudit } from './audit.ts';
import { runWork } from './calls.ts';
import type { Cryptography } from './cryptography.ts';

export interface OpenedDeks extends DekParts {
  close(): Promise<void>;
}

const dayMs = 86_400_000;
const hourMs = 3_600_000;

/** Undefined where the configuration wants no data encryption keys. A rotation that was cut off goes on from here. */
export async function openDeks(
  config: Config,
  log: Logger,
  parts: {
    readonly store: Store;
    readonly mac: RecordMac;
    readonly keyring: Keyring;
    readonly cryptography: Cryptography;
    readonly recorder: AuditRecorder;
    readonly audit: Pick<OpenedAudit, 'parts'>;
    readonly events: EventSource;
  },
): Promise<OpenedDeks | undefined> {
  if (!config.dek) return undefined;
  const { store, mac, keyring, cryptography, recorder } = parts;
  const deks = new DekStore({
    ...{ store, mac },
    onCorruptRecord: (key) => log.error({ key }, 'the record of a DEK cannot be read or is not authentic'),
  });
  const keks = new Keks({ keyring, store, mac, tenant: config.dekTenant });
  const snapshots = store.durable
    ? await openSnapshots(join(config.dataDir, 'kms-deks-backup'))
    : noSnapshots;
  const rewrapper = new DekRewrapper({
    ...{ keks, costs: createCostTable(registry) },
    runWork: (tenant, work) => runWork(cryptography, tenant, work),
  });
  const rotation = new KekRotation({
    ...{ deks, keks, rewrapper, snapshots, store, mac, clock: systemClock },
    keepSnapshotsMs: config.dekSnapshotDays * dayMs,
    report: (event) => tell(log, event),
  });
  if (store.durable) nameDatabase(config.dataDir);
  const lines = openLines(config, log, parts);
  // A first caller would wait for the making of the KEK, and its deadline is short.
  const resuming = keks
    .current('service')
    .then(() => rotation.resume())
    .catch((cause) =>
      log.error({ err: cause }, 'a rotation of the KEK could not go on: the next start tries it'),
    );
  const pruning = setInterval(() => void rotation.pruneOnSchedule(), hourMs).unref();
  return {
    ...{ deks, keks, snapshots, rewrapper, rotation },
    journal: createDekJournal(recorder, keks.id),
    allowPlainKek: config.dekAllowPlainKek,
    async close() {
      clearInterval(pruning);
      await rotation.close();
      await resuming;
      await lines?.close();
    },
  };
}

/** The place where scripts look for the database. */
function nameDatabase(dataDir: string): void {
  const name = join(dataDir, 'kms.db');
  if (lstatSync(name, { throwIfNoEntry: false }) === undefined) symlinkSync('store/data.mdb', name);
}

/** `kms-audit.log`, which follows the audit log; undefined where there is none, or nothing on disk. */
function openLines(
  config: Config,
  log: Logger,
  { audit, events, store }: { audit: Pick<OpenedAudit, 'parts'>; events: EventSource; store: Store },
) {
  if (audit.parts === undefined || !store.durable) return undefined;
  const file = openLineFile(config.dataDir, { groupAllowed: config.groupReadableSecrets }, (problem) =>
    log.error({ problem }, 'kms-audit.log'),
  );
  const follower = followLog(audit.parts.reading, file, (cause) =>
    log.error({ err: cause }, 'kms-audit.log is behind the audit log: it is tried again'),
  );
  let subscription: ReturnType<EventSource['subscribe']>;
  const subscribe = () => {
    subscription = events.subscribe(() => follower.noted(), {
      uses: true,
      // It missed some events, and the log has them.
      onEnd: (why) => why === 'behind' && subscribe(),
    });
  };
  subscribe();
  return {
    close() {
      if (typeof subscription === 'object') subscription.end();
      return follower.close();
    },
  };
}

function tell(log: Logger, event: KekRotationEvent): void {
  switch (event.kind) {
    case 'stopped':
      log.error(
        event,
        'the rotation of the KEK stopped: it goes on with the next start, or when it is asked for again',
      );
      return;
    case 'unpruned':
      log.warn(event, 'old snapshots of DEKs could not be removed: the next time tries it');
      return;
    case 'incomplete':
      log.error(event, 'A ROTATION OF THE KEK LEFT DEKs BEHIND: their KEKs of before are kept');
      return;
    case 'unopened':
      log.error(
        event,
        'THE WRAPPING OF A DEK DOES NOT OPEN: it stays as it is, intaglio dek restore brings it back from its snapshot, where there is one',
      );
      return;
    default:
      log.info(event, `KEK: ${event.kind}`);
  }
}
