import assert from 'node:assert/strict';
import { createPrivateKey, hash } from 'node:crypto';
import test from 'node:test';
import { ed25519, ed25519ph } from '@noble/curves/ed25519.js';
import { p256 } from '@noble/curves/nist.js';
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import type { Ability } from '../../src/algorithms/ids.ts';
import { type BatchOp, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { type Engine, keyTypes, type Scheme, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import {
  aad,
  bytes,
  flipBit,
  nextKeyNumber,
  runBatch,
  type SigningKeyTypeName,
  schemesOf,
  signatureOf,
  tenant,
  verifyOne,
} from '../support/batches.ts';
import {
  type CompositeName,
  compositeFacts,
  compositeNames,
  representative,
  verifiesComposite,
} from '../support/composites.ts';
import { availableEngines } from '../support/engines.ts';
import { nodePublicKey, nodeVerify } from '../support/node-verify.ts';

const { ok, rejected, badInput, keyUnusable } = batchStatuses;
const message = Buffer.from('what is signed');
const context = Buffer.from('an application');
const seed = (fill: number) => new Uint8Array(32).fill(fill);
const noble = { 'ml-dsa-44': ml_dsa44, 'ml-dsa-65': ml_dsa65, 'ml-dsa-87': ml_dsa87 } as const;
const mlDsaNames = ['ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'] as const;

for (const { name, create } of availableEngines()) {
  const engine = create();
  const root = engine.openRoot({ kind: 'memory' });
  const has = (ability: Ability) => !engine.description.lacks.includes(ability);
  const run = (
    op: BatchOp,
    scheme: Scheme,
    key: Uint8Array,
    inputs: readonly Uint8Array[],
    keyNumber = 0,
  ) => {
    const [result] = runBatch(engine, root, [{ op, scheme, keyNumber, key, inputs }]);
    return { status: result?.status, signature: signatureOf(result) };
  };
  const imported = (keyType: SigningKeyTypeName, secret: Uint8Array) =>
    referenced(engine.importKey(root, keyTypes[keyType], tenant, aad, Uint8Array.from(secret)));
  const generated = (keyType: SigningKeyTypeName) =>
    referenced(engine.generate(root, keyTypes[keyType], tenant, aad));

  test(`${name}: a mu is never signed as a message, whatever the key`, () => {
    const mu = Buffer.alloc(64, 7);
    for (const keyType of Object.keys(schemesOf) as SigningKeyTypeName[]) {
      const { key, publicKey } = generated(keyType);
      for (const scheme of [...schemesOf[keyType], schemes.ed25519ph]) {
        const { status, signature } = run(batchOps.signMu, scheme, key, [mu]);
        const signsMu = has('mu') && keyType.startsWith('ml-dsa') && scheme !== schemes.ed25519ph;
        assert.equal(status, signsMu ? ok : badInput, `${keyType} ${scheme}`);
        if (!signsMu) continue;
        assert.equal(run(batchOps.verifyMu, scheme, publicKey, [mu, signature]).status, ok);
        assert.equal(run(batchOps.verify, scheme, publicKey, [mu, signature]).status, rejected);
      }
    }
  });

  for (const alg of mlDsaNames) {
    const reference = noble[alg];
    const { secretKey, publicKey: expected } = reference.keygen(seed(1));

    test(`${name}: ${alg} under a context: noble verifies, and is verified`, () => {
      const { key, publicKey } = imported(alg, seed(1));
      assert.deepEqual(Uint8Array.from(publicKey), expected);
      const { signature } = run(batchOps.sign, schemes[alg], key, [message, context]);
      assert.ok(reference.verify(signature, message, publicKey, { context }));
      assert.ok(!reference.verify(signature, message, publicKey));
      const theirs = reference.sign(message, secretKey, { context });
      const check = (...more: readonly Uint8Array[]) =>
        run(batchOps.verify, schemes[alg], publicKey, [message, theirs, ...more]).status;
      assert.deepEqual([check(context), check(), check(message)], [ok, rejected, rejected]);
    });

    if (!has('mu')) continue;
    test(`${name}: ${alg}, a mu: noble verifies it, also as the message with its context, and is verified`, () => {
      const { key, publicKey } = imported(alg, seed(1));
      // FIPS 204, algorithm 7, line 6, over algorithm 2, line 10.
      const framed = [Buffer.of(0, context.length), context, message];
      const mu = shake256(shake256(publicKey), ...framed);
      const keyNumber = nextKeyNumber();
      for (let round = 0; round < 3; round++) {
        const { status, signature } = run(batchOps.signMu, schemes[alg], key, [mu], keyNumber);
        assert.equal(status, ok);
        assert.ok(reference.internal.verify(signature, mu, publicKey, { externalMu: true }));
        assert.ok(reference.verify(signature, message, publicKey, { context }));
        const asMessage = [message, signature, context];
        assert.equal(run(batchOps.verify, schemes[alg], publicKey, asMessage).status, ok);
      }
      const theirs = reference.internal.sign(mu, secretKey, { externalMu: true });
      assert.equal(run(batchOps.verifyMu, schemes[alg], publicKey, [mu, theirs]).status, ok);
      assert.equal(run(batchOps.signMu, schemes[alg], key, [mu.subarray(1)]).status, badInput);
      assert.equal(run(batchOps.signMu, schemes[alg], key, [mu, context]).status, badInput);
      const other = generated(alg === 'ml-dsa-44' ? 'ml-dsa-65' : 'ml-dsa-44').key;
      assert.equal(run(batchOps.signMu, schemes[alg], other, [mu]).status, keyUnusable);
    });
  }

  // RFC 8032, section 7.3.
  const abc = {
    secret: bytes('833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42'),
    signature:
      '98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406',
  };
  test(`${name}: Ed25519ph: the vector of RFC 8032, by message and by digest; or BAD_INPUT where it is lacking`, () => {
    const { key, publicKey } = imported('ed25519', abc.secret);
    const digest = hash('sha512', Buffer.from('abc'), 'buffer');
    const scheme = schemes.ed25519ph;
    for (const [sign, verify, input] of [
      [batchOps.sign, batchOps.verify, Buffer.from('abc')],
      [batchOps.signDigest, batchOps.verifyDigest, digest],
    ] as const) {
      const made = run(sign, scheme, key, [input]);
      assert.equal(made.status, has('ed25519ph') ? ok : badInput);
      if (has('ed25519ph')) assert.equal(Buffer.from(made.signature).toString('hex'), abc.signature);
      const signature = bytes(abc.signature);
      const check = (...inputs: readonly Uint8Array[]) => run(verify, scheme, publicKey, inputs).status;
      assert.equal(check(input, signature), has('ed25519ph') ? ok : badInput);
      assert.equal(check(input, flipBit(signature, 500)), has('ed25519ph') ? rejected : badInput);
      assert.equal(check(input, signature, new Uint8Array(0)), badInput, 'a context');
    }
    assert.equal(run(batchOps.signDigest, scheme, key, [digest.subarray(1)]).status, badInput);
    assert.equal(run(batchOps.signDigest, schemes.ed25519, key, [digest]).status, badInput);
    // Neither passes for the other.
    const pure = run(batchOps.sign, schemes.ed25519, key, [digest]).signature;
    if (has('ed25519ph'))
      assert.equal(run(batchOps.verifyDigest, scheme, publicKey, [digest, pure]).status, rejected);
  });

  if (has('ed25519ph')) {
    test(`${name}: Ed25519ph: noble verifies and is verified; S beyond L, points of small order and wrong lengths are refused`, () => {
      const { key, publicKey } = imported('ed25519', seed(2));
      const { signature } = run(batchOps.sign, schemes.ed25519ph, key, [message]);
      assert.ok(ed25519ph.verify(signature, message, publicKey));
      const theirs = ed25519ph.sign(message, seed(2));
      const check = (s: Uint8Array, by: Uint8Array = publicKey) =>
        run(batchOps.verify, schemes.ed25519ph, by, [message, s]).status;
      assert.equal(check(theirs), ok);
      assert.equal(check(theirs.subarray(1)), rejected);
      const identity = bytes('01'.padEnd(64, '0'));
      assert.equal(check(Buffer.concat([identity, theirs.subarray(32)])), rejected);
      assert.equal(check(Buffer.concat([identity, Buffer.alloc(32)]), identity), rejected);
      assert.equal(check(Buffer.concat([theirs.subarray(0, 32), plusOrder(theirs.subarray(32))])), rejected);
      assert.equal(check(theirs, publicKey.subarray(1)), keyUnusable);
    });
  }

  const hashes = { 'ecdsa-p256': ['sha256'], 'ecdsa-p384': ['sha384'] } as Record<string, readonly string[]>;
  for (const keyType of ['ecdsa-p256', 'ecdsa-p384', 'rsa-2048'] as const) {
    test(`${name}: ${keyType}: a digest is signed as its message would be, or is BAD_INPUT where it is lacking`, () => {
      const { key, publicKey } = generated(keyType);
      for (const scheme of schemesOf[keyType]) {
        const name = hashes[keyType]?.[0] ?? `sha${/384|512/.exec(nameOf(scheme))?.[0] ?? '256'}`;
        const digest = hash(name, message, 'buffer');
        const made = run(batchOps.signDigest, scheme, key, [digest]);
        assert.equal(made.status, has('digest') ? ok : badInput, nameOf(scheme));
        const whole = run(batchOps.sign, scheme, key, [message]).signature;
        const byDigest = run(batchOps.verifyDigest, scheme, publicKey, [digest, whole]).status;
        assert.equal(byDigest, has('digest') ? ok : badInput);
        for (const wrong of [digest.subarray(1), Buffer.concat([digest, digest]), new Uint8Array(0)])
          assert.equal(run(batchOps.signDigest, scheme, key, [wrong]).status, badInput);
        assert.equal(run(batchOps.sign, scheme, key, [message, context]).status, badInput, 'a context');
        if (!has('digest')) continue;
        assert.ok(nodeVerify(scheme, nodePublicKey(keyType, publicKey), message, made.signature));
        assert.equal(run(batchOps.verify, scheme, publicKey, [message, made.signature]).status, ok);
        const other = run(batchOps.verifyDigest, scheme, publicKey, [flipBit(digest, 3), whole]).status;
        assert.equal(other, rejected);
      }
    });
  }

  for (const [keyType, scheme, scalarBytes] of [
    ['ecdsa-p256', schemes['ecdsa-p256-sha256-p1363'], 32],
    ['ecdsa-p384', schemes['ecdsa-p384-sha384-p1363'], 48],
  ] as const) {
    test(`${name}: ${keyType} as r || s: no zero, nothing beyond the order, no other length, no DER`, () => {
      const { key, publicKey } = generated(keyType);
      const { signature } = run(batchOps.sign, scheme, key, [message]);
      assert.equal(signature.length, 2 * scalarBytes);
      const check = (s: Uint8Array) => run(batchOps.verify, scheme, publicKey, [message, s]).status;
      assert.equal(check(signature), ok);
      const [r, s] = [signature.subarray(0, scalarBytes), signature.subarray(scalarBytes)];
      const [zero, most] = [Buffer.alloc(scalarBytes), Buffer.alloc(scalarBytes, 0xff)];
      const [derScheme] = schemesOf[keyType] as [Scheme];
      const der = run(batchOps.sign, derScheme, key, [message]).signature;
      const bad = [
        ...[
          [zero, s],
          [r, zero],
          [zero, zero],
          [most, s],
          [r, most],
          [s, r],
        ].map((two) => Buffer.concat(two)),
        ...[signature.subarray(1), Buffer.concat([Buffer.of(0), signature]), new Uint8Array(0), der],
        Buffer.concat([Buffer.of(0), r, Buffer.of(0), s]),
      ];
      for (const one of bad) assert.equal(check(one), rejected, Buffer.from(one).toString('hex'));
      assert.equal(run(batchOps.verify, derScheme, publicKey, [message, signature]).status, rejected);
    });
  }

  for (const alg of compositeNames) {
    test(`${name}: ${alg}: a second implementation, over noble, verifies and is verified`, () => {
      const second = compositeOfNoble(alg);
      const { key, publicKey } = imported(alg, second.secret);
      assert.deepEqual(Buffer.from(publicKey), Buffer.from(second.publicKey));
      for (const own of [[], [context], [new Uint8Array(255)]]) {
        const { signature } = run(batchOps.sign, schemes[alg], key, [message, ...own]);
        for (const library of ['noble', 'node'] as const)
          assert.ok(verifiesComposite(library, alg, publicKey, message, signature, own[0]));
        const theirs = second.sign(message, own[0] ?? new Uint8Array(0));
        const check = run(batchOps.verify, schemes[alg], publicKey, [message, theirs, ...own]);
        assert.equal(check.status, ok);
      }
    });
  }
}

test('a composite whose Ed25519 key or R has small order or no canonical form, or whose S is beyond L, is refused by every engine', () => {
  const alg = 'mldsa44-ed25519';
  const second = compositeOfNoble(alg);
  const { signatureBytes, keyBytes } = compositeFacts[alg];
  const good = second.sign(message, new Uint8Array(0));
  const [mlDsa, own] = [good.subarray(0, signatureBytes), good.subarray(signatureBytes)];
  const points = [
    '01'.padEnd(64, '0'),
    `ec${'ff'.repeat(30)}7f`,
    `ee${'ff'.repeat(30)}7f`,
    'ff'.repeat(32),
    '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  ].map(bytes);
  const zero = Buffer.alloc(32);
  const cases = [
    ...points.flatMap((point) =>
      points.map((r) => ({
        key: Buffer.concat([second.publicKey.subarray(0, keyBytes), point]),
        signature: Buffer.concat([mlDsa, r, zero]),
      })),
    ),
    ...points.map((r) => ({
      key: second.publicKey,
      signature: Buffer.concat([mlDsa, r, own.subarray(32)]),
    })),
    {
      key: second.publicKey,
      signature: Buffer.concat([mlDsa, own.subarray(0, 32), plusOrder(own.subarray(32))]),
    },
  ];
  for (const { create } of availableEngines()) {
    const engine = create();
    const root = engine.openRoot({ kind: 'memory' });
    const check = (key: Uint8Array, signature: Uint8Array) =>
      verifyOne(engine, root, schemes[alg], key, message, signature);
    assert.equal(check(second.publicKey, good), ok);
    for (const [index, { key, signature }] of cases.entries())
      assert.equal(check(key, signature), rejected, `${engine.description.name}, case ${index}`);
  }
});

function referenced({ sealed, publicKey }: ReturnType<Engine['generate']>) {
  return { key: buildKeyReference(tenant, aad, sealed), publicKey };
}

function nameOf(scheme: Scheme): string {
  return Object.entries(schemes).find(([, number]) => number === scheme)?.[0] ?? '';
}

function shake256(...parts: readonly Uint8Array[]): Buffer {
  return hash('shake256', Buffer.concat(parts), { outputEncoding: 'buffer', outputLength: 64 });
}

/** S + L, little endian: the same S modulo the order. */
function plusOrder(s: Uint8Array): Buffer {
  const value = BigInt(`0x${Buffer.from(s).reverse().toString('hex')}`) + ed25519.Point.Fn.ORDER;
  return Buffer.from(value.toString(16).padStart(64, '0'), 'hex').reverse();
}

/** A key of seeds, with noble. */
function compositeOfNoble(alg: CompositeName) {
  const { label, mlDsa: mlDsaName } = compositeFacts[alg];
  const mlDsa = noble[mlDsaName];
  const { secretKey, publicKey } = mlDsa.keygen(seed(3));
  const traditional =
    alg === 'mldsa65-p256'
      ? {
          secret: ecPrivateKey(seed(4)),
          publicKey: p256.getPublicKey(seed(4), false),
          sign: (m: Uint8Array) => p256.sign(m, seed(4), { format: 'der', lowS: false }),
        }
      : {
          secret: seed(4),
          publicKey: ed25519.getPublicKey(seed(4)),
          sign: (m: Uint8Array) => ed25519.sign(m, seed(4)),
        };
  return {
    secret: Buffer.concat([seed(3), traditional.secret]),
    publicKey: Buffer.concat([publicKey, traditional.publicKey]),
    sign(m: Uint8Array, own: Uint8Array): Uint8Array {
      const signed = representative(alg, m, own);
      const first = mlDsa.sign(signed, secretKey, { context: Buffer.from(label) });
      return Buffer.concat([first, traditional.sign(signed)]);
    },
  };
}

/** RFC 5915 with the curve and without the public key. */
function ecPrivateKey(scalar: Uint8Array): Uint8Array {
  const der = Buffer.concat([
    Buffer.from('30310201010420', 'hex'),
    scalar,
    Buffer.from('a00a06082a8648ce3d030107', 'hex'),
  ]);
  createPrivateKey({ key: der, format: 'der', type: 'sec1' });
  return der;
}
