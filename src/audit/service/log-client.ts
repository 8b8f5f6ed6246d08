import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import type {
  Acceptance,
  AuditEvent,
  AuditLog,
  AuditReceipt,
  AuditState,
  AuditStats,
  Durability,
  PublishedCheckpoint,
} from '../audit-log.ts';
import { openSecrets } from '../disk/secrets.ts';
import { InputHasher } from '../format/input-hash.ts';
import { eventEnd, packEvent } from '../format/record.ts';
import {
  calmMark,
  type FromService,
  monotonicMs,
  type Port,
  type ServiceData,
  statistic,
  type ToService,
  urgentMark,
} from '../thread-messages.ts';
import { answerTo } from './answer-log-thread.ts';
import type { AuditLogParts } from './parts.ts';

/** At admission; full means 429, and no key is used. 2,048 records are 20 ms of 100,000 a second. */
export const maxSlots = 2_048;
/** An answer that waited this long for its record does not leave; the record stays. */
const maxWaitMs = 2_000;
const sweepMs = 100;
const witnessRetryMs = 1_000;

interface Waiting {
  readonly level: Durability;
  readonly sinceMs: number;
  receipt: AuditReceipt | undefined;
  /** Undefined: answered already, because the log failed or took too long. */
  resolve: ((outcome: Result<AuditReceipt>) => void) | undefined;
}

const unavailable: Refused = refuse('AuditUnavailable', undefined, 1_000);

/** The main thread's side of the log. */
export class AuditLogClient implements AuditLog {
  readonly #port: Port<FromService, ToService>;
  readonly #parts: AuditLogParts;
  readonly #data: ServiceData;
  readonly #statistics: Float64Array;
  readonly #hasher: InputHasher;
  readonly #sweep: NodeJS.Timeout;
  #state: AuditState = 'recovering';
  #reason: string | undefined;
  /** Records that have their slot are written and answered: in `ready`, and in some troubles that are not yet serious. */
  #takesRecords = false;
  #directory: string;
  #stateWaiters: (() => void)[] = [];
  #closed: Promise<void> | undefined;
  #whenClosed: (() => void) | undefined;

  /** Reserved and not handed over yet, and handed over and not answered. */
  #slots = 0;
  #batch = '';
  #batchUrgent = false;
  /** Sent, not written yet: answered in the order in which they were sent. */
  #unwritten: Waiting[] = [];
  #unwrittenFrom = 0;
  /** Written, in the order of their indexes. */
  #unsynced: Waiting[] = [];
  #unwitnessed: Waiting[] = [];
  #durableSize = 0;
  #witnessedSize = 0;
  #appended = 0;
  #refused = 0;
  #checkpoint: PublishedCheckpoint | undefined;
  #witnessing = false;

