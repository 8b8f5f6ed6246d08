import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test, { type TestContext } from 'node:test';
import type { GivenInput, SignedInput } from '../../src/algorithms/signed-input.ts';
import { batchOps } from '../../src/engine/batch.ts';
import type { OperationParts } from '../../src/operations/operation.ts';
import { codeOf, unwrap } from '../support/keyring.ts';
import { acme, openOperations, payloadBlake3, planOf } from '../support/operations.ts';

const message = Buffer.from('a message');
const context = Buffer.from('ctx');
const none = { hash: undefined, context: undefined, payloadBlake3: undefined } as const;
const ofMessage = (more: Partial<GivenInput> = {}): GivenInput => ({
  ...{ form: 'message', bytes: message, ...none },
  ...more,
});
const ofDigest = (hash: 'sha256' | 'sha384' | 'sha512', more: Partial<GivenInput> = {}): GivenInput => ({
  ...{ form: 'digest', bytes: createHash(hash).update(message).digest(), ...none, hash },
  ...more,
});
const ofMu: GivenInput = { form: 'mu', bytes: Buffer.alloc(64, 5), ...none };

function opened(t: TestContext, more: Partial<OperationParts> = {}) {
  const operations = openOperations(t, more);
  const { sign, verify } = operations.operations;
  const signRequest = (kid: string, input: SignedInput, alg?: string) => ({
    ...{ kids: [kid], input, alg, mode: undefined, opId: undefined, receipts: false },
  });
  const verifyRequest = (kid: string, input: SignedInput, alg?: string, length = 64) => ({
    ...{
      input,
      mode: undefined,
      window: undefined,
      signatures: [{ kid, alg, signature: Buffer.alloc(length) }],
    },
  });
  return {
    ...operations,
    signed: async (kid: string, input: SignedInput, alg?: string) => {
      const { work, answer } = await planOf(sign, signRequest(kid, input, alg));
      return { work, algs: unwrap(answer()).signatures.map((one) => one.alg) };
    },
    verified: async (kid: string, input: SignedInput, alg?: string, length?: number) => {
      const { work, answer } = await planOf(verify, verifyRequest(kid, input, alg, length));
      return { work, algs: unwrap(answer()).checked.map((one) => one.alg) };
    },
    refusals: async (kid: string, input: SignedInput, alg?: string) => [
      codeOf(await sign.plan(signRequest(kid, input, alg), acme)),
      codeOf(await verify.plan(verifyRequest(kid, input, alg), acme)),
    ],
  };
}

test('each form is its own operation of the batch, and a context comes last', async (t) => {
  const { makeKey, signed, verified } = opened(t);
  const mlDsa = (await makeKey('ml-dsa-44')).kid;
  const rsa = (await makeKey('rsa-2048')).kid;
  const signature = Buffer.alloc(64);
  for (const [kid, input, sign, verify] of [
    [mlDsa, payloadBlake3, batchOps.sign, batchOps.verify],
    [mlDsa, ofMessage(), batchOps.sign, batchOps.verify],
    [mlDsa, ofMessage({ context }), batchOps.sign, batchOps.verify],
    [mlDsa, ofMu, batchOps.signMu, batchOps.verifyMu],
    [rsa, ofDigest('sha256'), batchOps.signDigest, batchOps.verifyDigest],
  ] as const) {
    const bytes = typeof input === 'string' ? Buffer.from(input, 'hex') : input.bytes;
    const own = typeof input === 'string' || input.context === undefined ? [] : [input.context];
    const [made] = (await signed(kid, input)).work.items;
    assert.deepEqual([made?.op, made?.inputs], [sign, [bytes, ...own]]);
    const [checked] = (await verified(kid, input)).work.items;
    assert.deepEqual([checked?.op, checked?.inputs], [verify, [bytes, signature, ...own]]);
  }
});

