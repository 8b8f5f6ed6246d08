import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { systemFiles } from '../src/audit/files.ts';
import { layoutOf } from '../src/audit/layout.ts';
import type { SealOrder, SealOutcome } from '../src/audit/sealer.ts';
import { sealSegment } from '../src/audit/segments.ts';

/** A ninth of the share of a thread that serves: sealing takes what is idle, and still ends where nothing is. */
const niceness = 10;

// Linux keeps the nice value of each thread: this is the calling one's. Elsewhere it would be the whole process's.
if (process.platform === 'linux') setPriority(0, niceness);

parentPort?.on('message', ({ directory, segment, snapshot }: SealOrder) => {
  void sealSegment(systemFiles, layoutOf(directory), segment, snapshot)
    .then(
      (): SealOutcome => undefined,
      (error: NodeJS.ErrnoException): SealOutcome => error.code ?? error.message,
    )
    .then((outcome) => parentPort?.postMessage(outcome));
});
