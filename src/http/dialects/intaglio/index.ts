import type { OperationName, Operations } from '../../../operations/operations.ts';
import type { AnyEndpoint, Dialect } from '../../dialect.ts';
import {
  auditCheckpointEndpoint,
  auditProofEndpoint,
  auditRecordsEndpoint,
  auditTileEndpoint,
  auditVkeysEndpoint,
} from './audit.ts';
import { deriveEndpoint, sealEndpoint, unsealEndpoint } from './derivation.ts';
import { presentError } from './failures.ts';
import { attestEndpoint, csrEndpoint, jwksEndpoint, jwtEndpoint } from './formats.ts';
import { importEndpoint, importVersionEndpoint, wrappingKeyEndpoint } from './imports.ts';
import {
  createEndpoint,
  destroyEndpoint,
  exportEndpoint,
  listEndpoint,
  readEndpoint,
  rotateEndpoint,
} from './keys.ts';
import { macEndpoint, macVerifyEndpoint } from './macs.ts';
import { describeSurface } from './openapi.ts';
import {
  auditAcceptEndpoint,
  auditPendingEndpoint,
  auditRotateKeysEndpoint,
  loadEndpoint,
  rootEndpoint,
  rotateRootEndpoint,
} from './operator.ts';
import { findRoute, prefix } from './routes.ts';
import {
  dataKeyEndpoint,
  decryptBatchEndpoint,
  decryptEndpoint,
  encryptBatchEndpoint,
  encryptEndpoint,
  randomEndpoint,
  rewrapEndpoint,
  unwrapEndpoint,
  wrapEndpoint,
} from './sealing.ts';
import { signBatchEndpoint, signEndpoint, verifyBatchEndpoint, verifyEndpoint } from './signatures.ts';
import {
  dischargeEndpoint,
  exchangeEndpoint,
  mintEndpoint,
  revokeEndpoint,
  rotateTokenKeyEndpoint,
  tokenKeysEndpoint,
} from './tokens.ts';

export interface IntaglioOptions {
  /** Requests of one batch. */
  readonly batchMaxItems: number;
}

const ownPaths = `${prefix}/`;

/** The product's own surface: JSON under /v1/kms, in which everything can be asked. */
export function intaglioDialect(operations: Operations, { batchMaxItems }: IntaglioOptions): Dialect {
  // Calls that have an op_id, so that a second principal can agree to one of them.
  const named = {
    create: createEndpoint(operations),
    rotate: rotateEndpoint(operations),
    destroy: destroyEndpoint(operations),
    import: importEndpoint(operations),
    import_version: importVersionEndpoint(operations),
    sign: signEndpoint(operations),
    token_mint: mintEndpoint(operations),
    token_revoke: revokeEndpoint(operations),
    token_rotate_key: rotateTokenKeyEndpoint(operations),
  };
  const endpoints = {
    ...named,
    list: listEndpoint(operations),
    read: readEndpoint(operations),
    export: exportEndpoint(operations),
    sign_batch: signBatchEndpoint(operations, batchMaxItems),
    verify: verifyEndpoint(operations),
    verify_batch: verifyBatchEndpoint(operations, batchMaxItems),
    jwks: jwksEndpoint(operations),
    jwt: jwtEndpoint(operations),
    csr: csrEndpoint(operations),
    attest: attestEndpoint(operations),
    mac: macEndpoint(operations),
    mac_verify: macVerifyEndpoint(operations),
    encrypt: encryptEndpoint(operations),
    encrypt_batch: encryptBatchEndpoint(operations, batchMaxItems),
    decrypt: decryptEndpoint(operations),
    decrypt_batch: decryptBatchEndpoint(operations, batchMaxItems),
    wrap: wrapEndpoint(operations),
    unwrap: unwrapEndpoint(operations),
    rewrap: rewrapEndpoint(operations),
    datakey: dataKeyEndpoint(operations),
    random: randomEndpoint(operations),
    derive: deriveEndpoint(operations),
    seal: sealEndpoint(operations),
    unseal: unsealEndpoint(operations),
    import_wrapping_key: wrappingKeyEndpoint(operations),
    load: loadEndpoint(operations),
    root: rootEndpoint(operations),
    root_rotate: rotateRootEndpoint(operations),
    audit_checkpoint: auditCheckpointEndpoint(operations),
    audit_tile: auditTileEndpoint(operations),
    audit_proof: auditProofEndpoint(operations),
    audit_vkeys: auditVkeysEndpoint(operations),
    audit_rotate_keys: auditRotateKeysEndpoint(operations),
    audit_records: auditRecordsEndpoint(operations),
    audit_accept: auditAcceptEndpoint(operations),
    audit_pending: auditPendingEndpoint(operations),
    token_exchange: exchangeEndpoint(operations),
    token_discharge: dischargeEndpoint(operations, named),
    token_keys: tokenKeysEndpoint(operations),
  } satisfies Readonly<Record<OperationName, AnyEndpoint>>;
  return {
    owns: (path) => path.startsWith(ownPaths),
    find: (method, path) => findRoute<AnyEndpoint>(endpoints, method, path),
    presentFailure: presentError,
    openapi: () => describeSurface({ batchMaxItems, scopeOf: (name) => scopeOf(operations[name]) }),
  };
}

/** A call that brings its own evidence needs no scope. */
function scopeOf(operation: Operations[OperationName]): string | undefined {
  return 'scope' in operation ? operation.scope : undefined;
}
