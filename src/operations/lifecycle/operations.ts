import type { OperationParts } from '../operation.ts';
import { lifecycleArchiveOperation, lifecycleRevokeOperation, lifecycleRotateOperation } from './changes.ts';
import { lifecycleGenerateOperation } from './generate.ts';
import { lifecycleListOperation, lifecycleReadOperation } from './reads.ts';
import {
  lifecycleDecryptOperation,
  lifecycleEncryptOperation,
  lifecycleSignOperation,
  lifecycleVerifyOperation,
} from './uses.ts';

/** What can be asked of keys with a placement, by verb. In metrics and the audit log each is `lifecycle_<verb>`. */
export function createLifecycleOperations(parts: OperationParts) {
  return {
    generate: lifecycleGenerateOperation(parts),
    sign: lifecycleSignOperation(parts),
    verify: lifecycleVerifyOperation(parts),
    encrypt: lifecycleEncryptOperation(parts),
    decrypt: lifecycleDecryptOperation(parts),
    rotate: lifecycleRotateOperation(parts),
    revoke: lifecycleRevokeOperation(parts),
    archive: lifecycleArchiveOperation(parts),
    list: lifecycleListOperation(parts),
    read: lifecycleReadOperation(parts),
  };
}
