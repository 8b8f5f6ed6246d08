import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call } from '../support/service.ts';

// RFC 9562 section 5.7.
const uuidv7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

async function start(t: TestContext, mode: string) {
  const service = await startInProcess({
    env: { KMS_BACKEND: 'memory', KMS_CORRELATION_ID_MODE: mode },
  });
  t.after(() => service.stop());
  const idOf = async (sent?: string, path = '/v1/kms/keys') => {
    const headers = sent === undefined ? {} : { 'x-corr-id': sent };
    return (await call(service, service.token, 'GET', path, undefined, headers)).headers.get('x-corr-id');
  };
  return { service, idOf };
}

test('every answer has a correlation id where one is to be made, and one that came is passed on', async (t) => {
  const { idOf } = await start(t, 'uuidv7');
  const [first, second] = [await idOf(), await idOf()];
  assert.match(first ?? '', uuidv7);
  assert.match(second ?? '', uuidv7);
  assert.notEqual(first, second);
  assert.equal(await idOf('order-17'), 'order-17');
  // One that no header may hold is as none.
  assert.match((await idOf('x'.repeat(129))) ?? '', uuidv7);
  assert.match((await idOf(undefined, '/v1/kms/nowhere')) ?? '', uuidv7);
  assert.match((await idOf(undefined, '/healthz')) ?? '', uuidv7);
});

test('where ids are only passed on, nothing is made; a reload changes that', async (t) => {
  const { service, idOf } = await start(t, 'passthrough');
  assert.equal(await idOf(), null);
  assert.equal(await idOf('order-17'), 'order-17');
  service.reload({ KMS_CORRELATION_ID_MODE: 'uuidv7' });
  assert.match((await idOf()) ?? '', uuidv7);
});
