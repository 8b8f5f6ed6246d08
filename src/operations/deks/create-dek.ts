import { randomUUID } from 'node:crypto';
import { ok, refuse } from '../../core/result.ts';
import type { CryptoOperation, OperationParts } from '../operation.ts';
import { isThreadId, maxDekVersions, newestOf } from './dek.ts';
import { type DescribedDek, describeDek } from './described-dek.ts';
import { planNewVersion, putFirst, putNext, taken } from './new-version.ts';
import type { DekParts } from './parts.ts';

export interface CreateDekRequest {
  /** Undefined: a random UUID (RFC 9562, version 4). */
  readonly id: string | undefined;
  readonly threadId: string | undefined;
}

export const badThread = refuse('BadRequest', 'thread_id: printable ASCII without blanks, at most 256');

/** Makes a DEK. The engine draws and wraps its bytes, and gives out the wrapping alone. Conflict: the id is taken. */
export function createDekOperation(
  parts: OperationParts,
  { deks, keks }: DekParts,
): CryptoOperation<CreateDekRequest, DescribedDek> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'dek_create', scope: 'kms:create' },
    async plan({ id = randomUUID(), threadId }, caller) {
      if (threadId !== undefined && !isThreadId(threadId)) return badThread;
      const found = await deks.find(id);
      if (!found.ok) return found;
      if (found.value !== undefined) return taken;
      const wanted = { dekId: id, version: 1, type: 'dek.create' } as const;
      return planNewVersion(parts, keks, caller, wanted, async (made) => {
        const put = await putFirst(deks, { id, threadId }, made);
        return put.ok ? ok(describeDek(keks.id, put.value)) : put;
      });
    },
  };
}

/** Makes a version, which encrypts from then on. The versions before it go on decrypting. */
export function rotateDekOperation(
  parts: OperationParts,
  { deks, keks }: DekParts,
): CryptoOperation<{ readonly id: string }, DescribedDek> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'dek_rotate', scope: 'kms:rotate' },
    async plan({ id }, caller) {
      const found = await deks.findActive(id);
      if (!found.ok) return found;
      const { dek } = found.value;
      if (dek.versions.length >= maxDekVersions)
        return refuse('Conflict', `a DEK has ${maxDekVersions} versions at most: encrypt anew under another`);
      const wanted = { dekId: id, version: newestOf(dek).version + 1, type: 'dek.rotate' } as const;
      return planNewVersion(parts, keks, caller, wanted, async (made) => {
        const next = { ...dek, versions: [...dek.versions, made] };
        const refused = await putNext(deks, next, found.value);
        return refused ?? ok(describeDek(keks.id, next));
      });
    },
  };
}
