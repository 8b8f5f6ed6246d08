import { type Refused, type Result, refuse } from '../core/result.ts';

/**
 * The event that an answer waits for. `memory`: the record is queued; survives nothing. `written`: write(2) and the HEAD that
 * counts it; survives the end of the process. `synced`: fdatasync; survives a power loss. `witnessed`: a checkpoint that holds
 * it is cosigned; survives the loss or the restoration of the whole machine.
 */
export type Durability = 'memory' | 'written' | 'synced' | 'witnessed';

/** One use of a key, or one change of it, as the caller of the log knows it. All texts without control characters. */
export interface AuditEvent {
  /** The caller: a pseudonymous subject, at most 512 characters. */
  readonly actor: string;
  readonly alg: string;
  /**
   * The 32-byte BLAKE3 digest of the payload in hex, or `sha256:` and that digest of a message that came whole; undefined
   * where there is no input, or the input is secret.
   */
  readonly inputDigest: string | undefined;
  /** Without the version: the sequence numbers are the key's. */
  readonly keyId: string;
  readonly keyVersion: number;
  /** With at least 122 random bits, or siblings in somebody's proof could be guessed. */
  readonly opId: string;
  /** sign, verify, wrap, create, … */
  readonly purpose: string;
  /** ok | invalid | denied:<code> | error:<code> */
  readonly result: string;
  readonly tenant: string;
  /** For records that are not a plain use of a key: key.create, key.rotate, policy, … */
  readonly type?: string;
  /** Class of the key's attestation evidence and its SHA-256 in hex; the evidence itself lives elsewhere. */
  readonly attestation?: { readonly class: string; readonly sha256: string };
  /** Facts of a record that has a type, and of a use or a call that has a receipt. Integers below 2^53 and texts. */
  readonly data?: Readonly<Record<string, string | number>>;
}

export interface AuditReceipt {
  /** Position in the log, from 0: the leaf index. */
  readonly index: number;
  /** Sequence number within the key's records, from 1, without holes. */
  readonly seq: number;
}

/**
 * `unavailable` may clear by itself (disk full, a slow disk) or wait for a restart (an I/O error);
 * `integrity_failed` stays until an operator accepts the loss and a new epoch starts.
 */
export type AuditState = 'recovering' | 'ready' | 'integrity_failed' | 'unavailable';

/** The newest published checkpoint. */
export interface PublishedCheckpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
  /** The signed note (C2SP tlog-checkpoint), with cosignatures where there are any. */
  readonly note: string;
}

export interface AuditStats {
  readonly origin: string;
  readonly epoch: number;
  /** Records written, durable, under the newest checkpoint, cosigned. */
  readonly size: number;
  readonly durableSize: number;
  readonly checkpointSize: number;
  readonly witnessedSize: number;
  readonly reservedSlots: number;
  /** Records that were handed over and wait for their durability level. */
  readonly waiting: number;
  readonly durableLagMs: number;
  /** Milliseconds since the newest checkpoint was published; undefined before the first one. */
  readonly checkpointAgeMs: number | undefined;
  readonly appended: number;
  /** Appends that were refused after the key was used: their answers did not leave. */
  readonly refused: number;
  readonly flushes: number;
  readonly fdatasyncs: number;
  readonly lastFdatasyncMs: number;
  readonly checkpoints: number;
  readonly checkpointFailures: number;
  readonly integrityFailures: number;
  /** The clock's distance behind the last record; 0 where it is not behind. */
  readonly clockBehindMs: number;
}

/** The statement by which an operator, with the consent of another, lets the log go on after an integrity failure. */
export interface Acceptance {
  readonly reason: string;
  /** At least two, all different. */
  readonly approvers: readonly string[];
  /** Totals of the acts without records since the failure, for the record that begins the epoch. */
  readonly sideLog?: Readonly<Record<string, string | number>>;
}

