import assert from 'node:assert/strict';
import { call, type JsonAnswer, type RunningService } from './service.ts';

export const base64 = (bytes: Uint8Array | string) => Buffer.from(bytes).toString('base64');

export const aeadAlgorithms = ['xaes-256-gcm', 'aes-256-gcm', 'chacha20-poly1305'] as const;
export const kemAlgorithms = ['x25519+ml-kem-768', 'x25519', 'ml-kem-768', 'ml-kem-1024'] as const;
/** All whose keys wrap; KWP takes no aad. */
export const wrappingAlgorithms = [...kemAlgorithms, ...aeadAlgorithms, 'aes-256-kwp'] as const;

/** Requests to a service that encrypts and wraps, of one capability. */
export function sealingClient(service: RunningService, token = service.token) {
  const post = (path: string, body: unknown = {}): Promise<JsonAnswer> =>
    call(service, token, 'POST', `/v1/kms${path}`, body);
  const good = async (path: string, body: unknown, expected = 200) => {
    const answer = await post(path, body);
    assert.equal(answer.status, expected, `${path}: ${JSON.stringify(answer.body)}`);
    return answer.body;
  };
  const act = (kid: string, action: string, body?: unknown) =>
    good(`/keys/${encodeURIComponent(idOf(kid))}/${action}`, body);
  return {
    post,
    good,
    /** A kid with its version. */
    create: async (alg: string, purpose = 'web'): Promise<string> =>
      (await good('/keys', { purpose, alg }, 201)).kid,
    rotate: async (kid: string): Promise<string> => (await act(kid, 'rotate')).kid,
    destroy: (kid: string, version?: number) =>
      act(kid, 'destroy', version === undefined ? undefined : { version }),
    get: (path: string) => call(service, token, 'GET', `/v1/kms${path}`),
  };
}

export type SealingClient = ReturnType<typeof sealingClient>;

export function idOf(kid: string): string {
  return kid.replace(/#v\d+$/, '');
}

export function codeOf({ status, body }: JsonAnswer): string {
  return status === 200 ? 'ok' : `${status} ${body.error.code}`;
}

/** One that is there with one bit of base64 text changed. */
export function flippedBit(text: string, at: number): string {
  const bytes = Buffer.from(text, 'base64');
  const place = at < 0 ? bytes.length + at : at;
  bytes[place] = (bytes[place] as number) ^ 1;
  return bytes.toString('base64');
}
