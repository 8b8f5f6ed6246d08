import type { Clock } from '../../core/clock.ts';
import type { AuditEvent } from '../audit-log.ts';
import { frameHeaderBytes, maxFrameBody, writeFrameHeader } from '../disk/frames.ts';
import type { TreeHead } from '../disk/head.ts';
import { segmentLeaves } from '../disk/layout.ts';
import type { WalWriter } from '../disk/wal.ts';
import type { InputHasher } from '../format/input-hash.ts';
import {
  type AuditRecord,
  composeRecord,
  logKeyId,
  maxOwnRecordBytes,
  type Numbering,
  packEvent,
} from '../format/record.ts';
import type { ChangesUnderWay } from './changes-under-way.ts';
import type { FullSegment, LogState } from './log-state.ts';

export interface AppenderParts {
  readonly state: LogState;
  readonly wal: WalWriter;
  readonly hasher: InputHasher;
  readonly clock: Clock;
  readonly changes: ChangesUnderWay;
  /** Counts the written records outside the audit directory, before anyone hears of them. Throws as the disk does. */
  countWritten(tree: TreeHead): void;
}

/** Places of the caller's records, in the order in which they came: index, seq, index, seq, … */
export type Receipts = number[];

/** A clock that is behind the last record by more than this is worth a record; time stamps stand still meanwhile. */
const clockStepUs = 1_000_000;

/**
 * Turns events into records, records into frames, frames into bytes of the write-ahead file. The only one who assigns
 * indexes and sequence numbers, at the moment of appending: so the order of the log is the order of every key's numbers,
 * and an operation that failed before leaves no hole.
 */
export class Appender {
  readonly #parts: AppenderParts;
  readonly #numbering: Numbering;
  #frame = Buffer.allocUnsafe(frameHeaderBytes + 64 * 1024);
  #bodyLength = 0;
  #firstIndex: number;
  #rootBefore: Uint8Array;
  #receipts: Receipts = [];
  /** Of frames that are written. */
  #writtenReceipts: Receipts = [];
  /** The frame ends the segment: what comes now waits until it is written. */
  #segmentEnds = false;
  #backlog: { packed: string; own: boolean }[] = [];
  #clockIsBehind = false;
  #typed = false;

