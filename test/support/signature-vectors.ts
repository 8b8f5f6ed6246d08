import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';

/** docs/vectors: what others can check their implementation against. */
export const publishedSignatures = new URL('../../docs/vectors/signatures/', import.meta.url);

/** As `sha256sum` writes it, of all vectors in the folder. */
export function checksumsOf(folder: URL): string {
  const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
  return names
    .sort()
    .map(
      (name) =>
        `${createHash('sha256')
          .update(readFileSync(new URL(name, folder)))
          .digest('hex')}  ${name}\n`,
    )
    .join('');
}

/** Bytes in base64. A key's secret is what a sealed blob of it holds: these keys protect nothing. */
export interface SignatureVectors {
  readonly algorithm: string;
  readonly secret_b64: string;
  readonly pubkey_b64: string;
  readonly spki_b64: string;
  readonly signatures: readonly SignatureVector[];
}

export interface SignatureVector {
  readonly alg: string;
  /** As in requests: exactly one of these four. */
  readonly payload_b3?: string;
  readonly message_b64?: string;
  readonly digest_b64?: string;
  readonly mu_b64?: string;
  readonly hash?: string;
  readonly context_b64?: string;
  readonly signature_b64: string;
}

/** One request of verification as it is, with the public keys it needs and the answers for each mode. */
export interface BundleVector {
  readonly algorithm: string;
  readonly components: readonly {
    readonly alg: string;
    readonly pubkey_b64: string;
    readonly spki_b64: string;
  }[];
  readonly payload_b3: string;
  readonly sigs: readonly { readonly alg: string; readonly signature_b64: string }[];
  readonly ok: Readonly<Record<'or' | 'and' | 'pq_only', boolean>>;
}
