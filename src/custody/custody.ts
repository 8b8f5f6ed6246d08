import type { Algorithm } from '../algorithms/descriptor.ts';
import type { Result } from '../core/result.ts';
import type { KeyPart } from '../keys/record.ts';

/** The home of private keys. */
export interface Custody {
  readonly backend: 'software';
  /** The claim about the key's residence that an auditor may rely on. */
  readonly attestationClass: 'none';
  /** Makes the key pairs of one version. The private parts are bound to exactly this tenant and versioned kid. */
  generate(algorithm: Algorithm, tenant: string, versionedKid: string): Promise<Result<readonly KeyPart[]>>;
  /** The key of a sign job: plain bytes that only the engine can use. */
  opening(part: KeyPart, partIndex: number, tenant: string, versionedKid: string): Uint8Array;
}
