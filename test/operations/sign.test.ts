import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { batchOps } from '../../src/engine/batch.ts';
import type { SignRequest } from '../../src/operations/sign.ts';
import { codeOf, unwrap } from '../support/keyring.ts';
import { acme, openOperations, payloadBlake3, planOf } from '../support/operations.ts';

function signing(t: TestContext, more: Parameters<typeof openOperations>[1] = {}) {
  const opened = openOperations(t, more);
  const { sign } = opened.operations;
  const request = (kids: readonly string[], rest: Partial<SignRequest> = {}): SignRequest => ({
    ...{ kids, input: payloadBlake3, alg: undefined, mode: undefined, opId: undefined, receipts: false },
    ...rest,
  });
  return {
    ...opened,
    refusalOf: async (kids: readonly string[], rest?: Partial<SignRequest>, caller = acme) =>
      codeOf(await sign.plan(request(kids, rest), caller)),
    planned: (kids: readonly string[], rest?: Partial<SignRequest>) => planOf(sign, request(kids, rest)),
  };
}

test('signs the 32 bytes of the digest with the current version, and says which that is', async (t) => {
  const { makeKey, planned } = signing(t);
  const { kid, id } = await makeKey('ed25519');
  const { work, answer } = await planned([id], { opId: 'x' });
  assert.deepEqual(
    work.items.map(({ op, inputs }) => [op, inputs.map((input) => Buffer.from(input).toString('hex'))]),
    [[batchOps.sign, [payloadBlake3]]],
  );
  assert.equal(Buffer.from(work.items[0]!.key).toString(), `reference 0 acme ${kid} sealed 0 ${kid}`);
  const { alg, kind, inputDigest, opId, receipts, uses } = work;
  assert.deepEqual([alg, kind, inputDigest, opId, receipts], ['ed25519', 'sign', payloadBlake3, 'x', false]);
  assert.deepEqual(uses, [{ keyId: id, version: 1, alg: 'ed25519', durability: undefined }]);
  assert.deepEqual(unwrap(answer()), {
    kid,
    signatures: [{ kid, alg: 'ed25519', signature: Buffer.from('output 0'), signedIn: undefined }],
    receipts: undefined,
    evidence: [],
  });
});

test('a hybrid key signs with both components, or with the post-quantum one', async (t) => {
  const { makeKey, planned } = signing(t);
  const { kid } = await makeKey('ed25519+ml-dsa-65');
  const algsOf = async (rest: Partial<SignRequest>) =>
    unwrap((await planned([kid], rest)).answer()).signatures.map(({ alg }) => alg);
  assert.deepEqual(await algsOf({}), ['ed25519', 'ml-dsa-65']);
  assert.deepEqual(await algsOf({ mode: 'pq_only' }), ['ml-dsa-65']);
  assert.deepEqual(await algsOf({ alg: 'ed25519' }), ['ed25519']);
});

test('several keys sign together, each with a use of its own; receipts are given where they are asked for', async (t) => {
  const { makeKey, planned } = signing(t);
  const kids = [(await makeKey('ed25519')).kid, (await makeKey('rsa-2048')).kid];
  const { work, answer } = await planned(kids, { receipts: true });
  assert.equal(work.alg, 'several');
  const { kid, signatures, receipts } = unwrap(answer());
  assert.equal(kid, kids[0]);
  assert.deepEqual(
    signatures.map((made) => made.kid),
    kids,
  );
  assert.deepEqual(
    receipts?.map((receipt) => receipt.kid),
    kids,
  );
  const twice = await planned([kids[0]!, kids[0]!]);
  assert.equal(twice.work.uses.length, 2, 'it is used twice');
});

test('what may not sign is refused: by state, family, policy, algorithm and tenant', async (t) => {
  const { makeKey, refusalOf, keyring } = signing(t);
  const { kid, id } = await makeKey('ed25519');
  const mac = await makeKey('hmac-sha256');
  assert.equal(await refusalOf([mac.kid]), 'Unsupported');
  assert.equal(await refusalOf([kid], { mode: 'pq_only' }), 'PolicyViolation');
  assert.equal(await refusalOf([kid], { alg: 'ml-dsa-65' }), 'Unsupported');
  assert.equal(await refusalOf([kid], {}, { ...acme, tenant: 'other' }), 'NotFound');
  assert.equal(await refusalOf([kid, 'acme/p/ed25519/00000000-0000-4000-8000-000000000000']), 'NotFound');
  unwrap(await keyring.rotate({ tenant: 'acme', actor: 'tester', kid: id }));
  assert.equal(await refusalOf([kid]), 'Conflict');
  assert.equal(await refusalOf([id]), 'ok');
  unwrap(await keyring.destroy({ tenant: 'acme', actor: 'tester', kid: id }));
  assert.equal(await refusalOf([id]), 'Conflict');
});

test('an algorithm that is not allowed here is a PolicyViolation', async (t) => {
  const { makeKey, refusalOf } = signing(t, { allowedAlgorithms: new Set(['ed25519']) });
  assert.equal(await refusalOf([(await makeKey('rsa-2048')).kid]), 'PolicyViolation');
});
