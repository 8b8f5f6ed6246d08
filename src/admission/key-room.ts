import type { Clock } from '../core/clock.ts';
import { type Refused, refuse } from '../core/result.ts';
import { RecentMakers } from './recent-makers.ts';

export interface KeyRoomParts {
  /** Bytes free where keys are stored, and where the audit log is written. */
  readonly freeBytes: () => { readonly store: number; readonly log: number };
  /** Records that the audit log took since the start. */
  readonly recordsTaken: () => number;
  readonly clock: Clock;
}

/** Left to the store and the log for what is no new key: rotations of the log's own keys, destructions, tiles, a last checkpoint. */
const reservedBytes = 64 * 1024 * 1024;
/** An operator needs about that long to make room. */
const signingMs = 3_600_000;
/** A record of a signature took 379 bytes of the disk; longer names of tenant and purpose make it more. */
const bytesPerRecord = 512;
/** The rate is that of the last ten seconds, as the log's own. */
const rateMemoryMs = 10_000;
/** The tenant that made most is stopped while others have half as much again before them. */
const firstShare = 1.5;
/** Keys that were made are forgotten after a minute. */
const retryMs = 60_000;

const noRoom = refuse('StoreUnavailable', 'too little room on the disk for new keys', retryMs);
const madeMost = refuse(
  'StoreUnavailable',
  'little room on the disk, and this tenant made most new keys in the last minute',
  retryMs,
);

/**
 * Room for new keys and versions: they stop while the disk has less than 64 MiB and what signing needs for an hour, so that
 * nobody's new keys stop anybody's signatures. First they stop for the tenant that made most of them in the last minute.
 */
export class KeyRoom {
  readonly #parts: KeyRoomParts;
  readonly #makers = new RecentMakers();
  #measured: { readonly atMs: number; readonly records: number };
  /** Versions made since then, whose records are no signatures. */
  #made = 0;
  #recordsPerMs = 0;

  constructor(parts: KeyRoomParts) {
    this.#parts = parts;
    this.#measured = { atMs: parts.clock.monotonicMs(), records: parts.recordsTaken() };
  }

  /** To be called about once a second. */
  measure(): void {
    const atMs = this.#parts.clock.monotonicMs();
    const elapsedMs = atMs - this.#measured.atMs;
    if (elapsedMs <= 0) return;
    const records = this.#parts.recordsTaken();
    const signed = Math.max(0, records - this.#measured.records - this.#made);
    this.#recordsPerMs += (signed / elapsedMs - this.#recordsPerMs) * Math.min(1, elapsedMs / rateMemoryMs);
    this.#measured = { atMs, records };
    this.#made = 0;
  }

  /** The reason why no key of this tenant may be made now. */
  refusal(tenant: string): Refused | undefined {
    const { freeBytes, clock } = this.#parts;
    const { store, log } = freeBytes();
    const logNeeds = reservedBytes + this.#recordsPerMs * signingMs * bytesPerRecord;
    const share = Math.min(store / reservedBytes, log / logNeeds);
    if (share < 1) return noRoom;
    if (share < firstShare && this.#makers.most(clock.monotonicMs()) === tenant) return madeMost;
    return undefined;
  }

  made(tenant: string): void {
    this.#made++;
    this.#makers.add(tenant, this.#parts.clock.monotonicMs());
  }
}
