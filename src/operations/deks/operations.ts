import { refuse } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { CryptoOperation, KeyOperation, OperationParts } from '../operation.ts';
import { createDekOperation, rotateDekOperation } from './create-dek.ts';
import { givenKekBy } from './given-kek.ts';
import { importDekOperation } from './import-dek.ts';
import { destroyDekOperation, listDeksOperation, readDekOperation, rewrapDekOperation } from './keep-deks.ts';
import {
  kekUnwrapOperation,
  kekWrapOperation,
  listKeksOperation,
  rotateKekOperation,
} from './kek-operations.ts';
import type { DekParts } from './parts.ts';
import { restoreDekOperation } from './restore-dek.ts';
import { dekDecryptOperation, dekEncryptOperation } from './use-dek.ts';

/** Everything that can be asked of data encryption keys, by name. */
export function createDekOperations(parts: OperationParts, deks: DekParts) {
  const operations = {
    dek_create: createDekOperation(parts, deks),
    dek_import: importDekOperation(parts, deks),
    dek_read: readDekOperation(deks),
    dek_encrypt: dekEncryptOperation(parts, deks),
    dek_decrypt: dekDecryptOperation(parts, deks),
    dek_rotate: rotateDekOperation(parts, deks),
    dek_rewrap: rewrapDekOperation(deks),
    dek_restore: restoreDekOperation(deks),
    dek_destroy: destroyDekOperation(deks),
    kek_wrap: kekWrapOperation(parts, deks),
    kek_unwrap: kekUnwrapOperation(parts, deks),
    kek_rotate: rotateKekOperation(deks, givenKekBy(parts)),
    dek_list: listDeksOperation(deks),
    kek_list: listKeksOperation(deks),
  };
  for (const operation of Object.values(operations)) keepTo(deks.keks.tenant, operation);
  return operations;
}

const otherTenant = refuse('NoCapability', 'the capability is for another tenant');

/** Refuses callers of other tenants before anything is looked up: ids stay unknown to them. */
function keepTo(tenant: string, operation: AnyOperation): void {
  if (operation.kind === 'crypto') {
    const { plan } = operation;
    Object.assign(operation, {
      plan: (request: never, caller: Caller) =>
        caller.tenant === tenant ? plan(request, caller) : otherTenant,
    });
    return;
  }
  const { run } = operation;
  Object.assign(operation, {
    run: (request: never, caller: Caller) => (caller.tenant === tenant ? run(request, caller) : otherTenant),
  });
}

type AnyOperation = CryptoOperation<never, unknown> | KeyOperation<never, unknown>;

export type DekOperations = ReturnType<typeof createDekOperations>;
