import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after, describe } from 'node:test';
import fc from 'fast-check';
import { batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { type Engine, keyTypes, type Scheme, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import {
  aad,
  flipBit,
  nextKeyNumber,
  runBatch,
  type SigningKeyTypeName,
  schemesOf,
  signItem,
  signOne,
  tenant,
  verifyOne,
} from '../support/batches.ts';

const publicKeyLengths: Readonly<Record<SigningKeyTypeName, number>> = {
  ed25519: 32,
  'ml-dsa-44': 1312,
  'ml-dsa-65': 1952,
  'ml-dsa-87': 2592,
  'ecdsa-p256': 65,
  'ecdsa-p384': 97,
  'mldsa65-ed25519': 1952 + 32,
  'mldsa44-ed25519': 1312 + 32,
  'mldsa65-p256': 1952 + 65,
  'rsa-2048': 294,
  'rsa-3072': 422,
  'rsa-4096': 550,
};

import { testEngineOptions } from '../support/engines.ts';
import { batchTests } from './contract-batch.ts';
import { macTests } from './contract-mac.ts';
import { newKeyTests } from './contract-new-keys.ts';
import { resealTests } from './contract-reseal.ts';
import { rootTests } from './contract-root.ts';
import { sealingOpsTests } from './contract-sealing.ts';

const message = Buffer.from('d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24', 'hex');
const { ok, rejected, keyUnusable } = batchStatuses;

/** What every engine owes; `create` may return one engine again and again. */
export function engineContract(name: string, create: () => Engine): void {
  describe(`engine ${name}`, () => {
    const engine = create();
    const root = engine.openRoot({ kind: 'memory' });
    const directory = mkdtempSync(join(tmpdir(), 'intaglio-engine-'));
    after(() => rmSync(directory, { recursive: true, force: true }));

    test('the description says how often each generator reseeds, its own as it was set', () => {
      const { name, reseeds } = engine.description;
      const expected =
        name === 'native'
          ? { own: testEngineOptions.reseedIntervalOps, 'aws-lc': 4_096 }
          : { openssl: 65_536 };
      assert.deepEqual(reseeds, expected);
    });
    signingTests(engine, root);
    macTests(engine, root);
    sealingTests(engine, root);
    sealingOpsTests(engine, root);
    newKeyTests(engine, root);
    batchTests(engine, root);
    cacheTests(engine, root);
    resealTests(engine);
    rootTests(engine, directory);
  });
}

function signingTests(engine: Engine, root: unknown): void {
  for (const keyTypeName of Object.keys(schemesOf) as SigningKeyTypeName[]) {
    test(`${keyTypeName}: a new key signs, its public key verifies, anything else is refused`, () => {
      const key = engine.generate(root, keyTypes[keyTypeName], tenant, aad);
      assert.equal(key.publicKey.length, publicKeyLengths[keyTypeName]);
      for (const scheme of schemesOf[keyTypeName]) {
        const { status, signature, elapsedNs } = signOne(engine, root, scheme, key, message);
        assert.equal(status, ok);
        assert.ok(elapsedNs > 0);
        const check = (m: Uint8Array, s: Uint8Array) => verifyOne(engine, root, scheme, key.publicKey, m, s);
        assert.equal(check(message, signature), ok);
        assert.equal(check(flipBit(message, 0), signature), rejected);
        assert.equal(check(message, flipBit(signature, signature.length * 8 - 9)), rejected);
        assert.equal(check(message, signature.subarray(1)), rejected);
        assert.equal(check(message, Buffer.concat([signature, Buffer.alloc(1)])), rejected);
        assert.equal(check(message, new Uint8Array(0)), rejected);
      }
    });
  }

  test('an imported seed gives the same key again, and the caller’s copy is wiped', () => {
    for (const keyTypeName of ['ed25519', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'] as const) {
      const [first, second] = [1, 2].map(() => {
        const seed = new Uint8Array(32).fill(7);
        const key = engine.importKey(root, keyTypes[keyTypeName], tenant, aad, seed);
        assert.deepEqual(seed, new Uint8Array(32));
        return key;
      });
      assert.deepEqual(first?.publicKey, second?.publicKey);
      assert.notDeepEqual(first?.sealed, second?.sealed);
    }
  });

  test('an import of what is no secret of the type is refused and still wipes it', () => {
    for (const keyType of Object.values(keyTypes)) {
      const secret = new Uint8Array(31).fill(9);
      assert.throws(() => engine.importKey(root, keyType, tenant, aad, secret), { code: 'BAD_ARGUMENT' });
      assert.deepEqual(secret, new Uint8Array(31));
    }
  });

  test('an unknown key type and an unknown root are refused', () => {
    assert.throws(() => engine.generate(root, 99 as never, tenant, aad), { code: 'BAD_ARGUMENT' });
    assert.throws(() => engine.generate('no root', keyTypes.ed25519, tenant, aad), { code: 'BAD_ARGUMENT' });
  });

  test('no public key of its scheme is KEY_UNUSABLE in a verification', () => {
    const rsa = engine.generate(root, keyTypes['rsa-2048'], tenant, aad).publicKey;
    const p256 = engine.generate(root, keyTypes['ecdsa-p256'], tenant, aad).publicKey;
    const hybridForm = Uint8Array.from(p256);
    hybridForm[0] = 6 + ((p256[64] as number) & 1);
    const cases: readonly (readonly [keyof typeof schemes, Uint8Array])[] = [
      ['ed25519', new Uint8Array(31)],
      ['ed25519', new Uint8Array(33)],
      ['ed25519', new Uint8Array(0)],
      ['ml-dsa-44', new Uint8Array(1311)],
      ['ml-dsa-65', new Uint8Array(1312)],
      ['ml-dsa-87', new Uint8Array(2593)],
      ['ecdsa-p256-sha256', flipBit(p256, 64 * 8)],
      ['ecdsa-p256-sha256', hybridForm],
      ['ecdsa-p256-sha256', p256.subarray(0, 64)],
      ['ecdsa-p256-sha256', Uint8Array.of(0)],
      ['ecdsa-p256-sha256', rsa],
      ['ps256', rsa.subarray(1)],
      ['ps256', Buffer.concat([rsa, Buffer.alloc(1)])],
      ['rs256', p256],
      ['rs256', new Uint8Array(0)],
    ];
    for (const [scheme, key] of cases) {
      const status = verifyOne(engine, root, schemes[scheme], key, message, new Uint8Array(64));
      assert.equal(status, keyUnusable, `${scheme}, ${key.length} bytes`);
    }
  });
}

function sealingTests(engine: Engine, root: unknown): void {
  test('a sealed blob opens only under its tenant, its aad and its root', () => {
    const key = engine.generate(root, keyTypes.ed25519, tenant, aad);
    const otherRoot = engine.openRoot({ kind: 'memory' });
    const sign = (r: unknown, t: string, a: string) =>
      runBatch(engine, r, [
        {
          op: batchOps.sign,
          scheme: 1,
          keyNumber: 0,
          key: buildKeyReference(t, a, key.sealed),
          inputs: [message],
        },
      ])[0]?.status;
    assert.equal(sign(root, tenant, aad), ok);
    assert.equal(sign(otherRoot, tenant, aad), keyUnusable);
    assert.equal(sign(root, 'acme2', aad), keyUnusable);
    assert.equal(sign(root, '', aad), keyUnusable);
    assert.equal(sign(root, tenant, `${aad}2`), keyUnusable);
    assert.equal(sign(root, tenant, ''), keyUnusable);
    // The same bytes, cut elsewhere between tenant and aad.
    assert.equal(sign(root, `${tenant}a`, aad.slice(1)), keyUnusable);
  });

  test('a blob with any byte altered, cut or lengthened does not open', () => {
    for (const keyType of [keyTypes.ed25519, keyTypes['ecdsa-p256']] as const) {
      const key = engine.generate(root, keyType, tenant, aad);
      const altered: Uint8Array[] = [];
      for (let index = 0; index < key.sealed.length; index++) {
        altered.push(flipBit(key.sealed, index * 8 + (index % 8)), key.sealed.subarray(0, index));
      }
      altered.push(Buffer.concat([key.sealed, Buffer.alloc(1)]));
      const scheme = keyType === keyTypes.ed25519 ? schemes.ed25519 : schemes['ecdsa-p256-sha256'];
      const results = runBatch(
        engine,
        root,
        altered.map((sealed) => signItem(scheme, { ...key, sealed }, message)),
      );
      for (const [index, result] of results.entries()) {
        assert.equal(result.status, keyUnusable, `alteration ${index}`);
        assert.deepEqual(result.outputs, []);
      }
    }
  });

  test('property: tenants and aads of any text seal and open again', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (t, a) => {
        const key = engine.generate(root, keyTypes.ed25519, t, a);
        const opening = buildKeyReference(t, a, key.sealed);
        const [result] = runBatch(engine, root, [
          { op: batchOps.sign, scheme: 1, keyNumber: 0, key: opening, inputs: [message] },
        ]);
        assert.equal(result?.status, ok);
      }),
      { numRuns: 50 },
    );
  });

  test('property: an opening of random bytes is KEY_UNUSABLE, whatever its lengths say', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (opening) => {
        const [result] = runBatch(engine, root, [
          { op: batchOps.sign, scheme: 1, keyNumber: 0, key: opening, inputs: [message] },
        ]);
        assert.equal(result?.status, keyUnusable);
      }),
    );
  });
}

