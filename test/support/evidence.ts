import assert from 'node:assert/strict';
import { call, helloWorldB3, type InProcessService } from './service.ts';

/** The kid of a new key, Ed25519 where the body does not say otherwise. */
export async function makeKey(of: InProcessService, token: string, body: object): Promise<string> {
  const made = await call(of, token, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519', ...body });
  assert.equal(made.status, 201, JSON.stringify(made.body));
  return made.body.kid;
}

/** `nonce` null: without one. */
export const attestPath = (kid: string, nonce: string | null) =>
  `/v1/kms/attest?kid=${encodeURIComponent(kid)}${nonce === null ? '' : `&nonce=${nonce}`}`;

export const askEvidence = (of: InProcessService, token: string, kid: string, nonce: string | null) =>
  call(of, token, 'GET', attestPath(kid, nonce));

export const signHello = (of: InProcessService, token: string, kid: string) =>
  call(of, token, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
