import { createHash } from 'node:crypto';
import type { LoadRequest } from '../load/plan.ts';

/** Sixteen payloads in turn, so that no answer could be a remembered one. */
const payloads = Array.from({ length: 16 }, (_, n) =>
  createHash('sha256').update(`payload ${n}`).digest('hex'),
);

/** A key of the service and a capability that may use it. */
export interface UsableKey {
  readonly kid: string;
  readonly token: string;
}

export function signRequests(key: UsableKey, headers: Readonly<Record<string, string>> = {}): LoadRequest[] {
  return payloads.map((payload_b3) => ({
    method: 'POST',
    path: '/v1/kms/sign',
    token: key.token,
    body: JSON.stringify({ kid: key.kid, payload_b3 }),
    headers,
  }));
}

/** One request a payload and key, keys in turn. */
export function signRequestsOf(keys: readonly UsableKey[]): LoadRequest[] {
  const rounds = Math.max(1, Math.ceil(payloads.length / keys.length));
  return Array.from({ length: rounds }, (_, round) =>
    keys.map((key, n) => {
      const payload_b3 = payloads[(round + n) % payloads.length];
      return {
        method: 'POST' as const,
        path: '/v1/kms/sign',
        token: key.token,
        body: JSON.stringify({ kid: key.kid, payload_b3 }),
      };
    }),
  ).flat();
}

export function signBatchRequest(key: UsableKey, size: number): LoadRequest {
  const items = Array.from({ length: size }, (_, n) => ({
    kid: key.kid,
    payload_b3: payloads[n % payloads.length],
  }));
  return {
    method: 'POST',
    path: '/v1/kms/sign/batch',
    token: key.token,
    body: JSON.stringify({ items }),
  };
}

export function verifyRequest(key: UsableKey, signed: SignAnswer, payload_b3: string): LoadRequest {
  return {
    method: 'POST',
    path: '/v1/kms/verify',
    token: key.token,
    body: JSON.stringify({
      payload_b3,
      sigs: signed.sigs.map(({ kid, signature_b64 }) => ({ kid, signature_b64 })),
    }),
  };
}

export function readKeyRequest(key: UsableKey): LoadRequest {
  return { method: 'GET', path: `/v1/kms/keys/${encodeURIComponent(key.kid)}`, token: key.token };
}

export interface SignAnswer {
  readonly kid: string;
  readonly sigs: readonly {
    readonly kid: string;
    readonly alg: string;
    readonly signature_b64: string;
  }[];
}

export const firstPayload = payloads[0] as string;
