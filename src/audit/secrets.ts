import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';

/** What the audit secret is for, each use with a key of its own. */
export interface AuditSecrets {
  /** Authenticates HEAD. */
  readonly head: KeyObject;
  /** Authenticates the anchor in the key store. */
  readonly anchor: KeyObject;
  /** Authenticates what sealed segments say of the keys' sequence numbers. */
  readonly snapshot: KeyObject;
  /** From which the tenants' input_hash keys come. */
  readonly inputRoot: Uint8Array;
}

export const auditSecretBytes = 32;

/** HKDF-SHA-256 (RFC 5869) of the audit secret, which lies outside the audit directory. */
export function deriveSecrets(secret: Uint8Array): AuditSecrets {
  if (secret.length !== auditSecretBytes) throw new RangeError('the audit secret has 32 bytes');
  const derive = (use: string) => new Uint8Array(hkdfSync('sha256', secret, '', `intaglio/${use}/v1`, 32));
  return {
    head: createSecretKey(derive('audit-head')),
    anchor: createSecretKey(derive('audit-anchor')),
    snapshot: createSecretKey(derive('audit-snapshot')),
    inputRoot: derive('audit-input-root'),
  };
}