  constructor(parts: AppenderParts) {
    const { state, hasher } = parts;
    this.#parts = parts;
    this.#firstIndex = state.size;
    this.#rootBefore = state.root();
    this.#numbering = {
      ts: state.lastTs,
      seqOf: (keyId) => state.nextSeq(keyId),
      inputHash: (tenant, opId, inputDigest) => hasher.inputHash(tenant, opId, inputDigest),
    };
  }

  /** The tree of what is written. */
  get written(): TreeHead {
    return { size: this.#firstIndex, root: this.#rootBefore };
  }

  /** Records of the log with those that wait for the next flush. */
  get size(): number {
    return this.#parts.state.size + this.#backlog.length;
  }

  /** True if a record with a type was appended since the last call. */
  takeTyped(): boolean {
    const typed = this.#typed;
    this.#typed = false;
    return typed;
  }

  /** Takes an event; `flush` writes it. */
  append(packed: string): void {
    this.#append(packed, false);
  }

  /** A record of the log about itself. */
  appendOwn(type: string, data: NonNullable<AuditEvent['data']>, opId: string): void {
    this.appendFound({
      actor: 'audit-log',
      alg: 'none',
      inputDigest: undefined,
      keyId: logKeyId,
      keyVersion: 0,
      opId,
      purpose: 'log',
      result: 'ok',
      tenant: '',
      type,
      data,
    });
  }

  /** The same about a key of the store. */
  appendFound(event: AuditEvent): void {
    const packed = packEvent(event);
    if (packed === undefined) throw new Error('the log can write what it has to say of itself');
    this.#append(packed, true);
  }

  /**
   * Writes what was appended: one frame, then the count of it, and so on. Throws as the disk does, and what was not written
   * stays as it was: the next flush writes the same bytes, and what came after them.
   */
  flush(): void {
    do {
      if (this.#bodyLength > 0) this.#writeFrame();
      if (this.#segmentEnds) this.#startSegment();
      const backlog = this.#backlog;
      this.#backlog = [];
      for (const { packed, own } of backlog) this.#append(packed, own);
    } while (this.#bodyLength > 0);
  }

  /** Receipts of the events that are written, whether or not a flush failed after them; each is given once. */
  takeReceipts(): Receipts {
    const receipts = this.#writtenReceipts;
    this.#writtenReceipts = [];
    return receipts;
  }

  /** Segments that became full and are written. */
  takeFullSegments(): FullSegment[] {
    return this.#parts.state.full.splice(0);
  }

  #append(packed: string, own: boolean): void {
    // First, since it can append a record of its own, which can be the last of the frame or of the segment.
    this.#stamp();
    if (this.#segmentEnds || this.#bodyLength + maxOwnRecordBytes > maxFrameBody) {
      this.#backlog.push({ packed, own });
      return;
    }
    const { state } = this.#parts;
    const { text, seq, ascii, record } = composeRecord(packed, this.#numbering);
    const start = frameHeaderBytes + this.#bodyLength + 2;
    this.#makeRoom(start + text.length * (ascii ? 1 : 3));
    const length = this.#frame.write(text, start, ascii ? 'latin1' : 'utf8');
    this.#frame.writeUInt16BE(length, start - 2);
    if (!own) this.#receipts.push(state.size, seq);
    if (record?.type !== undefined) this.#takeType(record);
    this.#bodyLength += 2 + length;
    state.appendLeaf(this.#frame, start, length);
    this.#segmentEnds = state.size % segmentLeaves === 0;
  }

  /** Before the record is in the tree. */
  #takeType(record: AuditRecord): void {
    this.#typed = true;
    const { state, changes } = this.#parts;
    const said = state.keys.apply(record, state.size);
    if (said === 'begun') changes.began(record.key_id, { size: state.size, root: state.root() });
    else if (said === 'failed') changes.recorded(record.key_id, state.size + 1);
  }

  /** The clock's distance behind the last record, in microseconds; 0 if it is not behind, or by less than a second. */
  get clockBehindUs(): number {
    const behindUs = this.#parts.state.lastTs - this.#nowUs();
    return behindUs > clockStepUs ? behindUs : 0;
  }

  /**
   * Sets the time of the next record: of the clock, but never before the last one. The order of the log needs no clock, so
   * one that is behind stops nothing; two records say when that began and when it ended.
   */
  #stamp(): void {
    const { state } = this.#parts;
    const nowUs = this.#nowUs();
    const wasBehind = this.#clockIsBehind;
    if (nowUs >= state.lastTs) {
      state.lastTs = nowUs;
      this.#clockIsBehind = false;
    } else if (state.lastTs - nowUs > clockStepUs) {
      this.#clockIsBehind = true;
    }
    if (this.#clockIsBehind !== wasBehind) {
      const behindUs = this.#clockIsBehind ? state.lastTs - nowUs : 0;
      this.appendOwn('clock', { back_us: behindUs }, crypto.randomUUID());
    }
    this.#numbering.ts = state.lastTs;
  }

  #nowUs(): number {
    return Math.round(this.#parts.clock.utcMs() * 1000);
  }

  #makeRoom(bytes: number): void {
    if (bytes <= this.#frame.length) return;
    const larger = Buffer.allocUnsafe(Math.max(bytes, this.#frame.length * 2));
    this.#frame.copy(larger, 0, 0, frameHeaderBytes + this.#bodyLength);
    this.#frame = larger;
  }

  #writeFrame(): void {
    const { state, wal } = this.#parts;
    const frame = this.#frame;
    const bodyLength = this.#bodyLength;
    const count = state.size - this.#firstIndex;
    writeFrameHeader(frame, {
      bodyLength,
      firstIndex: this.#firstIndex,
      count,
      rootBefore: this.#rootBefore,
    });
    const tree = { size: state.size, root: state.root() };
    const taken = wal.mark();
    try {
      wal.write(frame, frameHeaderBytes + bodyLength);
      this.#parts.countWritten(tree);
    } catch (error) {
      wal.backTo(taken);
      throw error;
    }
    this.#frameWritten(tree);
  }

  /** The frame that waits is on the disk already, although HEAD could not count it; false where none waits that ends there. */
  adopt({ size, root }: TreeHead): boolean {
    const { state } = this.#parts;
    if (this.#bodyLength === 0 || size !== state.size || Buffer.compare(root, state.root()) !== 0)
      return false;
    this.#frameWritten({ size, root });
    return true;
  }

  #frameWritten(tree: TreeHead): void {
    this.#firstIndex = tree.size;
    this.#rootBefore = tree.root;
    this.#bodyLength = 0;
    for (const number of this.#receipts) this.#writtenReceipts.push(number);
    this.#receipts = [];
  }

  #startSegment(): void {
    this.#parts.wal.startFile(this.#firstIndex);
    this.#segmentEnds = false;
  }
}
