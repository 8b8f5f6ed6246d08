import { BoundedCache } from '../core/bounded-cache.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import type { Store } from './store.ts';

/** The authentic form of a record; the key of the record is covered too. */
export interface CountSeal {
  seal(storeKey: string, text: string): Uint8Array;
  /** The text, or undefined where it was not sealed under this key. */
  open(storeKey: string, value: Uint8Array): string | undefined;
}

export interface DurableCountsParts {
  readonly store: Store;
  readonly seal: CountSeal;
  /** For the operator's log: this record cannot be read, or is not authentic. Must not throw. */
  readonly onCorruptRecord: (storeKey: string) => void;
}

/** Something to be counted: a key's uses of a day, the encryptions of a version. */
export interface Counted {
  /** Of printable ASCII without blanks, at most 256 characters. */
  readonly name: string;
  /** The count begins anew with each period, a whole number that grows; 0 where it never does. */
  readonly period: number;
  /** Nothing is counted beyond. */
  readonly most: number;
  /** The most that is lost where the process is killed, if that has to be less than usual. */
  readonly maxBlock?: number;
}

/** `full`: with these it would be more than the most. A refusal is of the store: nothing was counted. */
export type Taken = 'taken' | 'full' | Refused;

const prefix = 'count/';
/** Names in use at a time, about 250 bytes each; one that goes has what it did not use given back. */
const maxNames = 65_536;
/** The most that is lost where the process is killed: of 2^31 encryptions 2 millionths. A write lasts for as many counts. */
const maxBlock = 4_096;
/** Of a small limit no more than this part is lost with the process. */
const blocksOfLimit = 32;
/** Records that are written together at the end; a store takes a few thousand commits at a time. */
const leavingAtOnce = 256;
/** Others that write the same record at the same moment; each turn lets one of them through. */
const maxTurns = 64;

const crowded = refuse('StoreUnavailable', undefined, 1_000);
const unreadable = refuse('Internal');

/** A record. `total`: the counts of all blocks of the period that were ever taken out, used or not. */
interface Stored {
  readonly revision: number;
  readonly period: number;
  readonly total: number;
}

/** What this process knows of a name. */
class Held {
  readonly name: string;
  /** Undefined: to be read. */
  revision: number | undefined;
  period = -1;
  total = 0;
  /** Counts of own blocks in this period that are not used yet: durable, whatever becomes of the store. */
  free = 0;
  /** Counts that wait for a block. */
  wanted = 0;
  reserving: Promise<Refused | undefined> | undefined;

  constructor(name: string) {
    this.name = name;
  }

  /** Undefined where it takes another block, or another period, to say so. */
  take({ period, most }: Counted, count: number): Taken | undefined {
    if (periodAt(this.period, period) !== this.period) return undefined;
    if (this.total - this.free + count > most) return 'full';
    if (this.free < count) return undefined;
    this.free -= count;
    return 'taken';
  }
}

/**
 * Counts that never fall, over restarts and kill -9. A block of counts is durable in the store before the first of it is used, so
 * that a process that is killed has counted too many, by less than a block, and never too few. Most counts cost no write.
 *
 * Several processes over one store take blocks of their own, and together never more than `most`. A store that refuses makes the
 * count refuse, once the block is used up.
 */
export class DurableCounts {
  readonly #parts: DurableCountsParts;
  readonly #held: BoundedCache<string, Held>;
  readonly #leaving = new Set<Promise<void>>();
  #left: Held[] | undefined;

  constructor(parts: DurableCountsParts) {
    this.#parts = parts;
    this.#held = new BoundedCache(maxNames, (held) => this.#leave(held));
  }

  /** Counts `count` more, all or none: at once where they are in the block, otherwise when a new one is durable. */
  take(counted: Counted, count = 1): Taken | Promise<Taken> {
    let held = this.#held.get(counted.name);
    if (held === undefined) {
      held = new Held(counted.name);
      this.#held.set(counted.name, held);
    }
    const taken = held.take(counted, count);
    if (taken === undefined) return this.#takeLater(held, counted, count);
    // The next block is on its way before this one is used up.
    const { free, total, reserving } = held;
    if (free < blockOf(counted) / 2 && total < counted.most && reserving === undefined)
      void this.#extend(held, counted);
    return taken;
  }

  /** Counts that were taken in this period for what was then not done. Those of a period that has ended are lost. */
  giveBack({ name, period }: Pick<Counted, 'name' | 'period'>, count = 1): void {
    const held = this.#held.get(name);
    if (held?.period === period) held.free += count;
  }

  /** The count as this process knows it, at least what was taken; undefined where it has not read it. */
  known(name: string): number | undefined {
    const held = this.#held.get(name);
    return held === undefined || held.period < 0 ? undefined : held.total - held.free;
  }

