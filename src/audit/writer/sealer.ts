import { Worker } from 'node:worker_threads';
import { threadEntry } from '../../core/own-package.ts';
import { workerEnvironment } from '../../core/process/worker-thread.ts';
import type { Layout } from '../disk/layout.ts';
import type { SegmentToSeal } from '../disk/segments.ts';

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

export interface SealOrder {
  /** Of the epoch. */
  readonly directory: string;
  readonly segment: SegmentToSeal;
  readonly snapshot: Uint8Array;
}

/** `undefined`: it is sealed; else the system's error code, or what else was thrown. */
export type SealOutcome = string | undefined;

/** A ninth of the share of a thread that serves: sealing takes what is idle. */
const politeNiceness = 10;
/** Each segment that waits is a file that a start replays, and a copy of all keys' last numbers: then it takes its full share. */
const maxBehind = 4;

/**
 * Sealing on a thread of its own, which gives way to the others: 65,536 records are 100 ms of work, and whoever waits for a
 * signature would wait for them too. The thread starts with the first full segment and stays: starting it takes 30 ms in
 * which it is not polite yet. One order at a time.
 */
export function sealOnThread(): Seal {
  let current: SealingThread | undefined;
  return (layout, { segment, tile, root }, snapshot, behind) => {
    const niceness = behind < maxBehind ? politeNiceness : 0;
    // A thread may become more polite and never less, so it is replaced.
    if (current?.niceness !== niceness || !current.alive) {
      current?.end();
      current = startThread(niceness);
    }
    return current.seal({ directory: layout.directory, segment: { segment, tile, root }, snapshot });
  };
}

interface SealingThread {
  readonly niceness: number;
  readonly alive: boolean;
  seal(order: SealOrder): Promise<void>;
  end(): void;
}

function startThread(niceness: number): SealingThread {
  const worker = new Worker(threadEntry('audit-seal'), {
    workerData: niceness,
    env: workerEnvironment(),
  });
  let alive = true;
  let waiting: PromiseWithResolvers<void> | undefined;
  const died = (cause: unknown) => {
    alive = false;
    waiting?.reject(new Error('the sealing thread ended', { cause }));
    waiting = undefined;
  };
  worker.on('error', died);
  worker.on('exit', died);
  worker.on('message', (outcome: SealOutcome) => {
    // Between segments it keeps no process.
    worker.unref();
    if (outcome === undefined) waiting?.resolve();
    else waiting?.reject(new Error(`the segment could not be sealed: ${outcome}`));
    waiting = undefined;
  });
  return {
    niceness,
    get alive() {
      return alive;
    },
    seal(order) {
      waiting = Promise.withResolvers<void>();
      worker.ref();
      worker.postMessage(order);
      return waiting.promise;
    },
    end: () => void worker.terminate(),
  };
}
