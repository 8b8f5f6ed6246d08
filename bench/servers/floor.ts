import { randomBytes, randomUUID } from 'node:crypto';
import type { ComparatorReady } from '../support/target.ts';
import { answerJson, serveUws } from './uws.ts';

/**
 * Comparator: what a request costs before anything is done for it. Reads the body, answers with the same bytes every
 * time, as many as an Ed25519 signature's answer has.
 */
const kid = `comparison/bench/ed25519/${randomUUID()}#v1`;
const answer = JSON.stringify({
  kid,
  sigs: [{ kid, alg: 'ed25519', signature_b64: randomBytes(64).toString('base64') }],
});

serveUws(
  '/v1/kms/sign',
  (res) => answerJson(res, '200 OK', answer),
  (port) => process.stdout.write(`${JSON.stringify({ port, keys: {} } satisfies ComparatorReady)}\n`),
);
