import { parentPort, workerData } from 'node:worker_threads';
import { systemFiles } from '../src/audit/disk/files.ts';
import { layoutOf } from '../src/audit/disk/layout.ts';
import { sealSegment } from '../src/audit/disk/segments.ts';
import type { SealOrder, SealOutcome } from '../src/audit/writer/sealer.ts';
import { giveWay } from '../src/core/process/worker-thread.ts';

giveWay(workerData as number);

/** The whole of the thread: one order in, one outcome out. */
parentPort?.on('message', ({ directory, segment, snapshot }: SealOrder) => {
  void sealSegment(systemFiles, layoutOf(directory), segment, snapshot)
    .then(
      (): SealOutcome => undefined,
      (error: NodeJS.ErrnoException): SealOutcome => error.code ?? error.message,
    )
    .then((outcome) => parentPort?.postMessage(outcome));
});
