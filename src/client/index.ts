/** The client of a service, for Node: `intaglio/client`. Imports nothing of the server. */
export type * from './answers.ts';
export {
  type AttestationExpectations,
  type AttestationFault,
  type EvidenceClaims,
  type EvidenceJws,
  evidenceSha256,
  type KeyEvidence,
  type VerifiedAttestation,
  verifyAttestation,
} from './attestation.ts';
export type { Source } from './bytes.ts';
export { KmsError, type KmsErrorCode, kmsErrorCodes, UnreachableError } from './errors.ts';
export { blake3Hex, muOf } from './hashing.ts';
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
  locallyVerified,
  type PublicKey,
  type Signature,
  type SignedText,
  verifySignatures,
} from './local-verification.ts';
export type { Input, SignedInput } from './signed-input.ts';
export { Transport, type TransportOptions } from './transport.ts';
