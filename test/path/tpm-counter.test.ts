import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import test from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call, temporaryDirectory } from '../support/service.ts';
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
