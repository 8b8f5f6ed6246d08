import { randomUUID } from 'node:crypto';
import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import { batchOps } from '../../engine/batch.ts';
import { wordInput } from '../../engine/rooms.ts';
import type { KeyHandle } from '../../keys/keyring.ts';
import type { CryptoOperation, CryptoPlan, OperationParts, WorkOutcome } from '../operation.ts';
import { outputsOf } from '../sealing/encrypt.ts';
import { countEncryption, type OneKeyPlan, planWithKey, wrapInfo } from '../sealing/one-key.ts';
import { type Dek, type DekVersion, isThreadId, maxDekVersions, wrapAadOf } from './dek.ts';
import type { PutOutcome, StoredDek } from './dek-store.ts';
import { kekChanged } from './keks.ts';
import type { DekParts } from './parts.ts';
import { wrappedText } from './wrapped-text.ts';

export interface CreateDekRequest {
  /** A UUID where it is undefined. */
  readonly id: string | undefined;
  readonly threadId: string | undefined;
}

export interface DekMade {
  readonly id: string;
  readonly version: number;
  /** The wrapping of the newest version; see wrapped-text.ts. */
  readonly wrapped: string;
  readonly kekId: string;
  readonly kekVersion: number;
}

const badThread = refuse('BadRequest', 'thread_id: printable ASCII without blanks, at most 256');
const taken = refuse('Conflict', 'there is a DEK of this id');
const changed = refuse('Conflict', 'the DEK has changed meanwhile');
export const noSuchDek = refuse('NotFound', 'there is no DEK of this id');
export const dekDestroyed = refuse('Conflict', 'the DEK is destroyed');

/** A new DEK: drawn and wrapped in the engine, which gives out its wrapping alone. An id that is taken is Conflict. */
export function createDekOperation(
  parts: OperationParts,
  { deks, keks }: DekParts,
): CryptoOperation<CreateDekRequest, DekMade> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'dek_create', scope: 'kms:create' },
    async plan({ id = randomUUID(), threadId }, caller) {
      if (threadId !== undefined && !isThreadId(threadId)) return badThread;
      const found = await deks.find(id);
      if (!found.ok) return found;
      if (found.value !== undefined) return taken;
      const kek = await keks.current(caller.actor);
      if (!kek.ok) return kek;
      const planned = await planNewVersion(parts, caller, kek.value, id, 1, 'dek.create');
      if (!planned.ok) return planned;
      return newVersionPlan(planned.value, kek.value, async (first) => {
        const dek: Dek = {
          ...{ id, state: 'active', createdAtMs: parts.clock.utcMs() },
          ...(threadId === undefined ? undefined : { threadId }),
          versions: [{ ...first, version: 1, createdAtMs: parts.clock.utcMs() }],
        };
        const put = await deks.put(dek, undefined);
        if (!put.ok) return put;
        return refusalOf(put.value, taken) ?? ok(describe(keks.id, dek));
      });
    },
  };
}

export interface ImportDekRequest {
  readonly id: string;
  readonly threadId: string | undefined;
  /** 32 bytes that another service has made. */
  readonly key: Uint8Array;
}

/** A DEK of a service before this one. One that is there as an import already is passed over. */
export function importDekOperation(
  parts: OperationParts,
  { deks, keks }: DekParts,
): CryptoOperation<ImportDekRequest, { readonly there: boolean }> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'dek_import', scope: 'kms:create' },
    async plan({ id, threadId, key }, caller) {
      if (threadId !== undefined && !isThreadId(threadId)) return badThread;
      if (key.length !== dekBytes) return refuse('BadRequest', 'a DEK has 32 bytes');
      const found = await deks.find(id);
      if (!found.ok) return found;
      if (found.value !== undefined) {
        const again = found.value.dek.versions[0]?.foreign === true;
        return again ? ok({ works: [], finish: () => ok({ there: true }) }) : taken;
      }
      const kek = await keks.current(caller.actor);
      if (!kek.ok) return kek;
      const planned = await planWithKey(parts, caller, kek.value.version.kid, {
        kind: () => 'wrap',
        item: (handle) => ok({ inputs: [key, wrapInfo(handle), wrapAadOf(id, 1)], pricedBytes: dekBytes }),
        ready(work, handle) {
          countEncryption(work, handle);
          work.about = { type: 'dek.import', data: { dek: id, dek_version: 1 } };
        },
      });
      if (!planned.ok) return planned;
      return ok({
        works: [planned.value.work],
        async finish([outcome]) {
          const ran = outcome as WorkOutcome;
          if (!ran.ok) return ran;
          const [wrapped] = outputsOf(ran) as [Uint8Array];
          const createdAtMs = parts.clock.utcMs();
          const version: DekVersion = {
            ...{ version: 1, kek: kek.value.version.version, wrapped: Uint8Array.from(wrapped) },
            ...{ createdAtMs, foreign: true },
          };
          const of = threadId === undefined ? undefined : { threadId };
          const put = await deks.put(
            { id, ...of, state: 'active', createdAtMs, versions: [version] },
            undefined,
          );
          if (!put.ok) return put;
          return refusalOf(put.value, taken) ?? ok({ there: false });
        },
      });
    },
  };
}

