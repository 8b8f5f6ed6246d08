import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { servedEngines } from '../support/engines.ts';
import { type InProcessOptions, startInProcess } from '../support/in-process.ts';
import { metric } from '../support/requests.ts';
import { call, helloWorldB3, type InProcessService, temporaryDirectory } from '../support/service.ts';

async function startFor(context: TestContext, options: InProcessOptions = {}): Promise<InProcessService> {
  const service = await startInProcess({ ...options, listen: false });
  context.after(() => service.stop());
  return service;
}

const create = async (service: InProcessService): Promise<string> =>
  (await call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'p', alg: 'ed25519' })).body.kid;

const sign = (service: InProcessService, kid: string, token = service.token) =>
  call(service, token, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });

for (const { name: KMS_ENGINE } of servedEngines()) {
  test(`two services in one process share nothing, and one goes on when the other ends (${KMS_ENGINE})`, async (context) => {
    const env = { KMS_ENGINE };
    const one = await startFor(context, { env });
    const other = await startFor(context, { env: { ...env, KMS_TELEMETRY_SERVICE: 'other' } });
    const [kid, otherKid] = [await create(one), await create(other)];
    for (let n = 0; n < 3; n++) assert.equal((await sign(one, kid)).status, 200);
    assert.equal((await sign(other, otherKid)).status, 200);
    assert.equal((await sign(other, kid)).status, 404);
    assert.equal((await sign(other, otherKid, one.token)).status, 401);

    const signed = 'op="sign",alg="ed25519",result="ok"';
    assert.deepEqual(
      [await metric(one, 'kms_ops_total', signed), await metric(other, 'kms_ops_total', signed)],
      [3, 1],
    );
    assert.equal(await metric(other, 'auth_failures_total', 'service="other"'), 1);
    assert.equal(await metric(one, 'auth_failures_total', 'service="intaglio"'), 0);

    assert.equal(await one.stop(), 0);
    assert.equal((await sign(other, otherKid)).status, 200);
    assert.equal((await call(other, undefined, 'GET', '/readyz')).body.ready, true);
  });
}

test('a service that has stopped refuses calls, and another one opens its directory', async (context) => {
  const first = await startFor(context);
  const kid = await create(first);
  assert.equal(await first.stop(), 0);
  assert.equal((await sign(first, kid)).body.error.code, 'NotReady');
  const second = await startFor(context, { dataDir: first.dataDir });
  assert.equal((await sign(second, kid)).status, 200);
});

test('a start that fails leaves nothing open', async (context) => {
  const { dataDir, stop } = await startFor(context);
  await stop();
  const policy = join(temporaryDirectory(), 'missing');
  await assert.rejects(
    startInProcess({ dataDir, env: { KMS_AUDIT_WITNESS_POLICY: policy } }),
    /StartError: the witness policy .* cannot be read/,
  );
  chmodSync(join(dataDir, 'macaroon.key'), 0o604);
  await assert.rejects(startInProcess({ dataDir }), /StartError: .*macaroon\.key may be read/);
  chmodSync(join(dataDir, 'macaroon.key'), 0o600);
  await startFor(context, { dataDir });
});

test('a service changes nothing of its process: umask, signals, environment', async (context) => {
  const signals = ['SIGTERM', 'SIGINT', 'SIGUSR1', 'SIGHUP'] as const;
  const state = () => ({
    umask: process.umask(),
    listeners: signals.map((signal) => process.listenerCount(signal)),
    environment: { ...process.env },
  });
  const before = state();
  const service = await startFor(context);
  await sign(service, await create(service));
  assert.deepEqual(state(), before);
  await service.stop();
  assert.deepEqual(state(), before);
});

test('all of it is in memory where the store is', async (context) => {
  const service = await startFor(context, { env: { KMS_BACKEND: 'memory' } });
  assert.equal((await sign(service, await create(service))).status, 200);
  assert.equal(await metric(service, 'kms_audit_ready'), 0);
});
