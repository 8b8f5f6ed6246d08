import type { KeyType } from '../algorithms/ids.ts';
import type { EngineErrorCode, EngineOptions, RootRef } from '../engine/engine.ts';

/** What a crypto worker is given when it starts: plain data (with the OpenSSL engine, `root` is a KeyObject). */
export interface CryptoWorkerData {
  readonly engine: 'native' | 'openssl';
  readonly options: EngineOptions;
  readonly root: RootRef;
  /** See forgotten.ts. */
  readonly forgotten: SharedArrayBuffer;
  /** Added to the thread's nice value: 0 to 19, more gives way to others. */
  readonly niceness: number;
}

/** A batch in the layout of engine/batch.ts; the answer is the batch's response. */
export interface BatchJob {
  readonly kind: 'batch';
  readonly request: Uint8Array;
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
