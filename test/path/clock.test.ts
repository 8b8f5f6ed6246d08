import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { openSystemCalls } from '../../src/engine/system-calls.ts';
import { call, helloWorldB3, startService, temporaryDirectory } from '../support/service.ts';

/** A service whose clock is set. */
async function serviceWith(context: TestContext, dataDir: string, clock: Record<string, string>) {
  const preload = new URL(`../support/set-clock.ts?${new URLSearchParams(clock)}`, import.meta.url);
  const service = await startService({
    dataDir,
    program: ['--import', preload.href, 'src/cli/main.ts', 'serve'],
  });
  context.after(() => service.kill());
  return service;
}

/** What `/readyz` says; of `degraded`, whether `clock` is there. */
async function readiness(service: { readonly url: string }) {
  const { status, body } = await call(service, undefined, 'GET', '/readyz');
  return [status, body.ready, body.missing, body.degraded.includes('clock')];
}

test('a clock that was ahead once: keys are used, /readyz names `clock` under degraded and not under missing', async (context) => {
  const dataDir = temporaryDirectory();
  const ahead = await serviceWith(context, dataDir, { aheadMs: '7200000' });
  assert.deepEqual(await readiness(ahead), [200, true, [], false]);
  assert.equal(await ahead.stop(), 0);

  const behind = await serviceWith(context, dataDir, {});
  await behind.logged((line) => line.includes('"audit_clock"') && line.includes('behind the last record'));
  assert.deepEqual(await readiness(behind), [200, true, [], true]);
  const token = await behind.mint('default');
  const made = await call(behind, token, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' });
  const sign = { kid: made.body.kid, payload_b3: helloWorldB3 };
  assert.equal((await call(behind, token, 'POST', '/v1/kms/sign', sign)).status, 200);
});

test('a clock that nothing keeps right: /readyz names `clock` under degraded and not under missing', {
  skip: openSystemCalls().clockSynchronised() === undefined && 'no native addon to ask the kernel with',
}, async (context) => {
  const service = await serviceWith(context, temporaryDirectory(), { synchronised: 'no' });
  assert.deepEqual(await readiness(service), [200, true, [], true]);
});