/** A new version, which encrypts from then on; what the ones before it encrypted stays readable. */
export function rotateDekOperation(
  parts: OperationParts,
  { deks, keks }: DekParts,
): CryptoOperation<{ readonly id: string }, DekMade> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'dek_rotate', scope: 'kms:rotate' },
    async plan({ id }, caller) {
      const found = await activeDek(deks.find(id));
      if (!found.ok) return found;
      const { dek } = found.value;
      if (dek.versions.length >= maxDekVersions)
        return refuse('Conflict', `a DEK has ${maxDekVersions} versions at most: encrypt anew under another`);
      const kek = await keks.current(caller.actor);
      if (!kek.ok) return kek;
      const version = newestOf(dek).version + 1;
      const planned = await planNewVersion(parts, caller, kek.value, id, version, 'dek.rotate');
      if (!planned.ok) return planned;
      return newVersionPlan(planned.value, kek.value, async (made) => {
        const createdAtMs = parts.clock.utcMs();
        const next = { ...dek, versions: [...dek.versions, { ...made, version, createdAtMs }] };
        const put = await deks.put(next, found.value);
        if (!put.ok) return put;
        return refusalOf(put.value, changed) ?? ok(describe(keks.id, next));
      });
    },
  };
}

function refusalOf(outcome: PutOutcome, changed: Refused): Refused | undefined {
  if (outcome === 'put') return undefined;
  return outcome === 'behind' ? kekChanged : changed;
}

function planNewVersion(
  parts: OperationParts,
  caller: Caller,
  kek: KeyHandle,
  id: string,
  version: number,
  type: string,
) {
  return planWithKey(parts, caller, kek.version.kid, {
    kind: () => 'wrap',
    item: (handle) =>
      ok({
        inputs: [wordInput(dekBytes), wordInput(0), wrapInfo(handle), wrapAadOf(id, version)],
        ...{ pricedBytes: dekBytes, op: batchOps.dataKey },
      }),
    ready(work, handle) {
      countEncryption(work, handle);
      work.about = { type, data: { dek: id, dek_version: version } };
    },
  });
}

/** AES-256-GCM. */
const dekBytes = 32;

function newVersionPlan(
  { work }: OneKeyPlan,
  kek: KeyHandle,
  keep: (made: Pick<DekVersion, 'kek' | 'wrapped'>) => Promise<Result<DekMade>>,
): Result<CryptoPlan<DekMade>> {
  return ok({
    works: [work],
    async finish([outcome]) {
      const ran = outcome as WorkOutcome;
      if (!ran.ok) return ran;
      const [wrapped] = outputsOf(ran) as [Uint8Array];
      return keep({ kek: kek.version.version, wrapped: Uint8Array.from(wrapped) });
    },
  });
}

export async function activeDek(finding: ReturnType<DekParts['deks']['find']>): Promise<Result<StoredDek>> {
  const found = await finding;
  if (!found.ok) return found;
  if (found.value === undefined) return noSuchDek;
  return found.value.dek.state === 'destroyed' ? dekDestroyed : ok(found.value);
}

export function newestOf({ versions }: Dek): DekVersion {
  return versions.at(-1) as DekVersion;
}

export function describe(kekId: string, dek: Dek): DekMade {
  const { version, kek, wrapped } = newestOf(dek);
  return { id: dek.id, version, wrapped: wrappedText({ kek, wrapped }), kekId, kekVersion: kek };
}
