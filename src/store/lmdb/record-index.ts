import { setImmediate } from 'node:timers/promises';
import type { MacKey } from '../../core/mac-key.ts';
import type { RecordDifference } from '../integrity.ts';
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

/** The differences between the records and their index: the first of them, and how many there are. */
export interface IndexCompared {
  readonly differences: readonly RecordDifference[];
  readonly differing: number;
}

/** All records as they lie there. */
export async function countRecords(environment: Environment, key: MacKey): Promise<MultisetHash> {
  const records = new MultisetHash(key);
  await eachRecord(environment, (storeKey, stored) => records.add(elementOf(storeKey, stored).bytes));
  return records;
}

/** Every record and every entry of the index, side by side, in the order of the keys. */
export async function compareIndex(environment: Environment): Promise<IndexCompared> {
  const differences: RecordDifference[] = [];
  let differing = 0;
  const differs = (at: Uint8Array, what: RecordDifference['what']) => {
    differing++;
    if (differences.length < maxDifferences)
      differences.push({ key: Buffer.from(at).toString('latin1'), what });
  };
  const transaction = environment.reading();
  try {
    const index = new Cursor(environment.digests, transaction);
    await eachRecord(
      environment,
      (at, stored) => {
        for (; index.isBefore(at); index.advance()) differs(index.key, 'removed');
        if (!index.isAt(at)) {
          differs(at, 'added');
          return;
        }
        if (!indexEntryOf(elementOf(at, stored)).equals(index.value)) differs(at, 'replaced');
        index.advance();
      },
      transaction,
    );
    for (; !index.ended; index.advance()) differs(index.key, 'removed');
    return { differences, differing };
  } finally {
    transaction.done();
  }
}

/** Every record as it is stored, at one moment, with pauses for the event loop. What is handed on is LMDB's for this turn. */
export async function eachRecord(
  environment: Environment,
  use: (key: Uint8Array, stored: Buffer) => void,
  within?: Transaction,
): Promise<void> {
  const transaction = within ?? environment.reading();
  try {
    let untilPause = recordsPerTurn;
    for (const { key, value } of environment.records.getRange({ transaction })) {
      use(key, value);
      if (--untilPause > 0) continue;
      untilPause = recordsPerTurn;
      await setImmediate();
    }
  } finally {
    if (within === undefined) transaction.done();
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

  isBefore(key: Uint8Array): boolean {
    return this.#current !== undefined && Buffer.compare(this.#current.key, key) < 0;
  }

  isAt(key: Uint8Array): boolean {
    return this.#current !== undefined && Buffer.compare(this.#current.key, key) === 0;
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
