import type { MacKeyRef } from '../core/mac-key.ts';
import type { Acceptance, AuditState } from './audit-log.ts';
import type { KeyStatePage } from './disk/logged-keys.ts';
import type { InputHashOptions } from './format/input-hash.ts';
import type { DiskFailure } from './writer/disk-failures.ts';

/** Times and sizes of the log, each with its reason. */
export interface LogOptions {
  /** A checkpoint is due at this many records… */
  readonly checkpointRecords: number;
  /** …or this long after the first record that no checkpoint covers… */
  readonly checkpointIntervalMs: number;
  /** …but never sooner after the last one: signing takes about 1 ms of a core, and witnesses are asked each time. */
  readonly checkpointMinIntervalMs: number;
  /** A checkpoint that is later than this makes the log unavailable: nobody outside could tell what is lost. */
  readonly checkpointLateMs: number;
  /** Pause between fdatasyncs while no record waits for one: what a power loss can take. */
  readonly syncIntervalMs: number;
  /** Above it the log is unavailable: a record that was acknowledged as written is durable within a second. */
  readonly maxDurableLagMs: number;
  /** Kept for the last records and the last checkpoint before the disk is full: 8 MiB may wait, twice that with frames. */
  readonly ballastBytes: number;
  /** Free space below which no key is used: this part of the disk, at most `maxReserveBytes`… */
  readonly reserveRatio: number;
  readonly maxReserveBytes: number;
  /** …or what this many seconds take at the present rate, whichever is more. */
  readonly reserveSeconds: number;
  readonly spaceIntervalMs: number;
  /** Entries of older segments are removed; tiles and roots stay. 0: all are kept. */
  readonly retainRecords: number;
  /**
   * Segments all of whose records are older are let go: HEAD and a record say that their entries need not be here. They stay until
   * somebody moves them (`audit archive`). 0: none is let go.
   */
  readonly retainMs: number;
  /** Pause between chunks that the scrub reads: 256 records in about 1 ms. */
  readonly scrubPauseMs: number;
}

export const defaultLogOptions: LogOptions = {
  checkpointRecords: 5_000,
  checkpointIntervalMs: 1_000,
  checkpointMinIntervalMs: 100,
  checkpointLateMs: 3_000,
  syncIntervalMs: 50,
  maxDurableLagMs: 1_000,
  ballastBytes: 16 * 1024 * 1024,
  reserveRatio: 0.05,
  maxReserveBytes: 2 * 1024 * 1024 * 1024,
  reserveSeconds: 600,
  spaceIntervalMs: 1_000,
  retainRecords: 0,
  retainMs: 0,
  scrubPauseMs: 20,
};

/** The data with which the log's thread starts. */
export interface ServiceData {
  /** The audit directory; each epoch has one in it. */
  readonly directory: string;
  /** HEAD, outside the audit directory, or it would be restored together with it. */
  readonly headPath: string;
  /** From outside the audit directory. */
  readonly secret: MacKeyRef;
  readonly origin: string;
  readonly inputHash: InputHashOptions;
  readonly options: LogOptions;
  readonly statistics: SharedArrayBuffer;
  /** True if there is a key store that keeps an anchor. */
  readonly anchored: boolean;
  /** True if the changes of that store's keys are on the log. */
  readonly keysLogged: boolean;
  /** True if witnesses are asked for the checkpoints that they hold. */
  readonly witnessed: boolean;
}

/** The places of the numbers in the shared statistics, as doubles. */
export const statistic = {
  size: 0,
  durableSize: 1,
  checkpointSize: 2,
  epoch: 3,
  /** On the system's monotonic clock, in milliseconds; 0: everything is durable. */
  oldestUndurableAtMs: 4,
  flushes: 5,
  fdatasyncs: 6,
  lastFdatasyncMs: 7,
  checkpoints: 8,
  checkpointFailures: 9,
  checkpointAtMs: 10,
  integrityFailures: 11,
  scrubbedChunks: 12,
  sealedSegments: 13,
  minimumIndex: 14,
  /** The clock behind the last record, in microseconds. */
  clockBehindUs: 15,
} as const;

