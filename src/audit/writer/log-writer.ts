import type { AuditEvent } from '../audit-log.ts';
import { DiskSpace } from '../disk/disk-space.ts';
import { isDiskFull, replaceFile } from '../disk/files.ts';
import type { TreeHead } from '../disk/head.ts';
import { WalWriter } from '../disk/wal.ts';
import { eventEnd } from '../format/record.ts';
import { monotonicMs, statistic } from '../thread-messages.ts';
import { Appender } from './appender.ts';
import { ChangesUnderWay } from './changes-under-way.ts';
import { DiskFailures, errnoOf } from './disk-failures.ts';
import type { LogState } from './log-state.ts';
import type { LogWriterParts, LogWriterStart, Trouble } from './log-writer-parts.ts';
import { Sealing } from './sealing.ts';

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
/** Records of the store's keys as found are written so many at a time. */
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
  /** Published. */
  #checkpoint: TreeHead;
  /** Signed and anchored: what HEAD counts, which never goes back. */
  #signed: TreeHead;
  #minimumIndex: number;
  #restored: boolean;
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
  /** The arrival of the first durable record that no checkpoint covers. */
  #uncoveredSinceMs = 0;
  #checkpointForced = false;

  readonly #failures: DiskFailures;
  readonly #sealing: Sealing;
  #clockBehind = false;

  constructor(parts: LogWriterParts, start: LogWriterStart) {
    const { files, layout, options } = parts;
    this.#parts = parts;
    this.#state = start.state;
    this.#wal = new WalWriter(files, layout, start.walFirst, start.walOffset);
    this.#durable = { size: start.state.size, root: start.state.root() };
    this.#checkpoint = start.checkpoint;
    this.#signed = start.checkpoint;
    this.#minimumIndex = start.minimumIndex;
    this.#restored = start.restored;
    this.#appender = new Appender({
      ...parts,
      state: start.state,
      wal: this.#wal,
      changes: this.#changes,
      countWritten: (tree) => this.#writeHead(tree),
    });
    this.#failures = new DiskFailures((what, cause) => parts.listener.failed(what, cause));
    this.#sealing = new Sealing(
      {
        ...{ files, layout, origin: parts.origin, seal: parts.seal, failures: this.#failures },
        ...{ snapshotKey: parts.secrets.snapshot, options, clock: parts.clock },
        covered: () => this.#checkpoint.size,
        halted: () => this.#closed || this.#trouble === 'sync_failed',
        sealed: () => this.#add(statistic.sealedSegments),
        note: (type, data) => {
          this.note(type, data);
          return this.#appender.size;
        },
        keepFrom: (minimumIndex) => this.#keepFrom(minimumIndex),
      },
      start.minimumIndex,
    );
    this.#sealing.add(this.#appender.takeFullSegments());
    this.#space = new DiskSpace(files, layout.directory, options);
    this.#takeBallast();
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

  /** Counted by HEAD. */
  get written(): TreeHead {
    return this.#appender.written;
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
    if (this.#trouble !== 'sync_failed') {
      this.note('shutdown', {});
      await this.settle();
    }
    this.#closed = true;
    clearInterval(this.#spaceTimer);
    for (const timer of [this.#syncTimer, this.#checkpointTimer, this.#retryTimer]) clearTimeout(timer);
    await Promise.all([this.#syncing, this.#checkpointing, this.#sealing.quiet()]);
    const { written } = this.#appender;
    if (this.#trouble === undefined && written.size === this.#durable.size) {
      this.#clean = true;
      try {
        this.#writeHead(written);
        await this.#parts.head.sync();
      } catch (error) {
        // Without the flag the next start looks more closely, and finds the same.
        this.#failures.began('write', error);
      }
    }
    this.#wal.close();
    this.#parts.head.close();
  }

  /** Resolves when nothing of it is under way on the disk; nothing begins while fdatasync is what failed. */
  async quiet(): Promise<void> {
    await Promise.all([this.#syncing, this.#checkpointing, this.#sealing.quiet()]);
  }

  /** The log up to `tree` is on the disk now, in files that were written anew; goes on there. False: that is another log. */
  resume(tree: TreeHead, walFirst: number, walOffset: number): boolean {
    if (this.#closed || this.#trouble !== 'sync_failed') return true;
    const { size } = this.#appender.written;
    if (tree.size !== size && !this.#appender.adopt(tree)) return false;
    this.#wal.reopen(walFirst, walOffset);
    this.#durable = this.#appender.written;
    if (this.#durable.size > size) this.#wrote(this.#durable.size);
    this.#count(statistic.durableSize, this.#durable.size);
    this.#count(statistic.oldestUndurableAtMs, 0);
    if (this.#urgentSize > 0) this.#parts.listener.durable(this.#durable.size);
    this.#urgentSize = 0;
    if (this.#uncoveredSinceMs === 0) this.#uncoveredSinceMs = monotonicMs();
    this.#setTrouble(undefined);
    this.#failures.ended('sync');
    this.note('sync_failed', {});
    this.#checkpointSoon();
    this.#sealing.run();
    return true;
  }

  /** Stops in the middle: integrity was found broken, and nothing may be written any more. */
  async abandon(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#spaceTimer);
    for (const timer of [this.#syncTimer, this.#checkpointTimer, this.#retryTimer]) clearTimeout(timer);
    await Promise.all([this.#syncing, this.#checkpointing, this.#sealing.quiet()]);
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
      // Events that came meanwhile are received first.
      setImmediate(() => this.#flushGathered());
    });
  }

  #flushGathered(): void {
    this.#flushing = false;
    this.#flush();
    this.#flushedAtMs = monotonicMs();
  }

  #flush(): void {
    if (this.#closed || this.#trouble === 'sync_failed') return;
    const before = this.#appender.written.size;
    try {
      this.#appender.flush();
      this.#failures.ended('write');
    } catch (error) {
      this.#writeFailed(error);
    }
    const { size } = this.#appender.written;
    if (size > before) this.#wrote(size);
  }

  /** Those who wait for the written records hear of them, whatever became of later ones. */
  #wrote(size: number): void {
    this.#count(statistic.size, size);
    this.#add(statistic.flushes);
    if (this.#statistic(statistic.oldestUndurableAtMs) === 0) {
      this.#count(statistic.oldestUndurableAtMs, monotonicMs());
    }
    this.#parts.listener.written(this.#appender.takeReceipts());
    this.#checkpointForced ||= this.#appender.takeTyped();
    this.#sealing.add(this.#appender.takeFullSegments());
    if (this.#urgent) this.#urgentSize = size;
    this.#urgent = false;
    this.#syncSoon();
  }

  /** Appended records stay in memory, where the slots bound them, and go to the disk when there is room. */
  #writeFailed(error: unknown): void {
    this.#failures.began('write', error);
    const trouble = isDiskFull(error) ? 'disk_full' : 'write_failed';
    if (trouble === 'disk_full' && this.#trouble !== 'disk_full') this.#dropBallast();
    this.#setTrouble(trouble, errnoOf(error));
    this.#retryTimer ??= setTimeout(() => {
      this.#retryTimer = undefined;
      this.#flush();
    }, retryMs).unref();
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
    if (this.#closed || this.#trouble === 'sync_failed') return;
    if (this.#syncing !== undefined || this.#durable.size === this.#appender.written.size) return;
    this.#syncing = this.#sync().finally(() => {
      this.#syncing = undefined;
      if (this.#durable.size < this.#appender.written.size && this.#trouble !== 'sync_failed')
        this.#syncSoon();
    });
  }

  async #sync(): Promise<void> {
    const target = this.#appender.written;
    const startedMs = monotonicMs();
    this.#syncStartedMs = startedMs;
    try {
      await this.#wal.sync();
    } catch (error) {
      // Linux reports a failed write-back once and then forgets the pages: trying again would call lost bytes durable.
      this.#failures.began('sync', error);
      this.#setTrouble('sync_failed', errnoOf(error));
      return;
    }
    this.#durable = target;
    try {
      this.#writeHead(this.#appender.written);
    } catch (error) {
      // An older HEAD only demands less; the next one says so too.
      this.#writeFailed(error);
    }
    this.#add(statistic.fdatasyncs);
    this.#count(statistic.lastFdatasyncMs, monotonicMs() - startedMs);
    this.#count(statistic.durableSize, target.size);
    // Records that were written meanwhile were written after the start.
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
    if (this.#closed || this.#checkpointing !== undefined || this.#trouble === 'sync_failed') return;
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
    // A checkpoint that is held back is due as soon as it may.
    this.#checkpointForced = forced && target.size < this.#durable.size;
    this.#checkpointAtMs = monotonicMs();
    try {
      const note = await this.#parts.sign(target);
      if (note === undefined) throw new Error('not signed');
      this.#signed = target;
      this.#restored = false;
      this.#writeHead(this.#appender.written);
      await head.sync();
      await replaceFile(files, layout.checkpoint, note);
      this.#checkpoint = target;
      this.#failures.ended('checkpoint');
      this.#add(statistic.checkpoints);
      this.#count(statistic.checkpointSize, target.size);
      this.#count(statistic.checkpointAtMs, monotonicMs());
      this.#uncoveredSinceMs = this.#durable.size > target.size ? this.#checkpointAtMs : 0;
      listener.published(target, note);
      this.#sealing.run();
    } catch (error) {
      this.#failures.began('checkpoint', error);
      // The next one covers this one's records too.
      this.#checkpointForced ||= forced;
      this.#checkpointAtMs = monotonicMs() + retryMs;
      this.#add(statistic.checkpointFailures);
    }
  }

  /** Once a second: room on the disk, age of what no checkpoint covers, the clock. */
  #watch(): void {
    this.#watchClock();
    if (this.#trouble === 'sync_failed') return;
    const { options } = this.#parts;
    const sinceMs = this.#uncoveredSinceMs;
    const late =
      sinceMs > 0 && monotonicMs() - sinceMs > options.checkpointIntervalMs + options.checkpointLateMs;
    const low = this.#isLow();
    const stuck = this.#retryTimer !== undefined;
    if (this.#trouble === 'disk_full' && (low || stuck || !this.#takeBallast())) return;
    if (this.#trouble === 'write_failed' && stuck) return;
    if (low && this.#trouble === undefined) this.note('disk_low', {});
    if (this.#trouble === 'disk_full' || this.#trouble === 'write_failed') this.note(this.#trouble, {});
    // The note may have failed in its turn.
    if (this.#retryTimer !== undefined) return;
    this.#setTrouble(low ? 'disk_low' : late ? 'checkpoint_late' : undefined);
  }

  #watchClock(): void {
    const behindUs = this.#appender.clockBehindUs;
    this.#count(statistic.clockBehindUs, behindUs);
    if (behindUs > 0 === this.#clockBehind) return;
    this.#clockBehind = behindUs > 0;
    this.#parts.listener.clock(behindUs);
  }

  #takeBallast(): boolean {
    try {
      return this.#space.takeBallast();
    } catch (error) {
      this.#failures.began('space', error);
      return false;
    }
  }

  #dropBallast(): void {
    try {
      this.#space.dropBallast();
    } catch (error) {
      this.#failures.began('space', error);
    }
  }

  #isLow(): boolean {
    try {
      const low = this.#space.isLow(this.#wal.bytesWritten);
      this.#failures.ended('space');
      return low;
    } catch (error) {
      this.#failures.began('space', error);
      // A disk that cannot say how much room it has will hardly take a record.
      return true;
    }
  }

  #setTrouble(trouble: Trouble | undefined, cause?: string): void {
    if (this.#trouble === trouble) return;
    this.#trouble = trouble;
    this.#parts.listener.trouble(trouble, cause);
  }

  async #keepFrom(minimumIndex: number): Promise<void> {
    this.#minimumIndex = minimumIndex;
    this.#writeHead(this.#appender.written);
    await this.#parts.head.sync();
    this.#count(statistic.minimumIndex, minimumIndex);
  }

  #writeHead(written: TreeHead): void {
    const { head, epoch, bootId } = this.#parts;
    head.write({
      epoch,
      written,
      bootId,
      durable: this.#durable,
      checkpoint: this.#signed,
      ...{ clean: this.#clean, restored: this.#restored, minimumIndex: this.#minimumIndex },
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
