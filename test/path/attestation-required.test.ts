import assert from 'node:assert/strict';
import test, { suite } from 'node:test';
import { askEvidence, makeKey, signHello } from '../support/evidence.ts';
import { startInProcess } from '../support/in-process.ts';
import { MemoryHome } from '../support/memory-home.ts';
import { call, type InProcessService, temporaryDirectory } from '../support/service.ts';

const nonce = Buffer.alloc(16, 7).toString('base64url');

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
      const kid = await makeKey(of, of.token, { policy: { backend: 'token' } });
      assert.equal(
        (await signHello(of, of.token, kid)).body.attestation,
        undefined,
        'nobody asked to see it',
      );
      const mute = await makeKey(of, of.token, { policy: { backend: 'token' } });
      token.beforeEvidence = undefined;
      const unknown = await makeKey(of, of.token, { policy: { backend: 'token' } });
      assert.equal((await signHello(of, of.token, unknown)).body.error.code, 'AttestationMissing');
      assert.equal((await call(of, of.token, 'GET', '/readyz')).status, 200, 'one key of many');
      token.beforeEvidence = () => Promise.reject(new Error('broken'));
      assert.equal((await signHello(of, of.token, kid)).status, 200, 'by what is kept');
      assert.equal((await signHello(of, of.token, mute)).body.error.code, 'AttestationMissing');
      const jwt = await call(of, of.token, 'POST', '/v1/kms/jwt', { kid: mute, claims: {} });
      assert.equal(jwt.body.error.code, 'AttestationMissing');
      const asked = token.evidenceAsked;
      assert.equal((await signHello(of, of.token, mute)).status, 403);
      assert.equal(token.evidenceAsked, asked, 'a token that gives none is left alone for a while');
      const ready = await call(of, of.token, 'GET', '/readyz');
      assert.equal(ready.status, 503);
      assert.deepEqual(ready.body.missing, ['attestation']);
      const software = await makeKey(of, of.token, {});
      assert.equal((await signHello(of, of.token, software)).status, 200);
    });
  });

  test('with fail_open signs all the same, and says that it is degraded; a key that requires it is refused', async () => {
    await withToken({ ...required, KMS_ATTEST_FAIL_OPEN: 'true' }, async (of, token) => {
      token.beforeEvidence = undefined;
      const kid = await makeKey(of, of.token, { policy: { backend: 'token', attest: true } });
      assert.equal((await signHello(of, of.token, kid)).status, 200);
      const ready = await call(of, of.token, 'GET', '/readyz');
      assert.equal(ready.status, 200);
      assert.ok(ready.body.degraded.includes('attestation'));
      const requiring = await makeKey(of, of.token, { policy: { backend: 'token', attest: 'require' } });
      assert.equal((await signHello(of, of.token, requiring)).status, 403);
    });
  });

  test('keeps the log whose keys sign it; without a log there is no evidence to ask for', async () => {
    const off = { KMS_BACKEND: 'memory' };
    await assert.rejects(startInProcess({ env: { ...off, ...required }, dataDir: temporaryDirectory() }));
    const of = await startInProcess({ env: off });
    try {
      const admin = of.token;
      const kid = await makeKey(of, admin, {});
      assert.equal((await askEvidence(of, admin, kid, nonce)).body.error.code, 'Unsupported');
      const requiring = await makeKey(of, admin, { policy: { attest: 'require' } });
      assert.equal((await signHello(of, admin, requiring)).body.error.code, 'AttestationMissing');
    } finally {
      await of.stop();
    }
  });
});
