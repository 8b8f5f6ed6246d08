import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import test, { after, before, describe } from 'node:test';
import { attenuateToken, mintToken } from '../../src/auth/macaroon/mint.ts';
import { startInProcess } from '../support/in-process.ts';
import {
  allScopes,
  assertEnvelope,
  exchange,
  metric,
  mintFor,
  type RawRequest,
} from '../support/requests.ts';
import { call, helloWorldB3, type InProcessService } from '../support/service.ts';
import { type Case, canary, cases, type Facts, flipped, path } from './bad-input-table.ts';
import './bad-input-bodies.ts';
import './bad-input-keys.ts';
import './bad-input-sealing.ts';
import './bad-input-signed.ts';
import { uuid } from './bad-input-keys.ts';

describe('bad input', { timeout: 120_000 }, () => {
  let service: InProcessService;
  let facts: Facts;

  before(async () => {
    service = await startInProcess({
      env: { KMS_BATCH_MAX_ITEMS: '16', KMS_ALLOWED_ALGS: 'ed25519,ml-dsa-65,rsa-2048,xaes-256-gcm' },
    });
    facts = await prepare(service);
  });
  after(async () => {
    assert.equal(await service.stop(), 0);
    assert.equal(service.log.filter((line) => /"level":"(error|fatal)"/.test(line)).join('\n'), '');
  });

  const mostOf = (wanted: (one: Case) => boolean) => cases.filter(wanted).length;
  test('are many', () => {
    assert.ok(cases.length >= 120);
    assert.ok(mostOf(({ status }) => status === 400) > 60);
    assert.equal(new Set(cases.map(({ name }) => name)).size, cases.length);
  });

  for (const { name, request, status, code } of cases) {
    test(`${name}: ${status} ${code}`, async () => {
      const { json, ...wanted } = request(facts);
      const body = wanted.body ?? (json === undefined ? undefined : JSON.stringify(json));
      const sent: RawRequest = {
        method: 'POST',
        path: '/v1/kms/sign',
        token: facts.token,
        ...wanted,
        ...(body === undefined ? {} : { body }),
      };
      const answer = await exchange(service, sent);
      assertEnvelope(answer, status, code);
      // A body that is not read to its end; a member that is too long was read.
      if (wanted.headers?.['content-length'] !== undefined) assert.equal(answer.headers.connection, 'close');
      assert.equal(leaked(sent, answer.text), undefined);
    });
  }

  test("another tenant's key and one that does not exist have the same answer", async () => {
    const bodies = [];
    for (const kid of [facts.foreign, facts.missing]) {
      for (const sent of [
        { method: 'GET', path: path(kid) },
        { method: 'POST', path: path(kid, '/rotate') },
        { method: 'POST', path: path(kid, '/destroy'), body: '{"version":1}' },
        { method: 'POST', path: '/v1/kms/sign', body: JSON.stringify({ kid, payload_b3: helloWorldB3 }) },
      ]) {
        const { status, headers, text } = await exchange(service, { ...sent, token: facts.token });
        const { 'x-request-id': requestId, date, ...others } = headers;
        const fixed = text
          .replace(requestId as string, 'request id')
          .replace(/"ts":"[^"]{24}"/, '"ts":"now"');
        bodies.push({ status, others, fixed });
      }
    }
    assert.deepEqual(bodies.slice(0, 4), bodies.slice(4));
    assert.equal(bodies[0]?.status, 404);
  });

  test('a batch of bad items answers each one in its place', async () => {
    const good = { kid: facts.kid, payload_b3: helloWorldB3 };
    const items = [null, good, 7, [], {}, { ...good, [canary]: 1 }, { ...good, kid: facts.foreign }, good];
    const answer = await call(service, facts.token, 'POST', '/v1/kms/sign/batch', { items });
    assert.equal(answer.status, 200);
    const codes = answer.body.results.map((result: { error?: { code: string } }) => result.error?.code);
    const bad = 'BadRequest';
    assert.deepEqual(codes, [bad, undefined, bad, bad, bad, bad, 'NotFound', undefined]);
    for (const { error } of answer.body.results) {
      if (error === undefined) continue;
      assert.deepEqual(
        Object.keys(error).filter((member) => member !== 'hint'),
        ['code', 'message', 'retryable'],
      );
    }
    assert.ok(!JSON.stringify(answer.body).includes(canary));
  });

  test('was counted, and the service signs as before', async () => {
    const unauthenticated = mostOf(({ status }) => status === 401);
    assert.equal(await metric(service, 'auth_failures_total', 'service="intaglio"'), unauthenticated);
    for (const [reason, count] of Object.entries({
      unauth: unauthenticated,
      scope: mostOf(({ status, code }) => status === 403 && code === 'NoCapability'),
      bad_request: mostOf(({ code }) => code === 'BadRequest'),
      too_large: mostOf(({ status }) => status === 413),
      decompress_cap: mostOf(({ status }) => status === 415),
    })) {
      assert.equal(await metric(service, 'kms_reject_total', `reason="${reason}"`), count, reason);
    }
    const [policy, pqPolicy] = await Promise.all(
      ['policy', 'pq_policy'].map((reason) => metric(service, 'kms_reject_total', `reason="${reason}"`)),
    );
    const violations = mostOf(({ code }) => code === 'PolicyViolation');
    assert.equal((policy ?? 0) + (pqPolicy ?? 0), violations, 'policy');
    const signed = await call(service, facts.token, 'POST', '/v1/kms/sign', {
      kid: facts.kid,
      payload_b3: helloWorldB3,
    });
    assert.equal(signed.status, 200);
    assert.equal(signed.body.sigs[0].signature_b64, facts.signature);
  });
});

