import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { systemFiles } from '../src/audit/disk/files.ts';
import { layoutOf } from '../src/audit/disk/layout.ts';
import { sealSegment } from '../src/audit/disk/segments.ts';
import type { SealOrder, SealOutcome } from '../src/audit/writer/sealer.ts';

// Linux keeps the nice value of each thread: this is the calling one's. Elsewhere it would be the whole process's.
if (process.platform === 'linux') setPriority(0, workerData as number);

/** The whole of the thread: one order in, one outcome out. */
parentPort?.on('message', ({ directory, segment, snapshot }: SealOrder) => {
  void sealSegment(systemFiles, layoutOf(directory), segment, snapshot)
    .then(
      (): SealOutcome => undefined,
      (error: NodeJS.ErrnoException): SealOutcome => error.code ?? error.message,
    )
    .then((outcome) => parentPort?.postMessage(outcome));
});
