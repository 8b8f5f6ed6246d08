import assert from 'node:assert/strict';
import test, { after, before, suite } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { MemoryContact, MemoryHome } from '../support/memory-home.ts';
import { call, helloWorldB3, type InProcessService, temporaryDirectory } from '../support/service.ts';

const nonceBytes = Buffer.alloc(16, 7);
const nonce = nonceBytes.toString('base64url');

let service: InProcessService;
let home: MemoryHome;
let contact: MemoryContact;
let acme: string;

before(async () => {
  contact = new MemoryContact();
  home = new MemoryHome('token', { contact });
  service = await startInProcess({ homes: [home] });
  acme = await service.mint(
    'acme',
    'kms:create,kms:read,kms:sign,kms:verify,kms:derive,kms:rotate,kms:audit',
  );
});

after(() => service.stop());

async function make(body: object, of = service, token = acme): Promise<string> {
  const made = await call(of, token, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519', ...body });
  assert.equal(made.status, 201, JSON.stringify(made.body));
  return made.body.kid;
}

const path = (kid: string, given: string | null) =>
  `/v1/kms/attest?kid=${encodeURIComponent(kid)}${given === null ? '' : `&nonce=${given}`}`;

const ask = (kid: string, given: string | null = nonce, token = acme, of = service) =>
  call(of, token, 'GET', path(kid, given));

const sign = (kid: string, of = service, token = acme) =>
  call(of, token, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });

suite('a service that requires evidence', () => {
  const required = { KMS_ATTEST_REQUIRE: 'true' };

  async function withToken(
    env: Record<string, string>,
    use: (of: InProcessService, token: MemoryHome) => Promise<void>,
  ) {
    const token = new MemoryHome('token');
    const of = await startInProcess({ env, homes: [token] });
    try {
      await use(of, token);
    } finally {
      await of.stop();
    }
  }

  test('signs with evidence, refuses without, and is not ready meanwhile', async () => {
    await withToken(required, async (of, token) => {
      const kid = await make({ policy: { backend: 'token' } }, of, of.token);
      assert.equal((await sign(kid, of, of.token)).body.attestation, undefined, 'nobody asked to see it');
      const mute = await make({ policy: { backend: 'token' } }, of, of.token);
      token.beforeEvidence = undefined;
      const unknown = await make({ policy: { backend: 'token' } }, of, of.token);
      assert.equal((await sign(unknown, of, of.token)).body.error.code, 'AttestationMissing');
      assert.equal((await call(of, of.token, 'GET', '/readyz')).status, 200, 'one key of many');
      token.beforeEvidence = () => Promise.reject(new Error('broken'));
      assert.equal((await sign(kid, of, of.token)).status, 200, 'by what is kept');
      assert.equal((await sign(mute, of, of.token)).body.error.code, 'AttestationMissing');
      const jwt = await call(of, of.token, 'POST', '/v1/kms/jwt', { kid: mute, claims: {} });
      assert.equal(jwt.body.error.code, 'AttestationMissing');
      const asked = token.evidenceAsked;
      assert.equal((await sign(mute, of, of.token)).status, 403);
      assert.equal(token.evidenceAsked, asked, 'a token that gives none is left alone for a while');
      const ready = await call(of, of.token, 'GET', '/readyz');
      assert.equal(ready.status, 503);
      assert.deepEqual(ready.body.missing, ['attestation']);
      const software = await make({}, of, of.token);
      assert.equal((await sign(software, of, of.token)).status, 200);
    });
  });

  test('with fail_open signs all the same, and says that it is degraded; a key that requires it is refused', async () => {
    await withToken({ ...required, KMS_ATTEST_FAIL_OPEN: 'true' }, async (of, token) => {
      token.beforeEvidence = undefined;
      const kid = await make({ policy: { backend: 'token', attest: true } }, of, of.token);
      assert.equal((await sign(kid, of, of.token)).status, 200);
      const ready = await call(of, of.token, 'GET', '/readyz');
      assert.equal(ready.status, 200);
      assert.ok(ready.body.degraded.includes('attestation'));
      const requiring = await make({ policy: { backend: 'token', attest: 'require' } }, of, of.token);
      assert.equal((await sign(requiring, of, of.token)).status, 403);
    });
  });

  test('keeps the log whose keys sign it; without a log there is no evidence to ask for', async () => {
    const off = { KMS_BACKEND: 'memory' };
    await assert.rejects(startInProcess({ env: { ...off, ...required }, dataDir: temporaryDirectory() }));
    const of = await startInProcess({ env: off });
    try {
      const admin = of.token;
      const kid = await make({}, of, admin);
      assert.equal((await ask(kid, nonce, admin, of)).body.error.code, 'Unsupported');
      const requiring = await make({ policy: { attest: 'require' } }, of, admin);
      assert.equal((await sign(requiring, of, admin)).body.error.code, 'AttestationMissing');
    } finally {
      await of.stop();
    }
  });
});
