import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { AuditRecorder } from '../../audit/audit-log.ts';
import type { Config } from '../../config/load.ts';
import { systemClock } from '../../core/clock.ts';
import { errorCode, writePrivateFile } from '../../core/private-file.ts';
import { StartError } from '../../core/start-error.ts';
import { adoptRecords, foundAreRecorded } from '../../custody/software/adoption.ts';
import type { Engine, RootRef } from '../../engine/engine.ts';
import type { RecordMac } from '../../keys/authenticity.ts';
import type { RoomForKeys } from '../../keys/keyring.ts';
import type { Logger } from '../../observe/log.ts';
import type { OpenedTrust, TrustParts } from '../../operations/trust/parts.ts';
import type { Store } from '../../store/store.ts';
import { recordFoundKeys } from './found-keys.ts';

export interface OpenedRecords {
  readonly mac: RecordMac;
  /** Goes on in the background until the audit log knows of the keys that were taken. Undefined: nothing is recorded. */
  recordFound(recorder: AuditRecorder | undefined): void;
  /** Ends that. Idempotent. */
  close(): Promise<void>;
}

/** Beside the store: who writes into the store alone cannot make it look like one whose records nobody authenticated. */
const markName = 'store.authenticated';

/** The records of keys: authentic, or refused from now on. */
export async function openRecords(
  config: Config,
  log: Logger,
  { engine, root, mac, store }: { engine: Engine; root: RootRef; mac: RecordMac; store: Store },
): Promise<OpenedRecords> {
  const mark = store.durable ? join(config.dataDir, markName) : undefined;
  const wasAuthenticated = mark !== undefined && existsSync(mark);
  const { taken, refused, unrecorded } = await adoptRecords({ engine, root, store, mac, wasAuthenticated });
  if (mark !== undefined && !wasAuthenticated) writeMark(mark);
  for (const key of refused) log.error({ key }, 'a record in the store was not taken: not of one piece');
  if (taken > 0) log.warn({ records: taken }, 'records of the store were taken as they are, once');

  const stop = new AbortController();
  let recording: Promise<void> | undefined;
  const record = async (recorder: AuditRecorder | undefined): Promise<void> => {
    try {
      const all = recorder === undefined || (await recordFoundKeys({ store, mac, recorder }, stop.signal));
      if (all) await foundAreRecorded({ store, mac });
    } catch (cause) {
      // The next start does it again.
      log.error({ err: cause }, 'the audit log was not told of all keys that were taken');
    }
  };
  return {
    mac,
    recordFound(recorder) {
      if (unrecorded) recording ??= record(recorder);
    },
    async close() {
      stop.abort();
      await recording;
    },
  };
}

function writeMark(path: string): void {
  try {
    writePrivateFile(path, 'the key records in store/ are authenticated\n', 'replace');
  } catch (cause) {
    throw new StartError(`${path} cannot be made (${errorCode(cause)})`, { cause });
  }
}

/** Trust anchors and enrolled certificates. The libraries that read certificates are loaded by the first call that needs them. */
export function openTrust(
  log: Logger,
  { store, mac, room }: { store: Store; mac: RecordMac; room: RoomForKeys | undefined },
): TrustParts['trust'] {
  const parts = {
    ...{ store, mac, room, clock: systemClock },
    onCorruptRecord: (key: string) =>
      log.error({ key }, 'a record in the store cannot be read or is not authentic'),
  };
  let opened: Promise<OpenedTrust> | undefined;
  return () => {
    opened ??= Promise.all([import('../../trust/trust-anchors.ts'), import('../../trust/enrolled.ts')]).then(
      ([{ openTrustAnchors }, { openEnrolledCertificates }]) => ({
        anchors: openTrustAnchors(parts),
        enrolled: openEnrolledCertificates(parts),
      }),
    );
    return opened;
  };
}