function cacheTests(engine: Engine, root: unknown): void {
  test('an opened key is found by its number until it is forgotten', () => {
    const key = engine.generate(root, keyTypes.ed25519, tenant, aad);
    const keyNumber = nextKeyNumber();
    const nothing = { ...key, sealed: new Uint8Array(0) };
    const sign = (k: typeof key) =>
      runBatch(engine, root, [signItem(schemes.ed25519, k, message, { keyNumber })])[0]?.status;
    assert.equal(sign(nothing), keyUnusable);
    assert.equal(sign(key), ok);
    assert.equal(sign(nothing), ok);
    engine.forget(keyNumber);
    assert.equal(sign(nothing), keyUnusable);
    engine.forget(keyNumber);
  });

  test('number 0 is never cached', () => {
    const key = engine.generate(root, keyTypes.ed25519, tenant, aad);
    const before = engine.stats().cachedKeys;
    assert.equal(signOne(engine, root, schemes.ed25519, key, message).status, ok);
    assert.equal(engine.stats().cachedKeys, before);
    const nothing = { ...key, sealed: new Uint8Array(0) };
    assert.equal(signOne(engine, root, schemes.ed25519, nothing, message).status, keyUnusable);
  });

  test('a cached key does not sign under a scheme it does not fit', () => {
    const key = engine.generate(root, keyTypes.ed25519, tenant, aad);
    const keyNumber = nextKeyNumber();
    const items = [schemes.ed25519, schemes['ml-dsa-44']].map((s) =>
      signItem(s, key, message, { keyNumber }),
    );
    assert.deepEqual(
      runBatch(engine, root, items).map(({ status }) => status),
      [ok, keyUnusable],
    );
  });

  test('one number with two public keys verifies each with its own', () => {
    const keyNumber = nextKeyNumber();
    for (const keyTypeName of ['ed25519', 'ml-dsa-44', 'ecdsa-p256', 'ed25519'] as const) {
      const scheme = schemesOf[keyTypeName][0] as Scheme;
      const make = () => {
        const { sealed, publicKey } = engine.generate(root, keyTypes[keyTypeName], tenant, aad);
        const { signature } = signOne(engine, root, scheme, { sealed, publicKey }, message);
        return { publicKey, signature };
      };
      const one = make();
      const two = make();
      const check = (publicKey: Uint8Array, signature: Uint8Array) =>
        verifyOne(engine, root, scheme, publicKey, message, signature, keyNumber);
      assert.equal(check(one.publicKey, one.signature), ok);
      assert.equal(check(two.publicKey, two.signature), ok);
      assert.equal(check(two.publicKey, one.signature), rejected);
      assert.equal(check(one.publicKey, one.signature), ok);
    }
  });

  test('the cache of opened keys is bounded, and an evicted key opens again', () => {
    const keys = Array.from({ length: 600 }, () => ({
      key: engine.generate(root, keyTypes['ml-dsa-44'], tenant, aad),
      keyNumber: nextKeyNumber(),
    }));
    const items = keys.map(({ key, keyNumber }) =>
      signItem(schemes['ml-dsa-44'], key, message, { keyNumber }),
    );
    assert.ok(runBatch(engine, root, items).every(({ status }) => status === ok));
    assert.ok(engine.stats().cachedKeys < 600);
    assert.equal(runBatch(engine, root, items.slice(0, 1))[0]?.status, ok);
  });
}
