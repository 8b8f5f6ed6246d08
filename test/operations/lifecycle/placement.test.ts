import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { KeyAccess } from '../../../src/keys/record.ts';
import {
  algorithmOfType,
  standardSchemeName,
  typeOfAlgorithm,
} from '../../../src/operations/lifecycle/names.ts';
import { usualLifecycle } from '../../../src/operations/lifecycle/parts.ts';
import { codeOf, ed25519, unwrap } from '../../support/keyring.ts';
import { acme, openOperations, payloadBlake3, planOf } from '../../support/operations.ts';
import { prodLaptop } from '../../support/placed-calls.ts';

const caller = {
  ...acme,
  placement: { environments: 'all', planes: 'all', module: 'orders' },
} as const;
const placement = { environment: 'prod', plane: 'laptop' } as const;
const data = Buffer.from('x');

function start(t: TestContext, more: Parameters<typeof openOperations>[1] = {}) {
  const bench = openOperations(t, more);
  const make = async (access?: KeyAccess) => {
    const made = await bench.keyring.create({
      ...{ tenant: 'acme', actor: 'x', purpose: 'kms', algorithm: ed25519, placement },
      ...(access && { access }),
    });
    const { kid, keyId } = unwrap(made);
    return { kid, id: kid.replace('#v1', ''), keyId: keyId! };
  };
  return { ...bench, make, lifecycle: bench.operations.lifecycle };
}

test('who has no placement neither uses nor changes a key that has one, on no surface', async (t) => {
  const { operations, make, keyring } = start(t);
  const { id } = await make();
  const signing = { kids: [id], input: payloadBlake3, alg: undefined, mode: undefined, opId: undefined };
  const sign = await operations.sign.plan({ ...signing, receipts: false }, acme);
  const verifying = { input: payloadBlake3, mode: undefined, window: undefined };
  const signatures = [{ kid: id, alg: undefined, signature: Buffer.alloc(64) }];
  for (const result of [
    sign,
    await operations.verify.plan({ ...verifying, signatures }, acme),
    await operations.rotate.run({ kid: id, name: undefined }, acme),
    await operations.destroy.run({ kid: id, version: undefined, name: undefined }, acme),
    await operations.destroy.run({ kid: `${id}#v1`, version: undefined, name: undefined }, acme),
  ])
    assert.equal(codeOf(result), 'NoCapability');
  assert.equal(unwrap(await keyring.find('acme', id)).head.state, 'active');
});

test('keys without a placement are not there for calls by key_id', async (t) => {
  const { makeKey, lifecycle } = start(t);
  const { id } = await makeKey('ed25519');
  const keyId = id.slice(id.lastIndexOf('/') + 1);
  assert.equal(codeOf(await lifecycle.read.run({ ...prodLaptop, keyId }, caller)), 'NotFound');
});

test('a call about a key that is in memory is planned at once, and names its kid before it is judged', async (t) => {
  const { lifecycle, make, keyring } = start(t);
  const { kid, keyId } = await make();
  await keyring.findByKeyId('acme', keyId);
  const request = { ...prodLaptop, keyId, data, alg: undefined, approval: undefined };
  assert.ok(!(lifecycle.sign.plan(request, caller) instanceof Promise));
  const resolved = lifecycle.sign.resolve!(request, caller);
  assert.deepEqual(resolved, { kid });
  assert.deepEqual(lifecycle.sign.subjects!({ ...request, kid }), [kid]);
  assert.deepEqual(lifecycle.sign.subjects!(request), { alg: 'none' });
  assert.deepEqual(await lifecycle.sign.resolve!({ ...request, keyId: 'nothing' }, caller), {});
  assert.deepEqual(lifecycle.sign.receipt!(request, caller, undefined), { ...placement, keyId });
});

test('signatures count towards the limit of the key, or else of the service; verifications towards none', async (t) => {
  for (const [usesPerDay, access, most] of [
    [10_000, undefined, 10_000],
    [10_000, { maxUsagePerDay: 3 }, 3],
    [10_000, { maxUsagePerDay: 20_000 }, 20_000],
    [Number.POSITIVE_INFINITY, undefined, undefined],
  ] as const) {
    const { lifecycle, make } = start(t, { lifecycle: { ...usualLifecycle, usesPerDay } });
    const { id, keyId } = await make(access);
    const request = { ...prodLaptop, keyId, data, alg: undefined, approval: undefined };
    const signing = await planOf(lifecycle.sign, request, caller);
    assert.deepEqual(signing.work.daily, most === undefined ? undefined : { keyId: id, most });
    const verifying = await planOf(lifecycle.verify, { ...request, signature: Buffer.alloc(64) }, caller);
    assert.equal(verifying.work.daily, undefined);
  }
});

test('a key has its end: then it makes nothing new, and goes on verifying', async (t) => {
  const { lifecycle, keyring, clock } = start(t);
  const validUntilMs = clock.nowMs + 1_000;
  const wanted = { tenant: 'acme', actor: 'x', purpose: 'kms', algorithm: ed25519, placement, validUntilMs };
  const keyId = unwrap(await keyring.create(wanted)).keyId!;
  const request = { ...prodLaptop, keyId, data, alg: undefined, approval: undefined };
  const stateNow = async () => unwrap(await lifecycle.read.run({ ...prodLaptop, keyId }, caller));
  assert.equal(codeOf(await lifecycle.sign.plan(request, caller)), 'ok');
  assert.equal((await stateNow()).archivedAtMs, undefined);
  clock.nowMs = validUntilMs;
  const refused = await lifecycle.sign.plan(request, caller);
  assert.deepEqual(refused.ok ? undefined : [refused.failure.code, refused.failure.keyState], [
    'Conflict',
    'inactive',
  ]);
  const verifying = await planOf(lifecycle.verify, { ...request, signature: Buffer.alloc(64) }, caller);
  assert.equal(verifying.answer().ok, true);
  const { state, archivedAtMs } = await stateNow();
  assert.deepEqual([state, archivedAtMs], ['archived', validUntilMs]);
});

test('algorithms have the names of others beside ours', () => {
  for (const [type, alg] of [
    ['RSA-2048', 'rsa-2048'],
    ['Ed25519', 'ed25519'],
    ['AES-256', 'aes-256-gcm'],
    ['ml-dsa-65', 'ml-dsa-65'],
  ] as const) {
    assert.equal(algorithmOfType(type)?.name, alg);
    assert.equal(typeOfAlgorithm(alg), type);
  }
  for (const name of ['constructor', '__proto__', '']) assert.equal(algorithmOfType(name), undefined);
  assert.equal(standardSchemeName('PS256'), 'RSA-PSS-SHA256');
  assert.equal(standardSchemeName('ecdsa-p256'), 'ecdsa-p256');
});
