import { type MacKey, type MacKeyRef, softwareMacKey } from '../../core/mac-key.ts';

/** The uses of the audit secret, each with a key of its own. */
export interface AuditSecrets {
  /** Authenticates HEAD. */
  readonly head: MacKey;
  /** Authenticates the anchor in the key store. */
  readonly anchor: MacKey;
  /** Authenticates what sealed segments say of the keys' sequence numbers. */
  readonly snapshot: MacKey;
  /** The root of the tenants' input_hash keys. */
  readonly inputRoot: MacKey;
}

/** The form in which either thread of the log holds the secret. */
export interface SecretParts {
  /** Opens the log's secret in this thread; needed where it is not given as bytes. */
  macKey?(secret: MacKeyRef): MacKey;
}

export const auditSecretBytes = 32;

/**
 * HKDF-SHA-256 (RFC 5869) of the audit secret, which lies outside the audit directory. `secret` is what HKDF-Extract makes of
 * that file with an empty salt.
 */
export function deriveSecrets(secret: MacKey): AuditSecrets {
  return {
    head: secret.expand('intaglio/audit-head/v1'),
    anchor: secret.expand('intaglio/audit-anchor/v1'),
    snapshot: secret.expand('intaglio/audit-snapshot/v1'),
    inputRoot: secret.derive('intaglio/audit-input-root/v1'),
  };
}

export function openSecrets({ macKey = softwareMacKey }: SecretParts, secret: MacKeyRef): AuditSecrets {
  return deriveSecrets(macKey(secret));
}
