import type { Clock } from '../../core/clock.ts';
import { type Refused, refuse } from '../../core/result.ts';
import type { Change, Store } from '../../store/store.ts';
import { usedUp } from './limits.ts';

/** The facts to be written down before a call begins. */
export interface LedgerEntry {
  readonly tenant: string;
  /** Uses of capabilities that have a number of them. */
  readonly uses: readonly { readonly name: string; readonly most: number; readonly items: number }[];
  /** Digests in hex of the calls that second principals agreed to: each is done once. */
  readonly agreed: readonly string[];
  /** The ends of both, after which they are forgotten: UTC, milliseconds; Infinity where there is none. */
  readonly usesEndMs: number;
  readonly agreedEndMs: number;
}

/** The one durable account of what may happen once, or so many times. */
export interface Ledger {
  /** On disk when it resolves: all of it, or nothing and why not. */
  enter(entry: LedgerEntry): Promise<Refused | undefined>;
}

const usesPrefix = 'auth/uses/';
const agreedPrefix = 'auth/agreed/';

/** Others that enter the same at the same moment; each turn lets one of them through. */
const maxTurns = 64;
const crowded = refuse('Backpressure', 'many calls use this capability at once', 100);
const alreadyDone = refuse('Conflict', 'what was agreed to was done, or tried, once already');
const unreadable = refuse('Internal');

/** Longer than clocks may differ: an entry is kept until it has expired for everybody. */
const graceMs = 10 * 60_000;
const pageEntries = 1_000;

interface Stored {
  readonly count: number;
  /** Absent: never. */
  readonly expires_at_ms?: number;
}

/**
 * Entries live as long as the capabilities that they count, at about 150 bytes each. Discharges last an hour at the most and changes have
 * rates of their own, so that a tenant at ten changes a second has 5 MB of them.
 */
export class StoreLedger implements Ledger {
  readonly #store: Store;
  readonly #clock: Clock;

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  async enter(entry: LedgerEntry): Promise<Refused | undefined> {
    for (let turn = 0; turn < maxTurns; turn++) {
      const changes = await this.#changes(entry);
      if ('ok' in changes) return changes;
      const committed = await this.#store.commit(changes);
      if (!committed.ok) return committed;
      if (committed.value.committed) return undefined;
    }
    return crowded;
  }

  /** Removes expired entries. Goes through all of them, a page at a time. */
  async prune(): Promise<void> {
    for (const prefix of [usesPrefix, agreedPrefix]) await this.#prune(prefix);
  }

  async #changes({
    tenant,
    uses,
    agreed,
    usesEndMs,
    agreedEndMs,
  }: LedgerEntry): Promise<readonly Change[] | Refused> {
    const changes: Change[] = [];
    const value = (count: number, endMs: number) => {
      const stored: Stored = Number.isFinite(endMs) ? { count, expires_at_ms: endMs } : { count };
      return Buffer.from(JSON.stringify(stored));
    };
    for (const digest of agreed) {
      const key = `${agreedPrefix}${tenant}/${digest}`;
      const found = await this.#store.get(key);
      if (!found.ok) return found;
      if (found.value !== undefined) return alreadyDone;
      changes.push({ key, value: value(1, agreedEndMs), expectedRevision: 0 });
    }
    for (const { name, most, items } of uses) {
      const key = `${usesPrefix}${tenant}/${name}`;
      const found = await this.#store.get(key);
      if (!found.ok) return found;
      const before = found.value === undefined ? { count: 0 } : read(found.value.value);
      if (before === undefined) return unreadable;
      if (before.count + items > most) return usedUp;
      changes.push({
        key,
        value: value(before.count + items, usesEndMs),
        expectedRevision: found.value?.revision ?? 0,
      });
    }
    return changes;
  }

  async #prune(prefix: string): Promise<void> {
    let after: string | undefined;
    for (;;) {
      const page = await this.#store.list({
        prefix,
        limit: pageEntries,
        ...(after === undefined ? undefined : { after }),
      });
      if (!page.ok) return;
      const untilMs = this.#clock.utcMs() - graceMs;
      const expired = page.value.filter(({ value }) => (read(value)?.expires_at_ms ?? untilMs) < untilMs);
      if (expired.length > 0) {
        const changes = expired.map(({ key, revision }) => ({
          ...{ key, value: undefined },
          expectedRevision: revision,
        }));
        await this.#store.commit(changes);
      }
      after = page.value.at(-1)?.key;
      if (page.value.length < pageEntries || after === undefined) return;
    }
  }
}

function read(value: Uint8Array): Stored | undefined {
  try {
    const stored = JSON.parse(Buffer.from(value).toString()) as Stored;
    return Number.isSafeInteger(stored.count) && stored.count >= 0 ? stored : undefined;
  } catch {
    return undefined;
  }
}
