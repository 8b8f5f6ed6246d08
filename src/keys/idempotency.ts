import { createHash } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Change, Store } from '../store/store.ts';
import { canonicalJson } from './canonical-json.ts';
import { decodeOperation, encodeOperation, type OperationRecord, operationKey } from './codec.ts';
import type { OperationId } from './keyring.ts';
import { isUuid } from './kid.ts';
import type { KeyRecords } from './records.ts';

/** The key that was changed, and the version if it was about one. */
export type Done = Pick<OperationRecord, 'id' | 'version'>;

export interface Repeatable<T> {
  /** Does it; the changes that `record` gives for what was done belong into the same commit. */
  readonly perform: (record: (done: Done) => readonly Change[]) => Promise<Result<T>>;
  /** The same answer again. */
  readonly repeat: (done: Done) => Promise<Result<T>>;
}

const unrecorded = (): readonly Change[] => [];
const otherRequest = refuse('Conflict', 'this op_id was used for another request');

/**
 * Makes changes that carry an op_id happen once. The record is committed together with the change, so after a crash
 * there are both or neither. A refusal is not recorded: the same op_id may be tried again.
 */
export class Idempotency {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #records: KeyRecords;
  readonly #keptMs: number;
  readonly #underWay = new Map<
    string,
    { readonly digest: Buffer; readonly result: Promise<Result<unknown>> }
  >();

  constructor(store: Store, clock: Clock, records: KeyRecords, keptMs: number) {
    this.#store = store;
    this.#clock = clock;
    this.#records = records;
    this.#keptMs = keptMs;
  }

  /** `subject`: what besides the body makes it another request, such as the operation's name and the kid in the path. */
  async once<T extends { readonly replayed: boolean }>(
    tenant: string,
    operation: OperationId | undefined,
    subject: readonly unknown[],
    repeatable: Repeatable<T>,
  ): Promise<Result<T>> {
    if (operation === undefined) return repeatable.perform(unrecorded);
    const id = operation.id.toLowerCase();
    if (!isUuid(id)) return refuse('BadRequest', 'op_id is a UUID');
    const storeKey = operationKey(tenant, id);
    const digest = digestOf([...subject, operation.meaning ?? operation.body]);
    // Records of earlier versions hold the digest of the body as it was spelled; they end with `keptMs`.
    const asSpelled = () => digestOf([...subject, operation.body]);
    const underWay = this.#underWay.get(storeKey);
    if (underWay !== undefined) {
      if (!underWay.digest.equals(digest)) return otherRequest;
      const result = (await underWay.result) as Result<T>;
      return result.ok ? ok({ ...result.value, replayed: true }) : result;
    }
    const result = this.#onceInStore(storeKey, { digest, asSpelled }, repeatable);
    this.#underWay.set(storeKey, { digest, result });
    try {
      return await result;
    } finally {
      this.#underWay.delete(storeKey);
    }
  }

  isExpired(record: OperationRecord): boolean {
    return record.atMs + this.#keptMs <= this.#clock.utcMs();
  }

  async #onceInStore<T>(
    storeKey: string,
    { digest, asSpelled }: { readonly digest: Buffer; readonly asSpelled: () => Buffer },
    repeatable: Repeatable<T>,
  ): Promise<Result<T>> {
    const entry = await this.#store.get(storeKey);
    if (!entry.ok) return entry;
    if (entry.value !== undefined) {
      const record = decodeOperation(entry.value.value);
      if (record === undefined) return this.#records.corrupt(storeKey);
      if (!this.isExpired(record)) {
        const same = digest.equals(record.digest) || asSpelled().equals(record.digest);
        return same ? repeatable.repeat(record) : otherRequest;
      }
    }
    const expectedRevision = entry.value?.revision ?? 0;
    return repeatable.perform((done) => {
      const record = { atMs: this.#clock.utcMs(), digest, ...done };
      return [{ key: storeKey, value: encodeOperation(record), expectedRevision }];
    });
  }
}

function digestOf(request: unknown): Buffer {
  return createHash('sha256').update(canonicalJson(request)).digest();
}