  /** Gives back what was not used. Nothing may be taken any more. Never rejects. */
  async close(): Promise<void> {
    const left: Held[] = [];
    this.#left = left;
    this.#held.clear();
    await Promise.all(this.#leaving);
    for (let n = 0; n < left.length; n += leavingAtOnce)
      await Promise.all(left.slice(n, n + leavingAtOnce).map((held) => this.#returnRest(held)));
  }

  async #takeLater(held: Held, counted: Counted, count: number): Promise<Taken> {
    for (let turn = 0; turn < maxTurns; turn++) {
      held.wanted += count;
      const refused = await this.#extend(held, counted);
      held.wanted -= count;
      if (refused !== undefined) return refused;
      const taken = held.take(counted, count);
      if (taken !== undefined) return taken;
    }
    return crowded;
  }

  /** One block at a time; whoever waits for it looks again. */
  #extend(held: Held, counted: Counted): Promise<Refused | undefined> {
    held.reserving ??= this.#reserve(held, counted).finally(() => {
      held.reserving = undefined;
    });
    return held.reserving;
  }

  async #reserve(held: Held, counted: Counted): Promise<Refused | undefined> {
    const { name, period: asked, most } = counted;
    // Those who ask in the same turn are counted with it.
    await undefined;
    for (let turn = 0; turn < maxTurns; turn++) {
      const read = held.revision === undefined ? await this.#read(name) : ok(held as Stored);
      if (!read.ok) return read;
      const { revision } = read.value;
      const period = periodAt(read.value.period, asked);
      const before = period > read.value.period ? 0 : read.value.total;
      const free = held.period === period ? held.free : 0;
      const wantedNow = Math.min(held.wanted, counted.maxBlock ?? Number.POSITIVE_INFINITY);
      const more = Math.max(0, Math.min(Math.max(blockOf(counted), wantedNow) - free, most - before));
      if (more === 0 && period === read.value.period) {
        Object.assign(held, { revision, period, total: before, free });
        return undefined;
      }
      const wanted = { revision, period, total: before + more };
      const committed = await this.#write(name, wanted);
      // Refused: perhaps written all the same, and then that block is lost. Undefined: somebody else wrote meanwhile.
      held.revision = undefined;
      if (!committed.ok) return committed;
      if (committed.value === undefined) continue;
      // What was taken or given back meanwhile is of the same period, or of one that has ended.
      const left = held.period === period ? held.free : 0;
      Object.assign(held, committed.value, { free: left + more });
      return undefined;
    }
    return crowded;
  }

  async #read(name: string): Promise<Result<Stored>> {
    const key = prefix + name;
    const found = await this.#parts.store.get(key);
    if (!found.ok) return found;
    if (found.value === undefined) return ok({ revision: 0, period: -1, total: 0 });
    const { value, revision } = found.value;
    const text = this.#parts.seal.open(key, value);
    const parsed = text === undefined ? undefined : parse(text);
    if (parsed !== undefined) return ok({ revision, ...parsed });
    this.#parts.onCorruptRecord(key);
    return unreadable;
  }

  /** Undefined: somebody else wrote meanwhile. */
  async #write(name: string, { revision, period, total }: Stored): Promise<Result<Stored | undefined>> {
    const key = prefix + name;
    const value = this.#parts.seal.seal(key, JSON.stringify({ v: 1, period, total }));
    const committed = await this.#parts.store.commit([{ key, value, expectedRevision: revision }]);
    if (!committed.ok) return committed;
    const written = committed.value;
    return ok(written.committed ? { revision: written.revision, period, total } : undefined);
  }

  #leave(held: Held): void {
    if (this.#left !== undefined) {
      this.#left.push(held);
      return;
    }
    const leaving = this.#returnRest(held).finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
  }

  async #returnRest(held: Held): Promise<void> {
    await held.reserving;
    const { name, free, period } = held;
    held.free = 0;
    if (free === 0) return;
    for (let turn = 0; turn < maxTurns; turn++) {
      const read = await this.#read(name);
      if (!read.ok || read.value.period !== period) return;
      const written = await this.#write(name, { ...read.value, total: read.value.total - free });
      if (!written.ok || written.value !== undefined) return;
    }
  }
}

/**
 * The period of a count that stands at `stored`, for who asks in `asked`. Clocks of several processes differ, so that the one
 * that is a period behind counts in the later one. More than that is a clock that was wrong: the count goes on in `asked`.
 */
function periodAt(stored: number, asked: number): number {
  return stored === asked + 1 ? stored : asked;
}

function blockOf({ most, maxBlock: own = maxBlock }: Counted): number {
  return Math.min(own, maxBlock, Math.max(1, Math.floor(most / blocksOfLimit)));
}

function parse(text: string): Pick<Stored, 'period' | 'total'> | undefined {
  try {
    const { v, period, total } = JSON.parse(text) as Record<string, unknown>;
    const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
    return v === 1 && isCount(period) && isCount(total) ? { period, total } : undefined;
  } catch {
    return undefined;
  }
}
