import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { systemFiles } from '../src/audit/files.ts';
import { layoutOf } from '../src/audit/layout.ts';
import type { SealOrder, SealOutcome } from '../src/audit/sealer.ts';
import { sealSegment } from '../src/audit/segments.ts';

/** A ninth of the share of a thread that serves: sealing takes what is idle, and still ends where nothing is. */
const niceness = 10;

/** Only where threads have priorities of their own, which is Linux; elsewhere it would be the whole process. */
function giveWay(): void {
  try {
    setPriority(Number(readlinkSync('/proc/thread-self').split('/').at(-1)), niceness);
  } catch {
    // It seals all the same.
  }
}

giveWay();
parentPort?.on('message', ({ directory, segment, snapshot }: SealOrder) => {
  void sealSegment(systemFiles, layoutOf(directory), segment, snapshot)
    .then(
      (): SealOutcome => undefined,
      (error: NodeJS.ErrnoException): SealOutcome => error.code ?? error.message,
    )
    .then((outcome) => parentPort?.postMessage(outcome));
});
