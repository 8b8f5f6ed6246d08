import { ok, refuse } from '../../core/result.ts';
import type { CryptoOperation, OperationParts } from '../operation.ts';
import { badThread } from './create-dek.ts';
import { dekBytes, isThreadId } from './dek.ts';
import { planNewVersion, putFirst, taken } from './new-version.ts';
import type { DekParts } from './parts.ts';

export interface ImportDekRequest {
  readonly id: string;
  readonly threadId: string | undefined;
  /** 32 bytes that another service has made; the caller wipes them. */
  readonly key: Uint8Array;
}

export interface ImportedDek {
  /** True: the same key was imported before, and its record stays as it is. */
  readonly there: boolean;
}

const badLength = refuse('BadRequest', `a DEK has ${dekBytes} bytes`);
const otherKey = refuse('Conflict', 'there is another key of this id');

/** Imports a DEK that another service has made. Conflict: the id has another key, or its DEK was made here. */
export function importDekOperation(
  parts: OperationParts,
  { deks, keks, rewrapper }: DekParts,
): CryptoOperation<ImportDekRequest, ImportedDek> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'dek_import', scope: 'kms:create' },
    async plan({ id, threadId, key }, caller) {
      if (threadId !== undefined && !isThreadId(threadId)) return badThread;
      if (key.length !== dekBytes) return badLength;
      const found = await deks.find(id);
      if (!found.ok) return found;
      const first = found.value?.dek.versions[0];
      if (found.value !== undefined && first?.foreign !== true) return taken;
      const type = first === undefined ? 'dek.import' : 'dek.use';
      const wanted = { dekId: id, version: 1, key, type } as const;
      return planNewVersion<ImportedDek>(parts, keks, caller, wanted, async (made) => {
        if (first === undefined) {
          const put = await putFirst(deks, { id, threadId }, { ...made, foreign: true });
          return put.ok ? ok({ there: false }) : put;
        }
        const same = await rewrapper.isSameKey(id, made, first);
        if (!same.ok) return same;
        return same.value ? ok({ there: true }) : otherKey;
      });
    },
  };
}
