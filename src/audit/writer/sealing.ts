import type { Clock } from '../../core/clock.ts';
import type { MacKey } from '../../core/mac-key.ts';
import type { AuditEvent } from '../audit-log.ts';
import type { Files } from '../disk/files.ts';
import { type Layout, segmentLeaves, segmentsIn } from '../disk/layout.ts';
import { lastRecordUs } from '../disk/segments.ts';
import { sealSnapshot } from '../disk/snapshot.ts';
import type { LogOptions } from '../thread-messages.ts';
import type { DiskFailures } from './disk-failures.ts';
import type { FullSegment } from './log-state.ts';
import type { Seal } from './sealer.ts';

/** Without a checkpoint that brings another attempt: a log may stand still. */
const retryMs = 1_000;

export interface SealingParts {
  readonly files: Files;
  readonly layout: Layout;
  readonly origin: string;
  readonly seal: Seal;
  /** Authenticates snapshots. */
  readonly snapshotKey: MacKey;
  readonly options: Pick<LogOptions, 'retainRecords' | 'retainMs'>;
  readonly clock: Clock;
  readonly failures: DiskFailures;
  /** Records under the newest published checkpoint. */
  covered(): number;
  /** Nothing may begin now: the log is closed, or its write-ahead files are written anew. */
  halted(): boolean;
  sealed(): void;
  /** Appends a record of the log about itself; the records up to it. */
  note(type: string, data: NonNullable<AuditEvent['data']>): number;
  /** Makes it durable in HEAD that entries are kept from this index on. */
  keepFrom(minimumIndex: number): Promise<void>;
}

/** Full segments become sealed files, and old entries go. Only what a published checkpoint covers is sealed. */
export class Sealing {
  readonly #parts: SealingParts;
  readonly #toSeal: FullSegment[] = [];
  /** The first index whose entries are kept, as a record says. */
  #minimumIndex: number;
  /** Records up to the one that says so. */
  #recordedSize = 0;
  /** The same, durable in HEAD: before that nothing is removed. */
  #durableMinimumIndex: number;
  /** The oldest segment that was not let go, and the time of its last record. */
  #oldest: { readonly segment: number; readonly lastUs: number } | undefined;
  #underWay: Promise<void> | undefined;
  #retryTimer: NodeJS.Timeout | undefined;

  constructor(parts: SealingParts, minimumIndex: number) {
    this.#parts = parts;
    this.#minimumIndex = minimumIndex;
    this.#durableMinimumIndex = minimumIndex;
  }

  add(segments: readonly FullSegment[]): void {
    this.#toSeal.push(...segments);
  }

  /** Seals what may be sealed. Never rejects: what fails is tried again after a second, or after the next checkpoint. */
  run(): void {
    this.#underWay ??= this.#seal()
      .then(() => this.#retain())
      .then(
        () => this.#parts.failures.ended('retain'),
        (error: unknown) => this.#failed('retain', error),
      )
      .finally(() => {
        this.#underWay = undefined;
      });
  }

  #failed(what: 'seal' | 'retain', error: unknown): void {
    this.#parts.failures.began(what, error);
    this.#retryTimer ??= setTimeout(() => {
      this.#retryTimer = undefined;
      if (!this.#parts.halted()) this.run();
    }, retryMs).unref();
  }

  /** Resolves when nothing is under way. */
  async quiet(): Promise<void> {
    await this.#underWay;
  }

  async #seal(): Promise<void> {
    const { layout, seal, snapshotKey, origin, failures } = this.#parts;
    for (;;) {
      const next = this.#toSeal[0];
      if (this.#parts.halted() || next === undefined || next.snapshot.size > this.#parts.covered()) return;
      try {
        const snapshot = sealSnapshot(origin, next.snapshot, snapshotKey);
        await seal(layout, next, snapshot, this.#toSeal.length - 1);
        failures.ended('seal');
      } catch (error) {
        // The write-ahead file stays, and says the same.
        this.#failed('seal', error);
        return;
      }
      this.#toSeal.shift();
      this.#parts.sealed();
    }
  }

  /** HEAD first: entries that are missing although HEAD wants them are a failure, entries too many are not. */
  async #retain(): Promise<void> {
    const { files, layout, options } = this.#parts;
    if (options.retainRecords === 0 && options.retainMs === 0) return;
    const minimum = Math.max(this.#beyondCount(), this.#beyondAge());
    if (minimum > this.#minimumIndex) {
      this.#recordedSize = this.#parts.note('retention', { minimum_index: minimum });
      this.#minimumIndex = minimum;
    }
    // A verifier finds entries missing only where the checkpoint that it sees covers the record of that.
    if (this.#parts.covered() < this.#recordedSize) return;
    if (this.#minimumIndex > this.#durableMinimumIndex) {
      await this.#parts.keepFrom(this.#minimumIndex);
      this.#durableMinimumIndex = this.#minimumIndex;
    }
    // Those of a certain age are moved elsewhere by the operator.
    if (options.retainRecords === 0) return;
    for (const segment of segmentsIn(files, layout, 'ents.zst')) {
      if (segment < this.#durableMinimumIndex / segmentLeaves) files.remove(layout.entries(segment));
    }
  }

  /** The first index that is kept, by the number of records behind it. */
  #beyondCount(): number {
    const { retainRecords } = this.#parts.options;
    if (retainRecords === 0) return 0;
    const wanted = Math.min(this.#sealedSize(), this.#parts.covered() - retainRecords);
    return Math.floor(wanted / segmentLeaves) * segmentLeaves;
  }

  /** The first index that is kept, by the age of the last record in each segment. Reads one bundle for each, once. */
  #beyondAge(): number {
    const { files, layout, clock, options } = this.#parts;
    if (options.retainMs === 0) return 0;
    const beforeUs = (clock.utcMs() - options.retainMs) * 1000;
    for (let segment = this.#minimumIndex / segmentLeaves; ; segment++) {
      if ((segment + 1) * segmentLeaves > this.#sealedSize()) return segment * segmentLeaves;
      if (this.#oldest?.segment !== segment) {
        const lastUs = lastRecordUs(files, layout, segment);
        // Damaged ones are for the scrub, and stay.
        if (lastUs === undefined) return segment * segmentLeaves;
        this.#oldest = { segment, lastUs };
      }
      if (this.#oldest.lastUs >= beforeUs) return segment * segmentLeaves;
    }
  }

  #sealedSize(): number {
    const { files, layout } = this.#parts;
    return ((segmentsIn(files, layout, 'state').at(-1) ?? -1) + 1) * segmentLeaves;
  }
}
