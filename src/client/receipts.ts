import { ed25519 } from '@noble/curves/ed25519.js';
import { parseVkey } from './attestation.ts';
import { fromBase64 } from './bytes.ts';

/** A receipt of a call, as `GET /kms/v1/receipts/{id}` answers (docs/receipts.md). Members that a call does not have are null. */
export interface CallReceipt {
  readonly receipt_id: string;
  /** RFC 3339, UTC. */
  readonly ts: string;
  readonly tenant_id: string;
  readonly environment: string | null;
  readonly plane: string | null;
  readonly module: string;
  readonly operation: string;
  readonly kms_context: {
    readonly key_id: string | null;
    readonly operation_type: string;
    readonly algorithm: string | null;
    readonly key_size_bits: number | null;
    readonly success: boolean;
    readonly error_code: string | null;
  };
  readonly requesting_module: string;
  readonly audit: { readonly index: number; readonly origin: string };
  readonly signature: { readonly algorithm: string; readonly key: string; readonly value: string };
}

export interface ReceiptExpectations {
  /** Verifier keys of the service's audit log that you trust: GET /v1/kms/audit/vkeys, or better by another way. */
  readonly keys: readonly string[];
  /** Undefined: of any tenant. */
  readonly tenant?: string;
}

/**
 * `malformed`: no receipt. `untrusted_key`: signed by a key that is not among `keys`. `wrong_issuer`: the key is of another log than the
 * receipt says. `bad_signature`: it was altered. `wrong_tenant`.
 */
export type ReceiptFault = 'malformed' | 'untrusted_key' | 'wrong_issuer' | 'bad_signature' | 'wrong_tenant';

export type VerifiedReceipt =
  | { readonly ok: true; readonly receipt: CallReceipt }
  | { readonly ok: false; readonly reason: ReceiptFault };

/**
 * Verifies a receipt with no service. Every member is covered by the signature, also those that this version does not know. `receipt`:
 * what JSON.parse gave.
 */
export function verifyReceipt(receipt: unknown, { keys, tenant }: ReceiptExpectations): VerifiedReceipt {
  if (!isReceipt(receipt)) return fault('malformed');
  const { signature, ...signed } = receipt;
  const key = keys.flatMap((vkey) => parseVkey(vkey) ?? []).find(({ kid }) => kid === signature.key);
  if (key === undefined || key.alg !== 'EdDSA') return fault('untrusted_key');
  const message = new TextEncoder().encode(inCanonicalForm(signed));
  if (!isSignature(signature.value, message, key.publicKey)) return fault('bad_signature');
  if (key.name !== receipt.audit.origin) return fault('wrong_issuer');
  if (tenant !== undefined && tenant !== receipt.tenant_id) return fault('wrong_tenant');
  return { ok: true, receipt };
}

function fault(reason: ReceiptFault): VerifiedReceipt {
  return { ok: false, reason };
}

function isSignature(value: string, message: Uint8Array, publicKey: Uint8Array): boolean {
  try {
    return ed25519.verify(fromBase64(value), message, publicKey, { zip215: false });
  } catch {
    return false;
  }
}

function isReceipt(value: unknown): value is CallReceipt {
  const { audit, kms_context: context, signature, tenant_id: tenant, receipt_id: id } = objectOf(value);
  const { algorithm, key, value: text } = objectOf(signature);
  const texts = [tenant, id, key, text, objectOf(audit).origin];
  return (
    algorithm === 'Ed25519' &&
    typeof objectOf(context).success === 'boolean' &&
    texts.every((one) => typeof one === 'string')
  );
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** RFC 8785: members in the order of their UTF-16 code units; texts and numbers are as JSON.stringify writes them. */
function inCanonicalForm(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(inCanonicalForm).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).sort(([one], [two]) => (one < two ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${inCanonicalForm(member)}`).join(',')}}`;
}
