/** The client of a service, for Node: `intaglio/client`. Imports nothing of the server. */
export type * from './answers.ts';
export * from './browser.ts';
export { DekClient, type DekClientOptions } from './dek/dek-client.ts';
export { decryptFields, type EncryptedField, encryptFields, FieldError } from './dek/fields.ts';
export type { DekInfo, DekProvider, KekWrapping } from './dek/provider.ts';
export { KmsError, type KmsErrorCode, kmsErrorCodes, UnreachableError } from './errors.ts';
export {
  type CallOptions,
  type ChangeOptions,
  type HybridMode,
  KmsClient,
  type KmsClientOptions,
  type SignRequest,
  type VerifyRequest,
} from './kms-client.ts';
export {
  type CallReceipt,
  type ReceiptExpectations,
  type ReceiptFault,
  type VerifiedReceipt,
  verifyReceipt,
} from './receipts.ts';
export type { Input, SignedInput } from './signed-input.ts';
export { Transport, type TransportOptions } from './transport.ts';
