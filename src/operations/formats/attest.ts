import { refuse } from '../../core/result.ts';
import type { SignedEvidence } from '../../custody/key-evidence.ts';
import type { KeyOperation, OperationParts } from '../operation.ts';

export interface AttestRequest {
  readonly kid: string;
  /** Base64url of `minNonceBytes` to `maxNonceBytes`; without it the evidence may be some minutes old. */
  readonly nonce: string | undefined;
}

/** RFC 9711 section 4.1: 8 to 64 bytes as binary. */
export const minNonceBytes = 8;
export const maxNonceBytes = 64;

const noKeys = refuse(
  'Unsupported',
  'this service keeps no audit log, whose keys sign evidence: KMS_AUDIT=off',
);

/** Evidence of the residence of a version, signed by the keys of the audit log. Reading it takes what reading the key takes. */
export function attestOperation({
  keyring,
  evidence,
}: OperationParts): KeyOperation<AttestRequest, SignedEvidence> {
  return {
    kind: 'keys',
    name: 'attest',
    scope: 'kms:read',
    subjects: ({ kid }) => [kid],
    async run({ kid, nonce }, { tenant }) {
      const found = await keyring.find(tenant, kid);
      if (!found.ok) return found;
      if (evidence === undefined) return noKeys;
      const { attestor } = evidence;
      return nonce === undefined ? attestor.evidence(found.value) : attestor.attest(found.value, nonce);
    },
  };
}