  constructor(data: ServiceData, port: Port<FromService, ToService>, parts: AuditLogParts) {
    this.#data = data;
    this.#port = port;
    this.#parts = parts;
    this.#directory = data.directory;
    this.#statistics = new Float64Array(data.statistics);
    this.#hasher = new InputHasher(openSecrets(parts, data.secret).inputRoot, data.inputHash);
    port.on('message', (message) => this.#receive(message));
    this.#sweep = setInterval(() => this.#refuseOverdue(), sweepMs);
    this.#sweep.unref();
  }

  get state(): AuditState {
    return this.#state === 'ready' && this.#lags() ? 'unavailable' : this.#state;
  }

  get reason(): string | undefined {
    return this.#state === 'ready' && this.#lags() ? 'the disk of the audit log is too slow' : this.#reason;
  }

  get directory(): string {
    return this.#directory;
  }

  reserve(count: number): boolean {
    if (this.#slots + count > maxSlots || this.state !== 'ready') return false;
    this.#slots += count;
    return true;
  }

  release(count: number): void {
    this.#slots -= count;
  }

  append(event: AuditEvent, level: Durability): Promise<Result<AuditReceipt>> {
    const packed = this.#closed === undefined ? packEvent(event) : undefined;
    if (!this.#takesRecords || packed === undefined) {
      this.#slots--;
      this.#refused++;
      // The key was used: what is true is recorded as soon as the disk takes it, though nobody waits any more.
      if (this.#state === 'unavailable' && packed !== undefined) this.#post(packed, level, undefined);
      return Promise.resolve(unavailable);
    }
    return new Promise((resolve) => this.#post(packed, level, resolve));
  }

  #post(packed: string, level: Durability, resolve: Waiting['resolve']): void {
    this.#unwritten.push({ level, sinceMs: monotonicMs(), receipt: undefined, resolve });
    this.#batchUrgent ||= level === 'synced' || level === 'witnessed';
    if (this.#batch !== '') {
      this.#batch += eventEnd + packed;
      return;
    }
    this.#batch = packed;
    // One message for all that was signed together: this runs when all promises of that job's answer have had their say.
    // With setImmediate it was one turn of the event loop later, which at 14,000 a second and with one worker cost 3 us for
    // each record, and p95 0.6 ms.
    process.nextTick(() => this.#send());
  }

  commitmentSalt(tenant: string, opId: string): Uint8Array | undefined {
    return this.#hasher.modeOf(tenant) === 'commit' ? this.#hasher.salt(tenant, opId) : undefined;
  }

  durableLagMs(): number {
    const nowMs = monotonicMs();
    const undurableSinceMs = this.#statistic('oldestUndurableAtMs') || nowMs;
    const unwrittenSinceMs = this.#unwritten[this.#unwrittenFrom]?.sinceMs ?? nowMs;
    return nowMs - Math.min(undurableSinceMs, unwrittenSinceMs);
  }

  stats(): AuditStats {
    const checkpointAtMs = this.#statistic('checkpointAtMs');
    return {
      origin: this.#checkpoint?.origin ?? this.#data.origin,
      epoch: this.#statistic('epoch'),
      size: this.#statistic('size'),
      durableSize: this.#statistic('durableSize'),
      checkpointSize: this.#statistic('checkpointSize'),
      witnessedSize: this.#witnessedSize,
      reservedSlots: this.#slots,
      waiting:
        this.#unwritten.length - this.#unwrittenFrom + this.#unsynced.length + this.#unwitnessed.length,
      durableLagMs: this.durableLagMs(),
      checkpointAgeMs: checkpointAtMs === 0 ? undefined : monotonicMs() - checkpointAtMs,
      appended: this.#appended,
      refused: this.#refused,
      flushes: this.#statistic('flushes'),
      fdatasyncs: this.#statistic('fdatasyncs'),
      lastFdatasyncMs: this.#statistic('lastFdatasyncMs'),
      checkpoints: this.#statistic('checkpoints'),
      checkpointFailures: this.#statistic('checkpointFailures'),
      integrityFailures: this.#statistic('integrityFailures'),
      clockBehindMs: this.#statistic('clockBehindUs') / 1000,
    };
  }

  checkpoint(): PublishedCheckpoint | undefined {
    return this.#checkpoint;
  }

  /** Resolves when the state is not `recovering` any more. */
  async recovered(): Promise<AuditState> {
    while (this.#state === 'recovering') await this.#nextState();
    return this.#state;
  }

  async accept({ reason, approvers, sideLog = {} }: Acceptance): Promise<Result<void>> {
    if (this.#state !== 'integrity_failed')
      return refuse('Conflict', 'there is no integrity failure to accept');
    if (new Set(approvers).size < 2) return refuse('PolicyViolation', 'two approvers are needed');
    if (reason.length === 0 || reason.length > 500)
      return refuse('BadRequest', 'a reason of 1 to 500 characters');
    if (approvers.length > 10 || approvers.some((name) => !/^[\x21-\x7e]{1,200}$/.test(name))) {
      return refuse('BadRequest', 'up to ten approvers, whose names have no spaces');
    }
    const changed = this.#nextState();
    this.#port.postMessage({ kind: 'accept', acceptance: { reason, approvers: [...approvers], sideLog } });
    await changed;
    return (await this.recovered()) === 'ready' ? ok(undefined) : unavailable;
  }

  changeCommitted(keyId: string): void {
    this.#port.postMessage({ kind: 'committed', keyId });
  }

  /**
   * A witness has cosigned more of this log than there is, or something else: it was rolled back, and goes on only when
   * that is accepted. `detail`: which witness, and the sizes.
   */
  contradicted(detail: string): void {
    this.#port.postMessage({ kind: 'contradicted', detail });
  }

  close(): Promise<void> {
    this.#closed ??= new Promise<void>((resolve) => {
      this.#whenClosed = resolve;
      this.#send();
      this.#port.postMessage({ kind: 'close' });
    }).then(() => {
      clearInterval(this.#sweep);
      this.#refuseAll();
    });
    return this.#closed;
  }

  #lags(): boolean {
    return this.durableLagMs() > this.#data.options.maxDurableLagMs;
  }

  #send(): void {
    if (this.#batch === '') return;
    this.#port.postMessage((this.#batchUrgent ? urgentMark : calmMark) + this.#batch);
    this.#batch = '';
    this.#batchUrgent = false;
  }

  #receive(message: FromService): void {
    if (!('kind' in message)) {
      this.#written(message);
      return;
    }
    switch (message.kind) {
      case 'durable':
        this.#durableSize = message.size;
        this.#unsynced = settleUpTo(this.#unsynced, message.size, (waiting) => this.#settle(waiting));
        return;
      case 'published':
        this.#published({ ...message, note: Buffer.from(message.note).toString() });
        return;
      case 'state':
        this.#enter(message);
        return;
      case 'failed':
        this.#parts.report(
          'audit_disk',
          message.cause === undefined
            ? `${message.what}: works again`
            : `${message.what}: fails and is tried again (${message.cause})`,
        );
        return;
      case 'clock':
        this.#parts.report(
          'audit_clock',
          message.behindUs === 0
            ? 'the clock is no longer behind the last record'
            : `the clock is ${Math.round(message.behindUs / 1e6)} s behind the last record, whose time new records take`,
        );
        return;
      case 'ask':
        void answerTo(this.#parts, message.question).then((answer) => {
          this.#port.postMessage({ kind: 'answer', id: message.id, answer });
        });
        return;
      case 'closed':
        this.#whenClosed?.();
    }
  }

