import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import { batchOps } from '../../engine/batch.ts';
import { wordInput } from '../../engine/rooms.ts';
import type { CryptoPlan, OperationParts, WorkOutcome } from '../operation.ts';
import { outputsOf } from '../sealing/encrypt.ts';
import { countEncryption, planWithKey, wrapInfo } from '../sealing/one-key.ts';
import { type Dek, type DekVersion, dekBytes, wrapAadOf } from './dek.ts';
import type { DekStore, StoredDek } from './dek-store.ts';
import { type Keks, kekChanged } from './keks.ts';

export interface NewVersion {
  readonly dekId: string;
  readonly version: number;
  /** 32 bytes that others have made. Undefined: the engine draws them. */
  readonly key?: Uint8Array;
  /** The type of the audit record. */
  readonly type: 'dek.create' | 'dek.rotate' | 'dek.import' | 'dek.use';
}

/** Wraps a version of a DEK by the current KEK. `keep` gets it once it is wrapped, and gives the answer. */
export async function planNewVersion<Answer>(
  parts: OperationParts,
  keks: Keks,
  caller: Caller,
  { dekId, version, key, type }: NewVersion,
  keep: (made: DekVersion) => Promise<Result<Answer>>,
): Promise<Result<CryptoPlan<Answer>>> {
  const current = await keks.current(caller.actor);
  if (!current.ok) return current;
  const { kid, version: kek } = current.value.version;
  const planned = await planWithKey(parts, caller, kid, {
    kind: () => 'wrap',
    item(handle) {
      const bound = [wrapInfo(handle), wrapAadOf(dekId, version)];
      return key === undefined
        ? ok({
            inputs: [wordInput(dekBytes), wordInput(0), ...bound],
            ...{ pricedBytes: dekBytes, op: batchOps.dataKey },
          })
        : ok({ inputs: [key, ...bound], pricedBytes: dekBytes });
    },
    ready(work, handle) {
      countEncryption(work, handle);
      work.about = { type, data: { dek: dekId, dek_version: version } };
    },
  });
  if (!planned.ok) return planned;
  return ok({
    works: [planned.value.work],
    async finish([outcome]) {
      const ran = outcome as WorkOutcome;
      if (!ran.ok) return ran;
      // The output is a view of the worker's answer.
      const wrapped = Uint8Array.from((outputsOf(ran) as [Uint8Array])[0]);
      return keep({ version, kek, wrapped, createdAtMs: parts.clock.utcMs() });
    },
  });
}

const changed = refuse('Conflict', 'the DEK has changed meanwhile');
export const taken = refuse('Conflict', 'there is a DEK of this id');

/** Puts a DEK with its first version. Conflict: the id is taken. */
export async function putFirst(
  deks: DekStore,
  { id, threadId }: Pick<Dek, 'id'> & { readonly threadId: string | undefined },
  version: DekVersion,
): Promise<Result<Dek>> {
  const dek: Dek = {
    ...{ id, state: 'active', createdAtMs: version.createdAtMs, versions: [version] },
    ...(threadId === undefined ? undefined : { threadId }),
  };
  const refused = await put(deks, dek, undefined, taken);
  return refused ?? ok(dek);
}

/** Puts a changed DEK; undefined: it is durable. Conflict: another writer has changed the record since `before`. */
export function putNext(deks: DekStore, dek: Dek, before: StoredDek): Promise<Refused | undefined> {
  return put(deks, dek, before, changed);
}

async function put(
  deks: DekStore,
  dek: Dek,
  before: StoredDek | undefined,
  otherwise: Refused,
): Promise<Refused | undefined> {
  const outcome = await deks.put(dek, before);
  if (!outcome.ok) return outcome;
  if (outcome.value === 'put') return undefined;
  return outcome.value === 'behind' ? kekChanged : otherwise;
}
