import type { MessagePort } from 'node:worker_threads';
import type { KeyType } from '../algorithms/ids.ts';
import type { EngineErrorCode, EngineOptions, RootRef } from '../engine/engine.ts';
import type { RequestNames } from '../observe/tracing.ts';

/** The data with which a crypto worker starts: plain (with the OpenSSL engine, `root` is a KeyObject). */
export interface CryptoWorkerData {
  readonly engine: 'native' | 'openssl';
  readonly options: EngineOptions;
  readonly root: RootRef;
  /** See forgotten.ts. */
  readonly forgotten: SharedArrayBuffer;
  /** One 32-bit word of this worker alone: how many jobs were ever sent to overtake what lies ready (overtaking.ts). */
  readonly overtaking: SharedArrayBuffer;
  /** Added to the thread's nice value: 0 to 19, more gives way to others. */
  readonly niceness: number;
}

/**
 * Batches in the layout of engine/batch.ts, done one after the other; between two of them the worker looks for jobs that
 * overtake this one. The answer is a `BatchJobAnswer`.
 */
export interface BatchJob {
  readonly kind: 'batch';
  readonly batches: readonly Uint8Array[];
  /** For each batch its requests' names, where somebody looks at times: then the answer has these, and an error names them. */
  readonly requests?: readonly (readonly RequestNames[])[];
}

/** By process.hrtime, in milliseconds. */
export interface BatchTimes {
  readonly beganAtMs: number;
  readonly endedAtMs: number;
}

export interface BatchJobAnswer {
  /** One for each batch. */
  readonly responses: readonly Uint8Array[];
  /** Time that the worker had this job in hand, without those that overtook it. */
  readonly busyUs: number;
  /** Before it, the worker had nothing to do for so long. */
  readonly idleUs: number;
  /** By process.hrtime, which all threads share, in milliseconds. */
  readonly endedAtMs: number;
  /** Of each batch, where the job names its requests. */
  readonly times?: readonly BatchTimes[];
}

/**
 * Looks for jobs that overtake: one lies behind all others, so that a worker that sleeps wakes. The answer is whether this
 * worker has the port that they came by: one that was replaced meanwhile has not.
 */
export interface LookJob {
  readonly kind: 'look';
  readonly connection: number;
}

/** The first job of a worker; `port` brings those that overtake, and takes their answers. */
export interface WarmUpJob {
  readonly kind: 'warm-up';
  readonly port: MessagePort;
  readonly connection: number;
}

/** One new key; the answer is a `GenerateAnswer`. */
export interface GenerateJob {
  readonly kind: 'generate';
  readonly keyType: KeyType;
  readonly tenant: string;
  readonly aad: string;
}

/** From now on this is the root. */
export interface RootJob {
  readonly kind: 'root';
  readonly root: RootRef;
}

export type Job = BatchJob | GenerateJob;

/** All that a worker is sent. */
export type WorkerJob = Job | LookJob | WarmUpJob | RootJob;

export type GenerateAnswer =
  | {
      readonly made: true;
      readonly sealed: Uint8Array;
      readonly publicKey: Uint8Array;
      readonly times: BatchTimes;
    }
  | { readonly made: false; readonly code: EngineErrorCode | 'UNKNOWN' };
