import { randomBytes } from 'node:crypto';
import {
  developmentApproval,
  developmentMode,
  developmentPlace,
} from '../../test/support/development-mode.ts';
import type { LoadRequest } from '../load/plan.ts';
import { ask, askAll } from './client.ts';
import { type Product, type ProductOptions, startProduct } from './product.ts';

/** The caller of development mode, whose agreements hold for everything and as often as they are sent. */
const headers = { 'X-Client-Certificate': 'bench' };
const agreed = { ...headers, 'X-Approval-Token': developmentApproval };
const placeQuery = new URLSearchParams({ ...developmentPlace }).toString();

/** Data that are signed, and texts that are encrypted; a TLS record has 16 KiB, most secrets less than this. */
export const dataBytes = 256;
export const plaintextBytes = 1024;

/** The service with `/kms/v1` in development mode; the other settings as in all benches. */
export function startKmsV1({ env, ...options }: ProductOptions = {}): Promise<Product> {
  return startProduct({ ...options, env: { ...developmentMode, ...env } });
}

function post(path: string, body: Readonly<Record<string, unknown>>, change = false): LoadRequest {
  return {
    ...{ method: 'POST', path: `/kms/v1${path}`, token: '' },
    body: JSON.stringify({ ...developmentPlace, ...body }),
    headers: change ? agreed : headers,
  };
}

export function get(path: string, query = ''): LoadRequest {
  const more = query === '' ? '' : `&${query}`;
  return { ...{ method: 'GET', path: `/kms/v1${path}?${placeQuery}${more}`, token: '' }, headers };
}

export type KeyType = 'RSA-2048' | 'Ed25519' | 'AES-256';

export function generateRequest(key_type: KeyType): LoadRequest {
  const key_usage = key_type === 'AES-256' ? ['encrypt', 'decrypt'] : ['sign', 'verify'];
  return post('/keys', { key_type, key_usage }, true);
}

/** The ids of new keys. */
export async function generateKeys(
  port: number,
  type: KeyType,
  count: number,
  onProgress?: (done: number) => void,
): Promise<readonly string[]> {
  const requests = Array.from({ length: count }, () => generateRequest(type));
  const made = (await askAll(port, requests, onProgress)) as { key_id: string }[];
  return made.map(({ key_id }) => key_id);
}

export interface Signing {
  readonly keyId: string;
  readonly algorithm: 'EdDSA' | 'RSA-PSS-SHA256' | 'RSA-PKCS1v15-SHA256';
}

export function signRequest({ keyId, algorithm }: Signing): LoadRequest {
  return post('/sign', { key_id: keyId, algorithm, data: base64(dataBytes) });
}

/** Requests that verify what the service has signed for these; each of its own data. */
export async function verifyRequests(
  port: number,
  signings: readonly Signing[],
): Promise<readonly LoadRequest[]> {
  const signed = signings.map((signing) => ({ ...signing, data: base64(dataBytes) }));
  const answers = (await askAll(
    port,
    signed.map(({ keyId, algorithm, data }) => post('/sign', { key_id: keyId, algorithm, data })),
  )) as { signature: string }[];
  const requests = signed.map(({ keyId, algorithm, data }, n) =>
    post('/verify', { key_id: keyId, algorithm, data, signature: answers[n]?.signature }),
  );
  // A signature that is not valid is an answer with status 200, too.
  const verdicts = (await askAll(port, requests)) as { valid: boolean }[];
  if (verdicts.some(({ valid }) => !valid)) throw new Error('a signature of the service is not valid');
  return requests;
}

export function encryptRequest(keyId: string): LoadRequest {
  return post('/encrypt', { key_id: keyId, plaintext: base64(plaintextBytes) });
}

/** Requests that decrypt what the service has encrypted with these keys. */
export async function decryptRequests(
  port: number,
  keyIds: readonly string[],
): Promise<readonly LoadRequest[]> {
  const encrypted = (await askAll(port, keyIds.map(encryptRequest))) as Sealed[];
  const requests = encrypted.map(({ key_id, algorithm, ciphertext, iv }) =>
    post('/decrypt', { key_id, algorithm, ciphertext, iv }),
  );
  await ask(port, requests[0] as LoadRequest);
  return requests;
}

interface Sealed {
  readonly key_id: string;
  readonly algorithm: string;
  readonly ciphertext: string;
  readonly iv: string;
}

function base64(bytes: number): string {
  return randomBytes(bytes).toString('base64');
}
