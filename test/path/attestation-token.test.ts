import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import { type KeyEvidence, verifyAttestation } from '../../src/client/attestation.ts';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3 } from '../support/service.ts';
import { createSoftHsm, noSoftHsm, softHsmModule } from '../support/softhsm.ts';

test('SoftHSM2 says of a key that the service made there, and of one that it found there, that it never left', {
  skip: noSoftHsm,
}, async () => {
  const softHsm = createSoftHsm();
  const token = softHsm.makeToken('attested');
  // Made in the token by other software.
  execFileSync('pkcs11-tool', [
    ...['--module', softHsmModule ?? '', '--token-label', token.label, '--login', '--pin', '123456'],
    ...['--keypairgen', '--key-type', 'EC:prime256v1', '--label', 'theirs', '--id', '0a', '--usage-sign'],
  ]);
  const service = await startInProcess({
    env: { ...softHsm.environment(token), KMS_ATTEST_REQUIRE: 'true' },
  });
  try {
    const admin = service.token;
    const { vkeys: keys } = (await call(service, admin, 'GET', '/v1/kms/audit/vkeys')).body;
    const made = async (alg: string, policy: object): Promise<string> => {
      const body = { purpose: 'test', alg, policy: { backend: 'pkcs11', attest: true, ...policy } };
      const answer = await call(service, admin, 'POST', '/v1/kms/keys', body);
      assert.equal(answer.status, 201, JSON.stringify(answer.body));
      return answer.body.kid;
    };
    for (const [alg, policy, origin] of [
      ['ed25519', {}, 'generated'],
      ['ecdsa-p256', { adopt: { label: 'theirs' } }, 'adopted'],
    ] as const) {
      const kid = await made(alg, policy);
      const signed = await call(service, admin, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
      assert.equal(signed.status, 200, JSON.stringify(signed.body));
      const [evidence] = signed.body.attestation as [KeyEvidence];
      const verdict = verifyAttestation(evidence, { keys, kid });
      assert.ok(verdict.ok, JSON.stringify(verdict));
      const { intaglio_key: key, submods } = verdict.claims;
      assert.deepEqual([key.backend, key.class, key.origin], ['pkcs11', 'pkcs11', origin]);
      const { label, manufacturer, keys: attributes } = submods?.token.intaglio_token ?? {};
      assert.deepEqual([label, manufacturer], ['attested', 'SoftHSM project']);
      assert.equal(attributes?.length, 1);
      assert.equal(attributes?.[0]?.local, true);
      assert.equal(attributes?.[0]?.never_extractable, true);
      assert.equal(attributes?.[0]?.always_sensitive, true);
    }
    assert.equal((await call(service, admin, 'GET', '/readyz')).status, 200);
  } finally {
    await service.stop();
    softHsm.remove();
  }
});

test('the profile macronode needs a token, and is ready with one', { skip: noSoftHsm }, async () => {
  const softHsm = createSoftHsm();
  const env = { KMS_PROFILE: 'macronode', ...softHsm.environment(softHsm.makeToken('macro')) };
  const service = await startInProcess({ env });
  try {
    assert.equal((await call(service, service.token, 'GET', '/readyz')).status, 200);
    const body = { purpose: 'test', alg: 'ed25519', policy: { backend: 'pkcs11' } };
    const { kid } = (await call(service, service.token, 'POST', '/v1/kms/keys', body)).body;
    // A classical key alone satisfies no hybrid-AND, but what is produced is its own.
    const signed = await call(service, service.token, 'POST', '/v1/kms/sign', {
      kid,
      payload_b3: helloWorldB3,
    });
    assert.ok([200, 403].includes(signed.status), JSON.stringify(signed.body));
  } finally {
    await service.stop();
    softHsm.remove();
  }
});
