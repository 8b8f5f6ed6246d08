import { statfsSync } from 'node:fs';
import { join } from 'node:path';
import { KeyRoom } from '../admission/key-room.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import type { Config } from '../config/load.ts';
import { systemClock } from '../core/clock.ts';

const measureMs = 1_000;

export interface OpenedKeyRoom {
  /** Undefined where no disk is used. */
  readonly room: KeyRoom | undefined;
  close(): void;
}

export function openKeyRoom(
  { auditDir, backend, dataDir }: Config,
  log: AuditLog | undefined,
): OpenedKeyRoom {
  if (backend === 'memory') return { room: undefined, close: () => {} };
  const store = join(dataDir, 'store');
  const room = new KeyRoom({
    freeBytes: () => ({
      store: freeBytesOf(store),
      log: log === undefined ? Number.POSITIVE_INFINITY : freeBytesOf(auditDir),
    }),
    recordsTaken: () => log?.stats().appended ?? 0,
    clock: systemClock,
  });
  const timer = setInterval(() => room.measure(), measureMs).unref();
  return { room, close: () => clearInterval(timer) };
}

/** None where the disk does not say: it will hardly take a key. */
function freeBytesOf(directory: string): number {
  try {
    const { bavail, bsize } = statfsSync(directory);
    return bavail * bsize;
  } catch {
    return 0;
  }
}
