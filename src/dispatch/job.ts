import type { KeyType } from '../algorithms/ids.ts';
import type { EngineErrorCode, EngineOptions, RootRef } from '../engine/engine.ts';

/** The data with which a crypto worker starts: plain (with the OpenSSL engine, `root` is a KeyObject). */
export interface CryptoWorkerData {
  readonly engine: 'native' | 'openssl';
  readonly options: EngineOptions;
  readonly root: RootRef;
  /** See forgotten.ts. */
  readonly forgotten: SharedArrayBuffer;
  /** One 32-bit word of this worker alone: see `interrupted`. */
  readonly interrupts: SharedArrayBuffer;
  /** Added to the thread's nice value: 0 to 19, more gives way to others. */
  readonly niceness: number;
}

/**
 * Batches in the layout of engine/batch.ts, done one after the other; the answer is a response for each. Fewer, when the
 * job was interrupted.
 */
export interface BatchJob {
  readonly kind: 'batch';
  readonly batches: readonly Uint8Array[];
  /** Of the jobs of one worker that may be interrupted between two batches, in the order in which they were sent. */
  readonly number?: number;
}

/** True if the main thread wants a job ended: `word` is the number of the last job of this worker that it has called back. */
export function interrupted({ number }: BatchJob, word: Int32Array): boolean {
  // Numbers wrap around; a worker has two jobs at most, so that the difference is never far from zero.
  return number !== undefined && ((Atomics.load(word, 0) - number) | 0) >= 0;
}

/** One new key; the answer is a `GenerateAnswer`. */
export interface GenerateJob {
  readonly kind: 'generate';
  readonly keyType: KeyType;
  readonly tenant: string;
  readonly aad: string;
}

export type Job = BatchJob | GenerateJob;

export type GenerateAnswer =
  | { readonly made: true; readonly sealed: Uint8Array; readonly publicKey: Uint8Array }
  | { readonly made: false; readonly code: EngineErrorCode | 'UNKNOWN' };
