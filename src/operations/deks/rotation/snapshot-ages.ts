import type { Clock } from '../../../core/clock.ts';
import type { RotationSnapshots } from './snapshots.ts';

/** Looks are an hour apart, and NTP corrects a clock by seconds. A jump beyond this is a mistake. */
const jumpMs = 3_600_000;
/** Time for an operator to put the clock back, before snapshots of years would go at once. */
const graceMs = 86_400_000;

export type SnapshotFate = 'stays' | 'goes' | 'is_of_the_future';

/** Judges the age of snapshots by a clock that may be wrong. */
export class SnapshotAges {
  readonly #clock: Clock;
  readonly #keepMs: number;
  #looked: { readonly utcMs: number; readonly monotonicMs: number };
  /** Monotonic time until which no snapshot is too old. */
  #graceEndMs = Number.NEGATIVE_INFINITY;

  /** `keepMs` 0: none is kept. */
  constructor(clock: Clock, keepMs: number) {
    this.#clock = clock;
    this.#keepMs = keepMs;
    this.#looked = { utcMs: clock.utcMs(), monotonicMs: clock.monotonicMs() };
  }

  /** Reads the clocks before a pass over the snapshots. True: the clock jumped ahead, and none goes for a day. */
  look(): boolean {
    const now = { utcMs: this.#clock.utcMs(), monotonicMs: this.#clock.monotonicMs() };
    const aheadMs = now.utcMs - this.#looked.utcMs - (now.monotonicMs - this.#looked.monotonicMs);
    this.#looked = now;
    if (aheadMs < -jumpMs) this.#graceEndMs = Number.NEGATIVE_INFINITY;
    const jumped = aheadMs > jumpMs && this.#keepMs > 0;
    if (jumped) this.#graceEndMs = now.monotonicMs + graceMs;
    return jumped;
  }

  fateOf({ writtenAtMs }: Pick<RotationSnapshots, 'writtenAtMs'>): SnapshotFate {
    if (this.#keepMs === 0) return 'goes';
    const { utcMs, monotonicMs } = this.#looked;
    if (writtenAtMs > utcMs + jumpMs) return 'is_of_the_future';
    return writtenAtMs + this.#keepMs < utcMs && monotonicMs >= this.#graceEndMs ? 'goes' : 'stays';
  }
}