/**
 * The append-only log of this process. A key may be used only after `reserve` said yes, and what the use brought may
 * leave only after `append` resolved with a receipt.
 */
export interface AuditLog {
  readonly state: AuditState;
  /** The reason, in words for the operator, if the state is not `ready`. */
  readonly reason: string | undefined;
  /** Room for `count` records (2,048 in all, of at most 4 KiB each), or no: refuse with 429 if `state` is ready, else 503. */
  reserve(count: number): boolean;
  /** Gives back room for which there is nothing to record. */
  release(count: number): void;
  /** Uses up one reserved slot. Refuses with AuditUnavailable only, and then the answer must not leave. Never rejects. */
  append(event: AuditEvent, level: Durability): Promise<Result<AuditReceipt>>;
  /**
   * The change of the key whose record (key.create, key.rotate, key.destroy; result ok) is the last one of it is committed. A
   * change that is not gets another record, with result error:<code>. Until either comes no checkpoint covers the first.
   */
  changeCommitted(keyId: string): void;
  /** The 16 bytes of salt of a record under input_hash `commit`, for the caller; undefined in the other modes. */
  commitmentSalt(tenant: string, opId: string): Uint8Array | undefined;
  /** Age of the oldest record that is not durable yet, or not even written; 0 when there is none. */
  durableLagMs(): number;
  stats(): AuditStats;
  checkpoint(): PublishedCheckpoint | undefined;
  /** The directory with the files of the current epoch, for a LogReader. */
  readonly directory: string;
  /** Only in `integrity_failed`: starts the next epoch under a new origin, whose first record names the old one's end. */
  accept(acceptance: Acceptance): Promise<Result<void>>;
  /** Flush, fdatasync, shutdown record, last checkpoint, clean flag. Idempotent. */
  close(): Promise<void>;
}

/**
 * The audit log as a call meets it: room before a key is used, records before the answer leaves. No record, no
 * signature.
 */
export interface AuditRecorder {
  /** Room for `count` records, or why the call cannot go on; nothing is reserved then. */
  reserve(count: number): Refused | undefined;
  /** Gives back room for which nothing is recorded. */
  release(count: number): void;
  /** Uses up one reserved place. Refused: the record could not be kept, and the answer must not leave. */
  append(event: AuditEvent, level: Durability): Promise<Result<AuditReceipt>>;
  /** The salt that opens the commitment in a record's input_hash; undefined where it is none. Costs an HMAC. */
  commitmentSalt(tenant: string, opId: string): Uint8Array | undefined;
  /** The change of a key that was recorded last is in the store. */
  changeCommitted(keyId: string): void;
  /** The log takes no records now. */
  readonly degraded: boolean;
  /** An act that is right although no record of it can be kept: the side log takes it, and nobody waits. */
  unrecorded(event: AuditEvent): void;
}

/** A full queue is 2,048 records, which are written within some 20 ms. */
const queueRetryMs = 20;

/** Most states that are not `ready` need an operator or a new disk; asking every few seconds is often enough. */
const unavailableRetryMs = 5_000;

export function createAuditRecorder(
  log: AuditLog,
  sideLog: { record(event: AuditEvent): void },
): AuditRecorder {
  return {
    reserve(count) {
      if (log.reserve(count)) return undefined;
      return log.state === 'ready'
        ? refuse('Backpressure', 'too many records wait for the audit log', queueRetryMs)
        : refuse(
            'AuditUnavailable',
            'no record, no signature: verification and public keys are still served',
            unavailableRetryMs,
          );
    },
    release: (count) => log.release(count),
    append: (event, level) => log.append(event, level),
    commitmentSalt: (tenant, opId) => log.commitmentSalt(tenant, opId),
    changeCommitted: (keyId) => log.changeCommitted(keyId),
    get degraded() {
      return log.state !== 'ready';
    },
    unrecorded: (event) => sideLog.record(event),
  };
}
