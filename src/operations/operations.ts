import { loadOperation } from './admin.ts';
import {
  auditCheckpointOperation,
  auditProofOperation,
  auditRecordsOperation,
  auditRotateKeysOperation,
  auditTileOperation,
  auditVkeysOperation,
} from './audit.ts';
import { auditAcceptOperation, auditPendingOperation } from './audit-accept.ts';
import { signBatchOperation, verifyBatchOperation } from './batch.ts';
import { createKeyOperation } from './create-key.ts';
import { destroyKeyOperation } from './destroy-key.ts';
import { macOperation, macVerifyOperation } from './mac.ts';
import type { OperationParts } from './operation.ts';
import { exportKeyOperation, listKeysOperation, readKeyOperation } from './read-keys.ts';
import { rotateKeyOperation } from './rotate-key.ts';
import { signOperation } from './sign.ts';
import { verifyOperation } from './verify.ts';

/** Everything that can be asked, by name. */
export function createOperations(parts: OperationParts) {
  return {
    create: createKeyOperation(parts),
    list: listKeysOperation(parts),
    read: readKeyOperation(parts),
    rotate: rotateKeyOperation(parts),
    destroy: destroyKeyOperation(parts),
    export: exportKeyOperation(),
    sign: signOperation(parts),
    sign_batch: signBatchOperation(parts),
    verify: verifyOperation(parts),
    verify_batch: verifyBatchOperation(parts),
    mac: macOperation(parts),
    mac_verify: macVerifyOperation(parts),
    load: loadOperation(parts),
    audit_checkpoint: auditCheckpointOperation(parts.audit),
    audit_tile: auditTileOperation(parts.audit),
    audit_proof: auditProofOperation(parts.audit),
    audit_vkeys: auditVkeysOperation(parts.audit),
    audit_rotate_keys: auditRotateKeysOperation(parts.audit),
    audit_records: auditRecordsOperation(parts.audit),
    audit_accept: auditAcceptOperation(parts.audit),
    audit_pending: auditPendingOperation(parts.audit),
  };
}

export type Operations = ReturnType<typeof createOperations>;
export type OperationName = keyof Operations;
