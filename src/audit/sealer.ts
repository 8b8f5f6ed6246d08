import { Worker } from 'node:worker_threads';
import { workerEnvironment } from '../core/worker-environment.ts';
import type { Layout } from './layout.ts';
import type { FullSegment } from './log-state.ts';

/** Seals a segment, as `sealSegment` does; rejects as the disk does, and everything is there to try again. */
export type Seal = (layout: Layout, segment: SegmentToSeal, snapshot: Uint8Array) => Promise<void>;

/** Plain, so that it crosses to another thread. */
export type SegmentToSeal = Pick<FullSegment, 'segment' | 'tile' | 'root'>;

export interface SealOrder {
  /** Of the epoch. */
  readonly directory: string;
  readonly segment: SegmentToSeal;
  readonly snapshot: Uint8Array;
}

/** `undefined`: it is sealed; else the system's error code. */
export type SealOutcome = string | undefined;

/**
 * Sealing on a thread of its own, which gives way to the others: 65,536 records are 100 ms of compression, and whoever
 * waits for a signature would wait for them too. The thread starts with the first segment that is full. One at a time.
 */
export function sealOnThread(): Seal {
  let worker: Worker | undefined;
  return (layout, { segment, tile, root }, snapshot) =>
    new Promise((resolve, reject) => {
      worker ??= new Worker(new URL('../../workers/audit-seal.ts', import.meta.url), {
        env: workerEnvironment(),
      });
      const thread = worker;
      thread.ref();
      const ended = (cause: unknown) => {
        worker = undefined;
        reject(new Error('the sealing thread ended', { cause }));
      };
      thread.once('error', ended);
      thread.once('exit', ended);
      thread.once('message', (code: SealOutcome) => {
        thread.off('error', ended);
        thread.off('exit', ended);
        // Between segments it keeps no process.
        thread.unref();
        if (code === undefined) resolve();
        else reject(new Error(`the segment could not be sealed: ${code}`));
      });
      const order: SealOrder = { directory: layout.directory, segment: { segment, tile, root }, snapshot };
      thread.postMessage(order);
    });
}
