import type { Clock } from '../core/clock.ts';
import { Appender } from './appender.ts';
import type { AuditEvent } from './audit-log.ts';
import { ChangesUnderWay } from './changes-under-way.ts';
import { DiskSpace } from './disk-space.ts';
import { type Files, isDiskFull, replaceFile } from './files.ts';
import type { HeadFile, TreeHead } from './head.ts';
import type { InputHasher } from './input-hash.ts';
import { type Layout, segmentLeaves, segmentsIn } from './layout.ts';
import type { FullSegment, LogState } from './log-state.ts';
import { type LogOptions, monotonicMs, statistic } from './protocol.ts';
import { eventEnd } from './record.ts';
import type { Seal } from './sealer.ts';
import type { AuditSecrets } from './secrets.ts';
import { sealSnapshot } from './snapshot.ts';
import { WalWriter } from './wal.ts';

/** Why nothing can be appended now. */
export type Trouble =
  /** Clear by themselves. */
  | 'disk_low'
  | 'disk_full'
  | 'checkpoint_late'
  /** Until a restart, which reads back what is really there. */
  | 'write_failed'
  | 'sync_failed';

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
  trouble(trouble: Trouble | undefined): void;
}

export interface LogWriterStart {
  readonly state: LogState;
  readonly walFirst: number;
  readonly walOffset: number;
  /** The newest checkpoint, as HEAD knew it. */
  readonly checkpoint: TreeHead;
  readonly minimumIndex: number;
}

const retryMs = 250;
/**
 * Frames are at least so long apart, so that records which come one by one share a frame, a HEAD and a message back, which
 * cost more than they do: at 10,000 a second, p95 0.8 ms instead of 1.1. Who comes after a pause does not wait. The
 * thread sleeps meanwhile, because no timer of the event loop is as short.
 */
const gatherMs = 0.1;
/** Sleeping takes longer than this. */
const minGatherMs = 0.02;
const never = new Int32Array(new SharedArrayBuffer(4));
/** What the store's keys were found to be is written so many records at a time. */
const foundTogether = 1_000;

/**
 * The one writer of the log. In this order, for every record: write(2), HEAD, and the waiting call hears of it; then
 * fdatasync; then, over what is durable, the signature, the anchor, the checkpoint. A checkpoint over records that only
 * the page cache holds would make an honest log sign two histories after a power loss.
 */
export class LogWriter {
  readonly #parts: LogWriterParts;
  readonly #state: LogState;
  readonly #wal: WalWriter;
  readonly #appender: Appender;
  readonly #changes = new ChangesUnderWay();
  readonly #space: DiskSpace;
  readonly #spaceTimer: NodeJS.Timeout;
  #durable: TreeHead;
  #checkpoint: TreeHead;
  #minimumIndex: number;
  #clean = false;
  #closed = false;
  #trouble: Trouble | undefined;

  #flushing = false;
  #flushedAtMs = 0;
  #retryTimer: NodeJS.Timeout | undefined;

  #syncing: Promise<void> | undefined;
  #syncTimer: NodeJS.Timeout | undefined;
  #syncStartedMs = 0;
  /** Records up to this size wait for fdatasync. */
  #urgentSize = 0;
  #urgent = false;

  #checkpointing: Promise<void> | undefined;
  #checkpointTimer: NodeJS.Timeout | undefined;
  #checkpointAtMs = 0;
  /** When the first durable record came that no checkpoint covers. */
  #uncoveredSinceMs = 0;
  #checkpointForced = false;

  #toSeal: FullSegment[] = [];
  #sealing: Promise<void> | undefined;

