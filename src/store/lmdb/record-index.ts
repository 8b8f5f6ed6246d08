import { setImmediate } from 'node:timers/promises';
import type { MacKey } from '../../core/mac-key.ts';
import type { Difference } from '../integrity.ts';
import { MultisetHash } from '../multiset-hash.ts';
import { type Element, elementOf } from '../sealed-head.ts';
import type { Bytes, Environment } from './environment.ts';

/**
 * The index of the records: what was written last under each store key. The head says whether the records are right; the index
 * says which one is not. Who changes both is found too, and only not named by it.
 */
const entryBytes = 16;

/** Records that are read in one go on the main thread: about 2 ms. */
const recordsPerTurn = 200;
/** As many as an operator would look at one by one. */
const maxDifferences = 1_000;

export function indexEntryOf({ digest }: Element): Buffer {
  return digest.subarray(0, entryBytes);
}

/** The store as it lies there. */
export interface RecordsRead {
  readonly records: MultisetHash;
  /** From the index; the first of them. */
  readonly differences: readonly Difference[];
  readonly differing: number;
}

/** Every record and every entry of the index, side by side, in the order of the keys. */
export async function readRecords(environment: Environment, key: MacKey): Promise<RecordsRead> {
  const transaction = environment.reading();
  try {
    const records = new MultisetHash(key);
    const differences: Difference[] = [];
    let differing = 0;
    const differs = (at: Buffer, what: Difference['what']) => {
      differing++;
      if (differences.length < maxDifferences) differences.push({ key: at.toString('latin1'), what });
    };
    const index = new Cursor(environment.digests, transaction);
    let untilPause = recordsPerTurn;
    for (const { key: storeKey, value } of environment.records.getRange({ transaction })) {
      const at = Buffer.from(storeKey);
      const element = elementOf(at, value);
      records.add(element.bytes);
      for (; index.isBefore(at); index.advance()) differs(index.key, 'removed');
      if (!index.isAt(at)) differs(at, 'added');
      else {
        if (!indexEntryOf(element).equals(index.value)) differs(at, 'replaced');
        index.advance();
      }
      if (--untilPause > 0) continue;
      untilPause = recordsPerTurn;
      await setImmediate();
    }
    for (; !index.ended; index.advance()) differs(index.key, 'removed');
    return { records, differences, differing };
  } finally {
    transaction.done();
  }
}

/** Every record as it is stored, with pauses for the event loop. */
export async function eachRecord(
  environment: Environment,
  perTurn: number,
  use: (key: Buffer, stored: Buffer) => void,
): Promise<void> {
  const transaction = environment.reading();
  try {
    let untilPause = perTurn;
    for (const { key, value } of environment.records.getRange({ transaction })) {
      use(Buffer.from(key), value);
      if (--untilPause > 0) continue;
      untilPause = perTurn;
      await setImmediate();
    }
  } finally {
    transaction.done();
  }
}

type Transaction = ReturnType<Environment['reading']>;

/** One entry after the other. */
class Cursor {
  readonly #entries: Iterator<{ key: Uint8Array; value: Buffer }>;
  #current: { readonly key: Buffer; readonly value: Buffer } | undefined;

  constructor(database: Bytes, transaction: Transaction) {
    this.#entries = database.getRange({ transaction })[Symbol.iterator]();
    this.advance();
  }

  get ended(): boolean {
    return this.#current === undefined;
  }

  get key(): Buffer {
    return this.#current?.key ?? Buffer.alloc(0);
  }

  get value(): Buffer {
    return this.#current?.value ?? Buffer.alloc(0);
  }

  isBefore(key: Buffer): boolean {
    return this.#current !== undefined && Buffer.compare(this.#current.key, key) < 0;
  }

  isAt(key: Buffer): boolean {
    return this.#current?.key.equals(key) === true;
  }

  advance(): void {
    const next = this.#entries.next();
    // LMDB's pages may change after the next write, so both are copied out.
    this.#current =
      next.done === true
        ? undefined
        : { key: Buffer.from(next.value.key), value: Buffer.from(next.value.value) };
  }
}
