import type { Algorithm } from '../algorithms/descriptor.ts';
import type { Result } from '../core/result.ts';
import type { KeyPart } from '../keys/record.ts';

/** Where private keys live. */
export interface Custody {
  readonly backend: 'software';
  /** What an auditor may assume of the key's residence. */
  readonly attestationClass: 'none';
  /** Makes the key pairs of one version. The private parts are bound to exactly this tenant and versioned kid. */
  generate(algorithm: Algorithm, tenant: string, versionedKid: string): Promise<Result<readonly KeyPart[]>>;
  /** What a sign job carries as its key: plain bytes that only the engine can use. */
  opening(part: KeyPart, partIndex: number, tenant: string, versionedKid: string): Uint8Array;
}