  constructor(parts: LogWriterParts, start: LogWriterStart) {
    const { files, layout, options } = parts;
    this.#parts = parts;
    this.#state = start.state;
    this.#wal = new WalWriter(files, layout, start.walFirst, start.walOffset);
    this.#durable = { size: start.state.size, root: start.state.root() };
    this.#checkpoint = start.checkpoint;
    this.#minimumIndex = start.minimumIndex;
    this.#appender = new Appender({
      ...parts,
      state: start.state,
      wal: this.#wal,
      changes: this.#changes,
      countWritten: (tree) => this.#writeHead(tree),
    });
    this.#toSeal = this.#appender.takeFullSegments();
    this.#space = new DiskSpace(files, layout.directory, options);
    this.#space.takeBallast();
    this.#spaceTimer = setInterval(() => this.#watch(), options.spaceIntervalMs);
    this.#spaceTimer.unref();
    this.#watch();
    this.#count(statistic.epoch, parts.epoch);
    this.#count(statistic.size, this.#durable.size);
    this.#count(statistic.durableSize, this.#durable.size);
    this.#count(statistic.checkpointSize, this.#checkpoint.size);
    this.#count(statistic.minimumIndex, this.#minimumIndex);
  }

  get durable(): TreeHead {
    return this.#durable;
  }

  get size(): number {
    return this.#state.size;
  }

  /** Takes the events of one message. They are written together with what else this turn brings. */
  receive(packedEvents: string, urgent: boolean): void {
    for (const packed of packedEvents.split(eventEnd)) this.#appender.append(packed);
    this.#urgent ||= urgent;
    this.#flushSoon();
  }

  /** Appends a record of the log about itself, and writes it. */
  note(type: string, data: NonNullable<AuditEvent['data']>): void {
    this.#appender.appendOwn(type, data, crypto.randomUUID());
    this.#flush();
  }

  /**
   * The first records of a start: what it was, then what the store's keys were found to be. No checkpoint comes before all of
   * them are durable: it would say that what they correct is so.
   */
  begin(notes: () => void, found: readonly AuditEvent[]): void {
    const start = 'start';
    this.#changes.began(start, this.#checkpoint);
    notes();
    for (let at = 0; at < found.length; at += foundTogether) {
      for (const event of found.slice(at, at + foundTogether)) this.#appender.appendFound(event);
      this.#flush();
    }
    this.#changes.recorded(start, this.#appender.size);
  }

  /** The store has the change of the key that is under way. */
  committed(keyId: string): void {
    this.#changes.committed(keyId);
    this.#checkpointSoon();
  }

  /** Everything so far durable and under a checkpoint; false where that cannot be done now. */
  async settle(): Promise<boolean> {
    this.#flush();
    while (this.#durable.size < this.#state.size && this.#trouble === undefined) {
      this.#syncNow();
      await this.#syncing;
    }
    await this.#checkpointing;
    if (this.#checkpoint.size < this.#durable.size) await this.#makeCheckpoint();
    return this.#checkpoint.size === this.#state.size;
  }

  async close(): Promise<void> {
    if (this.#trouble !== 'write_failed' && this.#trouble !== 'sync_failed') {
      this.note('shutdown', {});
      await this.settle();
    }
    this.#closed = true;
    clearInterval(this.#spaceTimer);
    for (const timer of [this.#syncTimer, this.#checkpointTimer, this.#retryTimer]) clearTimeout(timer);
    await Promise.all([this.#syncing, this.#checkpointing, this.#sealing]);
    const { written } = this.#appender;
    if (this.#trouble === undefined && written.size === this.#durable.size) {
      this.#clean = true;
      this.#writeHead(written);
      await this.#parts.head.sync();
    }
    this.#wal.close();
    this.#parts.head.close();
  }

  /** Stops in the middle: integrity was found broken, and nothing may be written any more. */
  async abandon(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#spaceTimer);
    for (const timer of [this.#syncTimer, this.#checkpointTimer, this.#retryTimer]) clearTimeout(timer);
    await Promise.all([this.#syncing, this.#checkpointing, this.#sealing]);
    this.#wal.close();
    this.#parts.head.close();
  }

  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      const restMs = gatherMs - (monotonicMs() - this.#flushedAtMs);
      if (restMs < minGatherMs) {
        this.#flushGathered();
        return;
      }
      Atomics.wait(never, 0, 0, restMs);
      // What came meanwhile is received first.
      setImmediate(() => this.#flushGathered());
    });
  }

  #flushGathered(): void {
    this.#flushing = false;
    this.#flush();
    this.#flushedAtMs = monotonicMs();
  }

  #flush(): void {
    if (this.#closed || this.#trouble === 'write_failed' || this.#trouble === 'sync_failed') return;
    const before = this.#appender.written.size;
    let receipts: readonly number[];
    try {
      receipts = this.#appender.flush();
    } catch (error) {
      this.#writeFailed(error);
      return;
    }
    const { size } = this.#appender.written;
    if (size === before) return;
    this.#count(statistic.size, size);
    this.#add(statistic.flushes);
    if (this.#statistic(statistic.oldestUndurableAtMs) === 0) {
      this.#count(statistic.oldestUndurableAtMs, monotonicMs());
    }
    this.#parts.listener.written(receipts);
    this.#checkpointForced ||= this.#appender.takeTyped();
    this.#toSeal.push(...this.#appender.takeFullSegments());
    if (this.#urgent) this.#urgentSize = size;
    this.#urgent = false;
    this.#syncSoon();
  }

  /** What was appended stays in memory, where it is bounded by the slots, and goes to the disk when there is room. */
  #writeFailed(error: unknown): void {
    if (!isDiskFull(error)) {
      this.#setTrouble('write_failed');
      return;
    }
    if (this.#trouble !== 'disk_full') {
      this.#setTrouble('disk_full');
      this.#space.dropBallast();
    }
    this.#retryTimer ??= setTimeout(() => {
      this.#retryTimer = undefined;
      this.#flush();
    }, retryMs);
  }

  #syncSoon(): void {
    if (this.#syncing !== undefined) return;
    const sinceMs = monotonicMs() - this.#syncStartedMs;
    if (this.#urgentSize > this.#durable.size || sinceMs >= this.#parts.options.syncIntervalMs) {
      this.#syncNow();
    } else {
      this.#syncTimer ??= setTimeout(() => this.#syncNow(), this.#parts.options.syncIntervalMs - sinceMs);
    }
  }

  #syncNow(): void {
    clearTimeout(this.#syncTimer);
    this.#syncTimer = undefined;
    if (this.#closed || this.#trouble === 'sync_failed' || this.#trouble === 'write_failed') return;
    if (this.#syncing !== undefined || this.#durable.size === this.#appender.written.size) return;
    this.#syncing = this.#sync().finally(() => {
      this.#syncing = undefined;
      if (this.#durable.size < this.#appender.written.size) this.#syncSoon();
    });
  }

  async #sync(): Promise<void> {
    const target = this.#appender.written;
    const startedMs = monotonicMs();
    this.#syncStartedMs = startedMs;
    try {
      await this.#wal.sync();
      this.#durable = target;
      this.#writeHead(this.#appender.written);
    } catch {
      // Linux reports a failed write-back once and then forgets the pages: trying again would call lost bytes durable.
      this.#setTrouble('sync_failed');
      return;
    }
    this.#add(statistic.fdatasyncs);
    this.#count(statistic.lastFdatasyncMs, monotonicMs() - startedMs);
    this.#count(statistic.durableSize, target.size);
    // Whatever was written meanwhile was written after the start.
    const more = this.#appender.written.size > target.size;
    this.#count(statistic.oldestUndurableAtMs, more ? startedMs : 0);
    if (this.#urgentSize > 0) {
      this.#parts.listener.durable(target.size);
      if (this.#urgentSize <= target.size) this.#urgentSize = 0;
    }
    if (this.#uncoveredSinceMs === 0) this.#uncoveredSinceMs = startedMs;
    this.#checkpointSoon();
  }

  #checkpointSoon(): void {
    if (this.#closed || this.#checkpointing !== undefined) return;
    const uncovered = this.#changes.limit(this.#durable).size - this.#checkpoint.size;
    if (uncovered <= 0) return;
    const { checkpointRecords, checkpointIntervalMs, checkpointMinIntervalMs } = this.#parts.options;
    const soon = this.#checkpointForced || uncovered >= checkpointRecords;
    const earliestMs = this.#checkpointAtMs + checkpointMinIntervalMs;
    const dueMs = Math.max(earliestMs, soon ? 0 : this.#uncoveredSinceMs + checkpointIntervalMs);
    clearTimeout(this.#checkpointTimer);
    this.#checkpointTimer = setTimeout(() => void this.#makeCheckpoint(), Math.max(0, dueMs - monotonicMs()));
  }

  #makeCheckpoint(): Promise<void> {
    clearTimeout(this.#checkpointTimer);
    this.#checkpointTimer = undefined;
    this.#checkpointing ??= this.#checkpointDurable().finally(() => {
      this.#checkpointing = undefined;
      this.#checkpointSoon();
    });
    return this.#checkpointing;
  }

  async #checkpointDurable(): Promise<void> {
    const { files, layout, head, listener } = this.#parts;
    const target = this.#changes.limit(this.#durable);
    if (target.size <= this.#checkpoint.size) return;
    const forced = this.#checkpointForced;
    // What is held back is due as soon as it may.
    this.#checkpointForced = forced && target.size < this.#durable.size;
    this.#checkpointAtMs = monotonicMs();
    try {
      const note = await this.#parts.sign(target);
      if (note === undefined) throw new Error('not signed');
      this.#checkpoint = target;
      this.#writeHead(this.#appender.written);
      await head.sync();
      await replaceFile(files, layout.checkpoint, note);
      this.#add(statistic.checkpoints);
      this.#count(statistic.checkpointSize, target.size);
      this.#count(statistic.checkpointAtMs, monotonicMs());
      this.#uncoveredSinceMs = this.#durable.size > target.size ? this.#checkpointAtMs : 0;
      listener.published(target, note);
      this.#sealSoon();
    } catch {
      // The next one covers this one's records too.
      this.#checkpointForced ||= forced;
      this.#checkpointAtMs = monotonicMs() + retryMs;
      this.#add(statistic.checkpointFailures);
    }
  }

  /** Once a second: room on the disk, age of what no checkpoint covers. */
  #watch(): void {
    if (this.#trouble === 'write_failed' || this.#trouble === 'sync_failed') return;
    const { options } = this.#parts;
    const sinceMs = this.#uncoveredSinceMs;
    const late =
      sinceMs > 0 && monotonicMs() - sinceMs > options.checkpointIntervalMs + options.checkpointLateMs;
    const low = this.#isLow();
    const stuck = this.#retryTimer !== undefined;
    if (this.#trouble === 'disk_full' && (low || stuck || !this.#space.takeBallast())) return;
    if (low && this.#trouble === undefined) this.note('disk_low', {});
    if (this.#trouble === 'disk_full') this.note('disk_full', {});
    this.#setTrouble(low ? 'disk_low' : late ? 'checkpoint_late' : undefined);
  }

  #isLow(): boolean {
    try {
      return this.#space.isLow(this.#wal.bytesWritten);
    } catch {
      // Who cannot say how much room there is will hardly write.
      return true;
    }
  }

  #setTrouble(trouble: Trouble | undefined): void {
    if (this.#trouble === trouble) return;
    this.#trouble = trouble;
    this.#parts.listener.trouble(trouble);
  }

  /** Only what a published checkpoint covers is sealed, so that replay never begins behind one. */
  #sealSoon(): void {
    this.#sealing ??= this.#seal().finally(() => {
      this.#sealing = undefined;
    });
  }

  async #seal(): Promise<void> {
    const { layout, seal, secrets, origin } = this.#parts;
    for (;;) {
      const next = this.#toSeal[0];
      if (this.#closed || next === undefined || next.snapshot.size > this.#checkpoint.size) break;
      try {
        const snapshot = sealSnapshot(origin, next.snapshot, secrets.snapshot);
        await seal(layout, next, snapshot, this.#toSeal.length - 1);
      } catch {
        // The write-ahead file stays, and says the same; the next checkpoint brings another attempt.
        break;
      }
      this.#toSeal.shift();
      this.#add(statistic.sealedSegments);
    }
    await this.#retain();
  }

  /** HEAD first: entries that are missing although HEAD wants them are a failure, entries too many are not. */
  async #retain(): Promise<void> {
    const { files, layout, options, head } = this.#parts;
    if (options.retainRecords === 0) return;
    const sealedSize = segmentsIn(files, layout, 'state').length === 0 ? 0 : this.#sealedSize();
    const wanted = Math.min(sealedSize, this.#checkpoint.size - options.retainRecords);
    const minimum = Math.floor(wanted / segmentLeaves) * segmentLeaves;
    if (minimum > this.#minimumIndex) {
      this.note('retention', { minimum_index: minimum });
      this.#minimumIndex = minimum;
      this.#count(statistic.minimumIndex, minimum);
      this.#writeHead(this.#appender.written);
      await head.sync();
    }
    for (const segment of segmentsIn(files, layout, 'ents.zst')) {
      if (segment < this.#minimumIndex / segmentLeaves) files.remove(layout.entries(segment));
    }
  }

  #sealedSize(): number {
    const { files, layout } = this.#parts;
    return ((segmentsIn(files, layout, 'state').at(-1) ?? -1) + 1) * segmentLeaves;
  }

  #writeHead(written: TreeHead): void {
    const { head, epoch, bootId } = this.#parts;
    head.write({
      epoch,
      written,
      bootId,
      durable: this.#durable,
      checkpoint: this.#checkpoint,
      clean: this.#clean,
      minimumIndex: this.#minimumIndex,
    });
  }

  #statistic(index: number): number {
    return this.#parts.statistics[index] ?? 0;
  }

  #count(index: number, value: number): void {
    this.#parts.statistics[index] = value;
  }

  #add(index: number): void {
    this.#count(index, this.#statistic(index) + 1);
  }
}
