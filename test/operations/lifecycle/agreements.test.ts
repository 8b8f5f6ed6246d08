import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { ApprovedChange } from '../../../src/core/approvals.ts';
import { ok, refuse } from '../../../src/core/result.ts';
import type { KeyAccess } from '../../../src/keys/record.ts';
import { usualLifecycle } from '../../../src/operations/lifecycle/parts.ts';
import { codeOf, unwrap } from '../../support/keyring.ts';
import { acme, openOperations, planOf } from '../../support/operations.ts';
import { prodLaptop } from '../../support/placed-calls.ts';

const caller = {
  ...acme,
  placement: { environments: ['prod'], planes: ['laptop'], module: 'orders' },
} as const;
const approval = 'agreed';
const requestSha256 = 'ab'.repeat(32);

function start(t: TestContext) {
  const asked: ApprovedChange[] = [];
  const meanwhile = { happens: async () => {} };
  const approvals = {
    async check(text: string | undefined, change: ApprovedChange) {
      asked.push(change);
      await meanwhile.happens();
      return text === approval ? ok({ approver: 'bob', id: 'approval:1' }) : refuse('NoCapability', 'no');
    },
  };
  const bench = openOperations(t, { lifecycle: { ...usualLifecycle, approvals } });
  const { lifecycle } = bench.operations;
  const request = {
    ...({ ...prodLaptop, keyType: 'Ed25519', usages: ['sign', 'verify'], approval, requestSha256 } as const),
    ...{ alias: undefined, validUntilMs: undefined, access: undefined, rotation: undefined },
    ...{ purpose: undefined, name: undefined },
  };
  const generate = async (more: object = {}) => lifecycle.generate.run({ ...request, ...more }, caller);
  const make = async (access?: KeyAccess) => unwrap(await generate({ access })).keyId;
  return { ...bench, lifecycle, generate, make, asked, meanwhile };
}

const by = { tenant: 'acme', actor: acme.actor };

test('an agreement to a new key is to its request, and to another change is to its key', async (t) => {
  const { lifecycle, make, asked } = start(t);
  const keyId = await make();
  const call = { ...prodLaptop, keyId: keyId.toUpperCase(), approval };
  const { newKeyId } = unwrap(await lifecycle.rotate.run({ ...call, name: undefined }, caller));
  unwrap(await lifecycle.archive.run({ ...call, keyId: newKeyId }, caller));
  unwrap(await lifecycle.revoke.run({ ...call, reason: 'retired' }, caller));
  assert.deepEqual(asked, [
    { ...by, operation: 'lifecycle_generate', requestSha256 },
    { ...by, operation: 'lifecycle_rotate', keyId },
    { ...by, operation: 'lifecycle_archive', keyId: newKeyId },
    { ...by, operation: 'lifecycle_revoke', keyId },
  ]);
});

test('no agreement is used up by what is refused for another reason, or done already', async (t) => {
  const { lifecycle, make, generate, asked } = start(t);
  const keyId = await make();
  const call = { ...prodLaptop, keyId, approval };
  const { newKeyId } = unwrap(await lifecycle.rotate.run({ ...call, name: undefined }, caller));
  unwrap(await lifecycle.revoke.run({ ...call, reason: 'retired' }, caller));
  asked.length = 0;
  for (const [result, code] of [
    [await lifecycle.revoke.run({ ...call, reason: 'policy_violation' }, caller), 'ok'],
    [await lifecycle.rotate.run({ ...call, name: undefined }, caller), 'Conflict'],
    [await lifecycle.archive.run(call, caller), 'Conflict'],
    [
      await lifecycle.rotate.run({ ...call, keyId: newKeyId, plane: 'shared', name: undefined }, caller),
      'NoCapability',
    ],
    [
      await lifecycle.rotate.run({ ...call, keyId: newKeyId, approval: undefined, name: undefined }, caller),
      'NoCapability',
    ],
    [await generate({ usages: ['encrypt'] }), 'BadRequest'],
    [await generate({ keyType: 'none' }), 'Unsupported'],
    [await generate({ environment: 'dev' }), 'NoCapability'],
    [await generate({ alias: 'two words' }), 'BadRequest'],
    [await generate({ access: { allowedModules: [] } }), 'BadRequest'],
    [await generate({ access: { allowedModules: ['a', 'a'] } }), 'BadRequest'],
    [await generate({ access: { allowedModules: ['a b'] } }), 'BadRequest'],
    [await generate({ access: { maxUsagePerDay: 0 } }), 'BadRequest'],
    [await generate({ access: { maxUsagePerDay: 1.5 } }), 'BadRequest'],
  ] as const)
    assert.equal(codeOf(result), code);
  assert.deepEqual(asked, []);
  // That is a change of its own.
  assert.equal(codeOf(await lifecycle.revoke.run({ ...call, reason: 'compromised' }, caller)), 'ok');
  assert.equal(asked.length, 1);
});