test('records name the digest that was given, or the SHA-256 of a message', async (t) => {
  const { makeKey, signed, verified } = opened(t);
  const { kid } = await makeKey('mldsa65-ed25519');
  const rsa = (await makeKey('rsa-2048')).kid;
  const mlDsa = (await makeKey('ml-dsa-65')).kid;
  const hex = (hash: string) => createHash(hash).update(message).digest('hex');
  for (const [key, input, expected] of [
    [kid, payloadBlake3, payloadBlake3],
    [kid, ofMessage({ bytes: Buffer.from(payloadBlake3, 'hex'), context, payloadBlake3 }), payloadBlake3],
    [kid, ofMessage(), `sha256:${hex('sha256')}`],
    [kid, ofMessage({ context }), `sha256:${hex('sha256')}`],
    [kid, ofDigest('sha512'), `sha512:${hex('sha512')}`],
    [rsa, ofDigest('sha256'), `sha256:${hex('sha256')}`],
    [rsa, ofDigest('sha384'), `sha384:${hex('sha384')}`],
    [mlDsa, ofMu, `mu:${'05'.repeat(64)}`],
  ] as const) {
    assert.equal((await signed(key, input)).work.inputDigest, expected);
    assert.equal((await verified(key, input)).work.inputDigest, expected);
  }
});

test('without an alg, the first way of the key that takes the digest; with one, that way', async (t) => {
  const { makeKey, signed, verified } = opened(t);
  for (const [alg, hash, expected] of [
    ['ed25519', 'sha512', 'ed25519ph'],
    ['ecdsa-p256', 'sha256', 'ecdsa-p256'],
    ['ecdsa-p384', 'sha384', 'ecdsa-p384'],
    ['rsa-2048', 'sha256', 'PS256'],
    ['rsa-2048', 'sha384', 'PS384'],
    ['rsa-2048', 'sha512', 'PS512'],
    ['mldsa65-p256', 'sha512', 'mldsa65-p256'],
  ] as const) {
    const { kid } = await makeKey(alg);
    assert.deepEqual((await signed(kid, ofDigest(hash))).algs, [expected]);
    // Of a length that is no way's own.
    assert.deepEqual((await verified(kid, ofDigest(hash), undefined, 71)).algs, [expected]);
  }
  const rsa = (await makeKey('rsa-2048')).kid;
  assert.deepEqual((await signed(rsa, ofDigest('sha384'), 'RS384')).algs, ['RS384']);
  assert.deepEqual((await signed(rsa, ofDigest('sha384'), 'rsa-2048')).algs, ['PS384']);
});

test('ECDSA is DER, and P1363 by the names of JWA; a verification without a name goes by the length', async (t) => {
  const { makeKey, signed, verified } = opened(t);
  for (const [alg, jwa, scalarsBytes] of [
    ['ecdsa-p256', 'ES256', 64],
    ['ecdsa-p384', 'ES384', 96],
  ] as const) {
    const { kid } = await makeKey(alg);
    assert.deepEqual((await signed(kid, payloadBlake3)).algs, [alg]);
    assert.deepEqual((await signed(kid, payloadBlake3, jwa)).algs, [jwa]);
    assert.deepEqual((await verified(kid, payloadBlake3, undefined, scalarsBytes)).algs, [jwa]);
    assert.deepEqual((await verified(kid, payloadBlake3, undefined, scalarsBytes + 7)).algs, [alg]);
    assert.deepEqual((await verified(kid, payloadBlake3, alg, scalarsBytes)).algs, [alg]);
  }
});