  #written(receipts: readonly number[]): void {
    for (let at = 0; at < receipts.length; at += 2) {
      const waiting = this.#unwritten[this.#unwrittenFrom++] as Waiting;
      waiting.receipt = { index: receipts[at] as number, seq: receipts[at + 1] as number };
      this.#appended++;
      const { level } = waiting;
      if (level === 'written' || level === 'memory') this.#settle(waiting);
      else if (level === 'witnessed') this.#unwitnessed.push(waiting);
      else if (waiting.receipt.index < this.#durableSize) this.#settle(waiting);
      else this.#unsynced.push(waiting);
    }
    // Taking from the front of an array moves the rest; it is done when half of it is gone.
    if (this.#unwrittenFrom * 2 >= this.#unwritten.length) {
      this.#unwritten = this.#unwritten.slice(this.#unwrittenFrom);
      this.#unwrittenFrom = 0;
    }
  }

  #settle(waiting: Waiting): void {
    if (waiting.resolve === undefined) return;
    this.#slots--;
    waiting.resolve(ok(waiting.receipt as AuditReceipt));
    waiting.resolve = undefined;
  }

  #refuse(waiting: Waiting): void {
    if (waiting.resolve === undefined) return;
    this.#slots--;
    this.#refused++;
    waiting.resolve(unavailable);
    waiting.resolve = undefined;
  }

  /** The records may well be written later; their answers do not leave. */
  #refuseAll(): void {
    for (const list of [this.#unwritten, this.#unsynced, this.#unwitnessed]) {
      for (const waiting of list) this.#refuse(waiting);
    }
    this.#unsynced = [];
    this.#unwitnessed = [];
  }

  #refuseOverdue(): void {
    const before = monotonicMs() - maxWaitMs;
    for (const list of [this.#unwritten, this.#unsynced, this.#unwitnessed]) {
      for (const waiting of list) {
        if (waiting.sinceMs > before) break;
        this.#refuse(waiting);
      }
    }
  }

  #enter({ state, reason, directory, takesRecords }: Extract<FromService, { kind: 'state' }>): void {
    const changed = state !== this.#state || reason !== this.#reason;
    this.#state = state;
    this.#reason = reason;
    this.#directory = directory;
    this.#takesRecords = takesRecords;
    if (!takesRecords) this.#refuseAll();
    // Nothing that was sent before will be written any more.
    if (state === 'integrity_failed') {
      this.#unwritten = [];
      this.#unwrittenFrom = 0;
      // The next epoch begins with an empty log: what was durable and witnessed says nothing of it.
      this.#durableSize = 0;
      this.#witnessedSize = 0;
    }
    if (changed) this.#parts.report('audit_state', reason === undefined ? state : `${state}: ${reason}`);
    for (const wake of this.#stateWaiters.splice(0)) wake();
  }

  #nextState(): Promise<void> {
    return new Promise((resolve) => this.#stateWaiters.push(resolve));
  }

  #published({ origin, size, root, note }: PublishedCheckpoint): void {
    this.#checkpoint = { origin, size, root, note };
    if (!this.#witnessing) void this.#witnessNewest();
  }

  /** One checkpoint at a time, always the newest. */
  async #witnessNewest(): Promise<void> {
    const { witness, report } = this.#parts;
    if (witness === undefined) return;
    this.#witnessing = true;
    for (
      let newest = this.#checkpoint;
      newest !== undefined && newest.size > this.#witnessedSize && this.#closed === undefined;
      newest = this.#checkpoint
    ) {
      const cosigned = await witness(newest);
      if (!cosigned.ok) {
        report('audit_witness_failed', cosigned.failure.hint ?? cosigned.failure.code);
        await new Promise((resolve) => setTimeout(resolve, witnessRetryMs).unref());
        continue;
      }
      this.#witnessedSize = newest.size;
      const { size } = newest;
      if (this.#checkpoint?.size === size) {
        this.#checkpoint = { ...newest, note: Buffer.from(cosigned.value).toString() };
      }
      this.#unwitnessed = settleUpTo(this.#unwitnessed, size, (waiting) => this.#settle(waiting));
    }
    this.#witnessing = false;
  }

  #statistic(name: keyof typeof statistic): number {
    return this.#statistics[statistic[name]] ?? 0;
  }
}

/** Settles those whose record is among the first `size`; gives the others. */
function settleUpTo(list: Waiting[], size: number, settle: (waiting: Waiting) => void): Waiting[] {
  let count = 0;
  for (const waiting of list) {
    if ((waiting.receipt as AuditReceipt).index >= size) break;
    settle(waiting);
    count++;
  }
  return list.slice(count);
}
