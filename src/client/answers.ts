import type { KeyEvidence } from './attestation.ts';
import type { KmsError } from './errors.ts';
import type { PublicKey, Signature } from './local-verification.ts';

/** Answers as the API has them (docs/api.md): what was signed, encrypted or wrapped is kept as JSON and given back as it is. */

export interface KeyMade {
  readonly kid: string;
  readonly public?: PublicKey;
  readonly created_at?: string;
  /** Of a rotation. */
  readonly previous?: string;
}

export interface KeyListing {
  readonly kid: string;
  readonly alg: string;
  readonly purpose: string;
  readonly state: string;
  readonly current_version: number;
  readonly created_at: string;
}

export interface KeyVersion {
  readonly kid: string;
  readonly version: number;
  readonly state: string;
  readonly created_at: string;
  readonly public?: PublicKey;
  readonly source?: string;
  readonly derived_from?: string;
}

export interface KeyDetails extends Omit<KeyListing, 'created_at'> {
  readonly versions: readonly KeyVersion[];
  readonly backend: string;
  readonly attestation_class: string;
  readonly policy?: { readonly usages: readonly string[] };
}

export interface WrappingKey {
  readonly wrapping_key_id: string;
  readonly alg: string;
  readonly public: PublicKey;
  readonly expires_at: string;
  readonly info?: string;
}

export interface SignAnswer {
  readonly kid: string;
  readonly sigs: readonly Signature[];
  readonly receipts?: readonly {
    readonly kid: string;
    readonly index: number;
    readonly seq: number;
    readonly salt_b64?: string;
  }[];
  /** Of each key whose policy asks for it. */
  readonly attestation?: readonly KeyEvidence[];
}

export interface VerifyAnswer {
  readonly ok: boolean;
  readonly details: {
    readonly checked: readonly {
      readonly kid: string;
      readonly alg: string;
      readonly ok: boolean;
      readonly reason?: string;
    }[];
    readonly satisfied_mode: string;
    readonly reason?: string;
  };
  readonly hints: { readonly kids: readonly string[]; readonly algs: readonly string[] };
}

export interface EncryptAnswer {
  readonly kid: string;
  readonly nonce_b64: string;
  readonly ciphertext_b64: string;
}

export interface WrapAnswer {
  readonly kid: string;
  readonly wrapped_b64: string;
}

export interface OpenedAnswer {
  readonly plaintext_b64: string;
}

export interface SealedAnswer {
  readonly sealed_b64: string;
}

export interface LoadAnswer {
  readonly queue: {
    readonly waiting_calls: number;
    readonly waiting_cost_us: number;
    readonly active_tenants: number;
  };
  readonly window_s: number;
  readonly latency: readonly {
    readonly op: string;
    readonly alg: string;
    readonly count: number;
    readonly p50_ms: number;
    readonly p95_ms: number;
    readonly p99_ms: number;
    readonly max_ms: number;
  }[];
  readonly tenants: readonly { readonly tenant: string; readonly share: number }[];
}

export type BatchResult<A> =
  | { readonly ok: true; readonly value: A }
  | { readonly ok: false; readonly error: KmsError };