/** Names that hints may use. */
const vocabulary = new Set([
  ...['signature_b64', 'kid_or_set', 'payload_b3', 'constructor'],
  ...['message_b64', 'digest_b64', 'context_b64'],
  ...['plaintext_b64', 'plaintext', 'ciphertext_b64', 'nonce_b64', 'wrapped_b64'],
]);

/** A piece of the request that the answer repeats, if there is one. */
function leaked({ path, headers, body }: RawRequest, text: string): string | undefined {
  const sent = [path, ...Object.values(headers ?? {}), Buffer.from(body ?? '').toString('latin1')].join(' ');
  const pieces = new Set(sent.slice(0, 100_000).split(/[^A-Za-z0-9+/=_.%-]+/));
  return [canary, ...pieces].find(
    (piece) => piece.length >= 8 && !vocabulary.has(piece) && text.includes(piece),
  );
}

async function prepare(service: InProcessService): Promise<Facts> {
  const { token, dataDir } = service;
  const make = async (alg: string, by = token, more: Record<string, unknown> = {}) => {
    const made = await call(service, by, 'POST', '/v1/kms/keys', { purpose: 'p', alg, ...more });
    assert.equal(made.status, 201);
    return made.body.kid as string;
  };
  const usedOpId = randomUUID();
  const first = await make('ed25519', token, { op_id: usedOpId });
  const id = first.replace('#v1', '');
  const rotated = await call(service, token, 'POST', path(id, '/rotate'));
  const kid = rotated.body.kid as string;
  const destroyed = await make('ed25519');
  await call(service, token, 'POST', path(destroyed.replace('#v1', ''), '/destroy'));
  const signed = await call(service, token, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
  const other = mintFor(dataDir, { tenant: 'other', scopes: allScopes });
  const foreign = await make('ed25519', other);
  const destroyedAead = await make('xaes-256-gcm');
  await call(service, token, 'POST', path(destroyedAead.replace('#v1', ''), '/destroy'));

  const fresh = mintFor(dataDir, { tenant: 'default', scopes: allScopes });
  const hourMs = 3_600_000;
  const now = Date.now();
  const past = attenuateToken(token, { expiresAtMs: now - hourMs });
  const strange = mintToken({
    rootKey: createHash('sha256').update('another root key').digest(),
    tenant: 'default',
    scopes: allScopes,
  });
  assert.ok(past.ok && strange.ok);
  const without = (...scopes: string[]) =>
    mintFor(dataDir, { tenant: 'default', scopes: allScopes.filter((scope) => !scopes.includes(scope)) });
  return {
    token,
    kid,
    id,
    mlDsa: (await make('ml-dsa-65')).replace('#v1', ''),
    rsa: await make('rsa-2048'),
    aead: await make('xaes-256-gcm'),
    destroyedAead,
    foreignAead: await make('xaes-256-gcm', other),
    destroyed,
    foreign,
    missing: `default/p/ed25519/${uuid}#v1`,
    signature: signed.body.sigs[0].signature_b64,
    usedOpId,
    tokens: {
      expired: mintFor(dataDir, { tenant: 'default', scopes: allScopes, expiresAtMs: now - hourMs }),
      'not yet valid': mintFor(dataDir, { tenant: 'default', scopes: allScopes, notBeforeMs: now + hourMs }),
      'attenuated into the past': past.value,
      'of another root key': strange.value,
      'with its first byte changed': flipped(fresh, 0),
      'with a byte of its caveats changed': flipped(fresh, Math.floor(fresh.length / 2)),
      'with its last byte changed': flipped(fresh, fresh.length - 3),
      'cut in half': fresh.slice(0, fresh.length / 2),
      'with a character less': fresh.slice(0, -1),
      'with a character more': `${fresh}A`,
      twice: fresh + fresh,
      'of 5 characters': 'AgIQe',
      padded: `${fresh}=`,
      // kms:rotate also permits creating.
      'all but create': without('kms:create', 'kms:rotate'),
      'all but read': without('kms:read'),
      'all but rotate': without('kms:rotate'),
      'all but destroy': without('kms:destroy'),
      'all but sign': without('kms:sign'),
      'all but verify': without('kms:verify'),
      'all but encrypt': without('kms:encrypt'),
      'all but decrypt': without('kms:decrypt'),
      'all but wrap': without('kms:wrap'),
      'all but unwrap': without('kms:unwrap'),
      'all but rewrap': without('kms:wrap'),
      'all but datakey': without('kms:wrap'),
      'all but random': without('kms:read'),
      'all but derive': without('kms:derive'),
      'all but seal': without('kms:wrap'),
      'all but unseal': without('kms:unwrap'),
      'all but import': without('kms:create', 'kms:rotate'),
    },
  };
}
