/** What a browser needs to verify, without the service: `npm run build:browser` makes one file of it. */
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
export { blake3Hex, muOf } from './hashing.ts';
export {
  locallyVerified,
  type PublicKey,
  type Signature,
  type SignedText,
  verifySignatures,
} from './local-verification.ts';
export { type TpmClaims, tpmKeyName } from './tpm-evidence.ts';
