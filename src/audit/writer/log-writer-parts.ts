import type { Clock } from '../../core/clock.ts';
import type { Files } from '../disk/files.ts';
import type { HeadFile, TreeHead } from '../disk/head.ts';
import type { Layout } from '../disk/layout.ts';
import type { AuditSecrets, SecretParts } from '../disk/secrets.ts';
import type { InputHasher } from '../format/input-hash.ts';
import type { LogOptions } from '../thread-messages.ts';
import type { DiskFailure } from './disk-failures.ts';
import type { LogState } from './log-state.ts';
import type { Seal } from './sealer.ts';

/** The reason why nothing can be appended now. */
export type Trouble =
  | 'disk_low'
  | 'disk_full'
  | 'checkpoint_late'
  /** The same bytes are written again to the same place, until they are there. */
  | 'write_failed'
  /** Until what is really on the disk was read back and written anew: `resume`. */
  | 'sync_failed';

/** In words for the operator. */
export const troubles: Readonly<Record<Trouble, string>> = {
  disk_low: 'the disk of the audit log is nearly full',
  disk_full: 'the disk of the audit log is full',
  checkpoint_late: 'checkpoints cannot be signed, anchored or written',
  write_failed: 'the audit log cannot be written',
  sync_failed: 'fdatasync failed: what is on the disk is read back and written anew',
};

/** The parts that the log's thread works with. */
export interface ServiceParts extends SecretParts {
  readonly files: Files;
  readonly clock: Clock;
  readonly bootId: string;
  readonly seal: Seal;
  /** Keeps other processes from the directory; undefined when one holds it. */
  lock(directory: string): Promise<(() => Promise<void>) | undefined>;
}

export interface LogWriterParts {
  readonly files: Files;
  readonly layout: Layout;
  readonly head: HeadFile;
  readonly seal: Seal;
  readonly secrets: AuditSecrets;
  readonly hasher: InputHasher;
  readonly clock: Clock;
  readonly options: LogOptions;
  readonly statistics: Float64Array;
  readonly origin: string;
  readonly epoch: number;
  readonly bootId: string;
  /** Signs the tree and saves the anchor; the note, or undefined where that cannot be done now. */
  sign(tree: TreeHead): Promise<Uint8Array | undefined>;
  listener: LogWriterListener;
}

export interface LogWriterListener {
  written(receipts: readonly number[]): void;
  /** Only while records wait for it. */
  durable(size: number): void;
  published(tree: TreeHead, note: Uint8Array): void;
  /** `cause`: the system's error code. */
  trouble(trouble: Trouble | undefined, cause?: string): void;
  /** Once for each failure that begins, with the system's error code; `undefined` when it has ended. */
  failed(what: DiskFailure, cause: string | undefined): void;
  /** The clock is so far behind the last record, in microseconds; 0: it is not any more. */
  clock(behindUs: number): void;
}

export interface LogWriterStart {
  readonly state: LogState;
  readonly walFirst: number;
  readonly walOffset: number;
  /** The newest checkpoint, as HEAD knew it. */
  readonly checkpoint: TreeHead;
  /** As HEAD says it until the first checkpoint, which decides all changes. */
  readonly restored: boolean;
  readonly minimumIndex: number;
}