export const statisticsBytes = 16 * 8;

// performance.now() is the same clock, from where each thread began. It is read first: its first use loads it, and that
// takes a millisecond or more, which would stay between the two.
const sinceBeganMs = performance.now();
const [seconds, nanoseconds] = process.hrtime();
const beganAtMs = seconds * 1000 + nanoseconds / 1e6 - sinceBeganMs;

/** CLOCK_MONOTONIC in milliseconds: the same on all threads. */
export function monotonicMs(): number {
  return beganAtMs + performance.now();
}

/** A question of the log's thread to the main thread, where keys, store and network are. */
export type Question =
  | { readonly of: 'identity'; readonly origin: string }
  | { readonly of: 'keys'; readonly after: string | undefined }
  | { readonly of: 'witnessed'; readonly origin: string }
  | {
      readonly of: 'checkpoint';
      readonly origin: string;
      readonly epoch: number;
      readonly size: number;
      readonly root: Uint8Array;
      readonly bootId: string;
    };

/** Verifier keys of the attestation keys, and the sealed anchor. */
export interface LogIdentity {
  readonly vkeys: readonly string[];
  readonly anchor:
    | {
        readonly origin: string;
        readonly epoch: number;
        readonly size: number;
        readonly root: Uint8Array;
        readonly bootId: string;
      }
    | undefined;
  /** The store has an anchor, and it is not authentic. */
  readonly anchorRejected: boolean;
}

/** A tree that a witness has cosigned, under our own signature. */
export interface Witnessed {
  readonly witness: string;
  readonly size: number;
  readonly root: Uint8Array;
}

/** `undefined`: it cannot be had now. */
export type AnswerTo =
  | LogIdentity
  | KeyStatePage
  | { readonly witnessed: readonly Witnessed[] }
  | { readonly note: Uint8Array }
  | undefined;

/** Events of what was signed together, packed into one text whose first character says whether any waits for `synced`. */
export const urgentMark = '!';
export const calmMark = '.';

export type ToService =
  | string
  | { readonly kind: 'answer'; readonly id: number; readonly answer: AnswerTo }
  | { readonly kind: 'accept'; readonly acceptance: Acceptance }
  /** The change of this key that is under way is in the store. */
  | { readonly kind: 'committed'; readonly keyId: string }
  /** Somebody outside knows better than the log: a witness has seen more of it. */
  | { readonly kind: 'contradicted'; readonly detail: string }
  | { readonly kind: 'close' };

export type FromService =
  /**
   * Index and sequence number of each event that was written, in the order in which they were sent. Bare, as this message comes
   * with nearly every record.
   */
  | readonly number[]
  | { readonly kind: 'durable'; readonly size: number }
  | {
      readonly kind: 'published';
      readonly origin: string;
      readonly size: number;
      readonly root: Uint8Array;
      readonly note: Uint8Array;
    }
  | {
      readonly kind: 'state';
      readonly state: AuditState;
      readonly reason: string | undefined;
      readonly directory: string;
      /** Records that have their slot are still written and answered. */
      readonly takesRecords: boolean;
    }
  /** Something fails on the disk and is tried again, with the system's error code; undefined: it does not any more. */
  | { readonly kind: 'failed'; readonly what: DiskFailure; readonly cause: string | undefined }
  /** The clock is so far behind the last record, in microseconds; 0: it is not any more. */
  | { readonly kind: 'clock'; readonly behindUs: number }
  | { readonly kind: 'ask'; readonly id: number; readonly question: Question }
  | { readonly kind: 'closed' };

/** The end of a channel between the two threads, as a MessagePort is one. */
export interface Port<In, Out> {
  postMessage(message: Out): void;
  on(event: 'message', listener: (message: In) => void): unknown;
}