test('what a key does not take is refused, for signing and verifying alike', async (t) => {
  const { makeKey, refusals } = opened(t);
  const kidOf = async (alg: string) => (await makeKey(alg)).kid;
  const unsupported = ['Unsupported', 'Unsupported'];
  const bad = ['BadRequest', 'BadRequest'];
  const mlDsa = await kidOf('ml-dsa-65');
  const ed25519 = await kidOf('ed25519');
  const hybrid = await kidOf('ed25519+ml-dsa-65');
  // HashML-DSA under any hash.
  for (const hash of ['sha256', 'sha384', 'sha512'] as const)
    assert.deepEqual(await refusals(mlDsa, ofDigest(hash)), unsupported);
  for (const alg of ['ed25519', 'ecdsa-p256', 'rsa-2048', 'ed25519+ml-dsa-65', 'mldsa44-ed25519'])
    if (alg !== 'ed25519+ml-dsa-65') assert.deepEqual(await refusals(await kidOf(alg), ofMu), unsupported);
  assert.deepEqual(await refusals(ed25519, ofMessage({ context })), unsupported);
  assert.deepEqual(await refusals(ed25519, ofDigest('sha256')), unsupported);
  assert.deepEqual(await refusals(ed25519, ofDigest('sha512'), 'ed25519'), unsupported);
  // Half of a hybrid key takes none of these.
  assert.equal((await refusals(hybrid, ofMu))[0], 'Unsupported');
  assert.equal((await refusals(hybrid, ofMessage({ context })))[0], 'Unsupported');
  assert.deepEqual(await refusals(hybrid, ofDigest('sha512')), unsupported);

  assert.deepEqual(await refusals(mlDsa, { ...ofMu, bytes: Buffer.alloc(63) }), bad);
  assert.deepEqual(await refusals(mlDsa, { ...ofMu, context: Buffer.alloc(0) }), bad);
  assert.deepEqual(await refusals(mlDsa.replace('#v1', ''), ofMu), bad);
  assert.deepEqual(await refusals(mlDsa, ofMessage({ context: Buffer.alloc(256) })), bad);
  assert.deepEqual(await refusals(mlDsa, ofMessage({ bytes: Buffer.alloc(65_537) })), bad);
  assert.deepEqual(await refusals(ed25519, ofDigest('sha512', { bytes: Buffer.alloc(63) })), bad);
});

test('the ML-DSA half of a hybrid key signs a mu, or under a context, where it is named', async (t) => {
  const { makeKey, signed } = opened(t);
  const { kid } = await makeKey('ed25519+ml-dsa-65');
  assert.deepEqual((await signed(kid, ofMu, 'ml-dsa-65')).algs, ['ml-dsa-65']);
  assert.deepEqual((await signed(kid, ofMessage({ context }), 'ml-dsa-65')).algs, ['ml-dsa-65']);
});

test('what the engine lacks is refused before it is queued', async (t) => {
  const { makeKey, refusals, signed } = opened(t, { lacking: new Set(['mu', 'digest', 'ed25519ph']) });
  const unsupported = ['Unsupported', 'Unsupported'];
  const kidOf = async (alg: string) => (await makeKey(alg)).kid;
  assert.deepEqual(await refusals(await kidOf('ml-dsa-65'), ofMu), unsupported);
  for (const [alg, hash] of [
    ['ecdsa-p256', 'sha256'],
    ['rsa-2048', 'sha512'],
    ['ed25519', 'sha512'],
  ] as const)
    assert.deepEqual(await refusals(await kidOf(alg), ofDigest(hash)), unsupported);
  assert.deepEqual(await refusals(await kidOf('ed25519'), payloadBlake3, 'ed25519ph'), unsupported);
  assert.deepEqual((await signed(await kidOf('mldsa65-p256'), ofDigest('sha512'))).algs, ['mldsa65-p256']);
  assert.deepEqual((await signed(await kidOf('ed25519'), ofMessage())).algs, ['ed25519']);
});

test('a mu has a price of its own; so has a long message', async (t) => {
  const { makeKey, signed } = opened(t);
  const { kid } = await makeKey('ml-dsa-65');
  const meterOf = async (input: SignedInput) => (await signed(kid, input)).work.meters[0];
  assert.equal(await meterOf(payloadBlake3), await meterOf(ofMessage()));
  assert.notEqual(await meterOf(payloadBlake3), await meterOf(ofMu));
  const long = await meterOf(ofMessage({ bytes: Buffer.alloc(65_536) }));
  assert.ok((long?.costUs ?? 0) > ((await meterOf(payloadBlake3))?.costUs ?? 0));
});

test('a capability that names payloads learns of payload_b3 alone, not of a message with the same bytes', (t) => {
  const { operations } = opened(t);
  const facts = (input: SignedInput) => [
    operations.sign.facts?.({
      ...{ kids: [], input, alg: undefined, mode: undefined, opId: undefined, receipts: false },
    })?.payloadB3,
    operations.verify.facts?.({ input, mode: undefined, window: undefined, signatures: [] })?.payloadB3,
  ];
  const bytes = Buffer.from(payloadBlake3, 'hex');
  assert.deepEqual(facts(payloadBlake3), [payloadBlake3, payloadBlake3]);
  for (const input of [ofMessage({ bytes }), ofMessage({ bytes, payloadBlake3, context }), ofMu])
    assert.deepEqual(facts(input), [undefined, undefined]);
});
