import { loadOperation, rootOperation, rotateRootOperation } from './admin.ts';
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
import { attestOperation } from './formats/attest.ts';
import { csrOperation } from './formats/csr.ts';
import { jwksOperation } from './formats/jwks.ts';
import { jwtOperation } from './formats/jwt.ts';
import { createLifecycleOperations } from './lifecycle/operations.ts';
import { macOperation, macVerifyOperation } from './mac.ts';
import type { OperationParts } from './operation.ts';
import { exportKeyOperation, listKeysOperation, readKeyOperation } from './read-keys.ts';
import { createReceiptOperations, type ReceiptParts } from './receipts/operations.ts';
import { rotateKeyOperation } from './rotate-key.ts';
import { deriveOperation } from './sealing/derive.ts';
import {
  decryptBatchOperation,
  decryptOperation,
  encryptBatchOperation,
  encryptOperation,
} from './sealing/encrypt.ts';
import { importKeyOperation, importVersionOperation, wrappingKeyOperation } from './sealing/import-key.ts';
import { randomOperation } from './sealing/random.ts';
import { rewrapOperation } from './sealing/rewrap.ts';
import { sealOperation, unsealOperation } from './sealing/seal.ts';
import { dataKeyOperation, unwrapOperation, wrapOperation } from './sealing/wrap.ts';
import { signOperation } from './sign.ts';
import { exchangeTokenOperation } from './token-exchange.ts';
import {
  dischargeTokenOperation,
  mintTokenOperation,
  revokeTokenOperation,
  rotateTokenKeyOperation,
  type TokenParts,
  tokenKeysOperation,
} from './tokens.ts';
import { createTrustOperations } from './trust/operations.ts';
import type { TrustParts } from './trust/parts.ts';
import { verifyOperation } from './verify.ts';

/** Everything that can be asked, by name. */
export function createOperations(
  parts: OperationParts & ReceiptParts & { readonly tokens: TokenParts; readonly trust: TrustParts },
) {
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
    jwks: jwksOperation(parts),
    jwt: jwtOperation(parts),
    csr: csrOperation(parts),
    attest: attestOperation(parts),
    mac: macOperation(parts),
    mac_verify: macVerifyOperation(parts),
    encrypt: encryptOperation(parts),
    encrypt_batch: encryptBatchOperation(parts),
    decrypt: decryptOperation(parts),
    decrypt_batch: decryptBatchOperation(parts),
    wrap: wrapOperation(parts),
    unwrap: unwrapOperation(parts),
    rewrap: rewrapOperation(parts),
    datakey: dataKeyOperation(parts),
    random: randomOperation(),
    derive: deriveOperation(parts),
    seal: sealOperation(parts),
    unseal: unsealOperation(parts),
    import_wrapping_key: wrappingKeyOperation(parts),
    import: importKeyOperation(parts),
    import_version: importVersionOperation(parts),
    load: loadOperation(parts),
    root: rootOperation(parts),
    root_rotate: rotateRootOperation(parts),
    audit_checkpoint: auditCheckpointOperation(parts.audit),
    audit_tile: auditTileOperation(parts.audit),
    audit_proof: auditProofOperation(parts.audit),
    audit_vkeys: auditVkeysOperation(parts.audit),
    audit_rotate_keys: auditRotateKeysOperation(parts.audit),
    audit_records: auditRecordsOperation(parts.audit),
    audit_accept: auditAcceptOperation(parts.audit),
    audit_pending: auditPendingOperation(parts.audit),
    token_exchange: exchangeTokenOperation(parts.tokens),
    token_mint: mintTokenOperation(parts.tokens),
    token_discharge: dischargeTokenOperation(parts.tokens),
    token_revoke: revokeTokenOperation(parts.tokens),
    token_keys: tokenKeysOperation(parts.tokens),
    token_rotate_key: rotateTokenKeyOperation(parts.tokens),
    /** Not of the surface that has all of the others. */
    lifecycle: createLifecycleOperations(parts),
    receipts: createReceiptOperations(parts),
    trust: createTrustOperations(parts),
  };
}

export type Operations = ReturnType<typeof createOperations>;
export type OperationName = Exclude<keyof Operations, 'lifecycle' | 'receipts' | 'trust'>;