test('one that does not serve refuses, and so does a service where nobody can agree', async (t) => {
  const { generate, make, lifecycle, keyring, clock } = start(t);
  const keyId = await make();
  assert.equal(codeOf(await generate({ validUntilMs: clock.nowMs })), 'BadRequest');
  const wrong = { ...prodLaptop, keyId, approval: 'another' };
  assert.equal(codeOf(await generate({ approval: 'another' })), 'NoCapability');
  assert.equal(codeOf(await lifecycle.rotate.run({ ...wrong, name: undefined }, caller)), 'NoCapability');
  assert.equal(codeOf(await lifecycle.revoke.run({ ...wrong, reason: 'retired' }, caller)), 'NoCapability');
  assert.equal(codeOf(await lifecycle.archive.run(wrong, caller)), 'NoCapability');
  assert.equal(unwrap(await keyring.findByKeyId('acme', keyId)).head.currentVersion, 1);
  const nobody = openOperations(t).operations.lifecycle;
  const request = {
    ...({ ...prodLaptop, keyType: 'Ed25519', usages: ['sign'], approval, requestSha256 } as const),
    ...{ alias: undefined, validUntilMs: undefined, access: undefined, rotation: undefined },
    ...{ purpose: undefined, name: undefined },
  };
  assert.equal(codeOf(await nobody.generate.run(request, caller)), 'NoCapability');
});

test('a key that is archived while an agreement is used up makes nothing more', async (t) => {
  const { lifecycle, make, keyring, meanwhile } = start(t);
  const keyId = await make({ requiresApproval: true });
  const { version } = unwrap(await keyring.findByKeyId('acme', keyId));
  const { tenant, actor } = caller;
  meanwhile.happens = async () => {
    unwrap(await keyring.archive({ tenant, actor, kid: version.kid, agreed: async () => undefined }));
  };
  const request = { ...prodLaptop, keyId, data: Buffer.from('data'), alg: undefined, approval };
  const planned = await lifecycle.sign.plan(request, caller);
  assert.equal(!planned.ok && planned.failure.keyState, 'inactive');
});

test('a key that asks for an agreement to each use asks for one to signing, encrypting and decrypting', async (t) => {
  const { lifecycle, generate, make, asked } = start(t);
  const keyId = await make({ requiresApproval: true });
  const aes = unwrap(
    await generate({
      ...{ keyType: 'AES-256', usages: ['encrypt', 'decrypt'], access: { requiresApproval: true } },
    }),
  ).keyId;
  asked.length = 0;
  const [data, aad, iv] = [Buffer.from('x'), Buffer.alloc(0), Buffer.alloc(12)];
  const call = { ...prodLaptop, approval, alg: undefined };
  const signing = { ...call, keyId, data };
  await planOf(lifecycle.sign, signing, caller);
  await planOf(lifecycle.encrypt, { ...call, keyId: aes, plaintext: data, aad }, caller);
  await planOf(lifecycle.decrypt, { ...call, keyId: aes, ciphertext: data, iv, aad }, caller);
  await planOf(lifecycle.verify, { ...call, keyId, data, signature: data }, caller);
  assert.deepEqual(asked, [
    { ...by, operation: 'lifecycle_sign', keyId },
    { ...by, operation: 'lifecycle_encrypt', keyId: aes },
    { ...by, operation: 'lifecycle_decrypt', keyId: aes },
  ]);
  assert.equal(
    codeOf(await lifecycle.sign.plan({ ...signing, approval: undefined }, caller)),
    'NoCapability',
  );
  assert.equal(codeOf(await lifecycle.sign.plan({ ...signing, approval: 'no' }, caller)), 'NoCapability');
});
