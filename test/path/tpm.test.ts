import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, temporaryDirectory } from '../support/service.ts';
import { createSwtpm, noSwtpm } from '../support/swtpm.ts';
import { acceptTampered } from '../support/tampered-store.ts';

test('a data directory that was put back whole is refused by the counter in the TPM, until that is accepted and audited', {
  skip: noSwtpm,
  timeout: 120_000,
}, async () => {
  const tpm = await createSwtpm();
  try {
    const [dataDir, copy] = [temporaryDirectory(), temporaryDirectory()];
    const env = { KMS_TPM: tpm.tcti, KMS_TPM_COUNTER: '0x01800200' };
    const first = await startInProcess({ dataDir, env });
    await first.stop();
    cpSync(dataDir, copy, { recursive: true });
    const second = await startInProcess({ dataDir, env });
    await call(second, second.token, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' });
    await second.stop();
    rmSync(dataDir, { recursive: true });
    cpSync(copy, dataDir, { recursive: true });

    assert.match(await acceptTampered({ dataDir, env }), /it was put back: the TPM has counted to/);
    const third = await startInProcess({ dataDir, env });
    try {
      const { body } = await call(third, third.token, 'GET', '/readyz');
      assert.deepEqual(body.missing, []);
      assert.ok(!body.degraded.includes('tpm_counter'));
    } finally {
      await third.stop();
    }
  } finally {
    await tpm.remove();
  }
});

test('a key in the TPM signs, is refused while the TPM is gone, verifies meanwhile, and signs when it is back', {
  skip: noSwtpm,
  timeout: 120_000,
}, async () => {
  const tpm = await createSwtpm();
  const service = await startInProcess({ dataDir: temporaryDirectory(), env: { KMS_TPM: tpm.tcti } });
  try {
    const ask = (path: string, body: object) => call(service, service.token, 'POST', path, body);
    const made = await ask('/v1/kms/keys', {
      ...{ purpose: 'test', alg: 'ecdsa-p256' },
      policy: { backend: 'tpm' },
    });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    const { kid } = made.body;
    const sign = () => ask('/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
    const signed = await sign();
    assert.equal(signed.status, 200);
    const verify = () => ask('/v1/kms/verify', { payload_b3: helloWorldB3, sigs: signed.body.sigs });
    assert.equal((await verify()).body.ok, true);

    await tpm.stop();
    assert.equal((await sign()).status, 503);
    assert.equal((await verify()).body.ok, true);
    const ready = await call(service, service.token, 'GET', '/readyz');
    assert.ok(ready.body.degraded.includes('backend_tpm'));

    await tpm.start();
    while ((await sign()).status !== 200) await sleep(50);
  } finally {
    await service.stop();
    await tpm.remove();
  }
});
