import { Worker } from 'node:worker_threads';
import { workerEnvironment } from '../core/worker-environment.ts';
import type { Layout } from './layout.ts';
import type { FullSegment } from './log-state.ts';

/**
 * Seals a segment, as `sealSegment` does; rejects as the disk does, and everything is there to try again. `behind`: how
 * many more are full.
 */
export type Seal = (
  layout: Layout,
  segment: SegmentToSeal,
  snapshot: Uint8Array,
  behind: number,
) => Promise<void>;

/** Plain, so that it crosses to another thread. */
export type SegmentToSeal = Pick<FullSegment, 'segment' | 'tile' | 'root'>;

/** What the sealing thread is given. */
export interface SealOrder {
  /** Of the epoch. */
  readonly directory: string;
  readonly segment: SegmentToSeal;
  readonly snapshot: Uint8Array;
  readonly niceness: number;
}

/** A third of the share of a thread that serves: sealing takes what is idle, and still ends where nothing is. */
const niceness = 5;
/** Each that waits is a file that a start replays, and a copy of all keys' last numbers: then it takes its full share. */
const maxBehind = 4;

/**
 * Sealing on a thread of its own, which gives way to the others: 65,536 records are 100 ms of work, and whoever waits for a
 * signature would wait for them too. A thread for each segment, whose 25 MB then go with it; starting it takes 30 ms.
 */
export const sealOnThread: Seal = (layout, { segment, tile, root }, snapshot, behind) => {
  const order: SealOrder = {
    directory: layout.directory,
    segment: { segment, tile, root },
    snapshot,
    niceness: behind < maxBehind ? niceness : 0,
  };
  const worker = new Worker(new URL('../../workers/audit-seal.ts', import.meta.url), {
    workerData: order,
    env: workerEnvironment(),
  });
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', (status) => {
      if (status === 0) resolve();
      else reject(new Error(`the sealing thread ended with ${status}`));
    });
  });
};
