import assert from 'node:assert/strict';
import {
  constants,
  createCipheriv,
  createPublicKey,
  generateKeyPairSync,
  hkdfSync,
  publicEncrypt,
  randomBytes,
} from 'node:crypto';
import test from 'node:test';
import { type BatchItem, type BatchResult, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { type Engine, type KeyTypeName, keyTypes, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { wordInput } from '../../src/engine/rooms.ts';
import { aad, flipBit, runBatch, schemesOf, signOne, tenant, verifyOne } from '../support/batches.ts';

const { ok, rejected, keyUnusable, badInput } = batchStatuses;
const none = new Uint8Array(0);
const text = (value: string) => new Uint8Array(Buffer.from(value));
const label = text('ron-kms::acme::web::derive::ed25519::eu-1::blue::7');

const derivable = [
  'ed25519',
  'ml-dsa-44',
  'ml-dsa-65',
  'ml-dsa-87',
  'x25519',
  'ml-kem-768',
  'ml-kem-1024',
  'x25519+ml-kem-768',
  'hmac-sha256',
  'xaes-256-gcm',
] as const;
const underivable = ['ecdsa-p256', 'rsa-2048'] as const;

/** What every engine owes to keys that come of others: derived, or brought under a wrapping key. */
export function newKeyTests(engine: Engine, root: unknown): void {
  const run = (item: Omit<BatchItem, 'keyNumber'>): BatchResult =>
    runBatch(engine, root, [{ keyNumber: 0, ...item }])[0] as BatchResult;
  const make = (name: KeyTypeName) => engine.generate(root, keyTypes[name], tenant, aad);
  const reference = (sealed: Uint8Array) => buildKeyReference(tenant, aad, sealed);
  const word = (name: KeyTypeName) => wordInput(keyTypes[name]);

  const derive = (
    sealed: Uint8Array,
    type: Uint8Array,
    info = label,
    scheme: BatchItem['scheme'] = schemes['hkdf-sha256'],
  ) =>
    run({
      op: batchOps.derive,
      scheme,
      key: reference(sealed),
      inputs: [info, type, text(tenant), text(aad)],
    });

  test('a derived key is HKDF-SHA256 of the secret and the label, the same each time, and sealed for its tenant', () => {
    const secret = randomBytes(32);
    const own = engine.importKey(root, keyTypes['hkdf-sha256'], tenant, aad, Uint8Array.from(secret));
    for (const name of derivable) {
      const [one, two] = [1, 2].map(() => derive(own.sealed, word(name)));
      assert.equal(one?.status, ok, name);
      const bytes = name.startsWith('ml-kem') ? 64 : 32;
      const expected = new Uint8Array(hkdfSync('sha256', secret, '', label, bytes));
      const imported = engine.importKey(root, keyTypes[name], tenant, aad, expected);
      const [sealed, publicKey] = one.outputs as [Uint8Array, Uint8Array];
      assert.deepEqual(Buffer.from(publicKey), Buffer.from(imported.publicKey));
      assert.deepEqual(publicKey, two?.outputs[1]);
      assert.equal(sealed.length, imported.sealed.length);
      assert.notDeepEqual(sealed, two?.outputs[0]);
    }
    const [sealed, publicKey] = derive(own.sealed, word('ed25519')).outputs as [Uint8Array, Uint8Array];
    const { status, signature } = signOne(engine, root, schemes.ed25519, { sealed, publicKey }, label);
    assert.equal(status, ok);
    assert.equal(verifyOne(engine, root, schemes.ed25519, publicKey, label, signature), ok);
  });

  test('another label or secret gives another key; a type with structure or none is BAD_INPUT', () => {
    const own = make('hkdf-sha256');
    const publicOf = (result: BatchResult) => Buffer.from(result.outputs[1] ?? none).toString('hex');
    const first = publicOf(derive(own.sealed, word('ed25519')));
    assert.notEqual(publicOf(derive(own.sealed, word('ed25519'), text('another'))), first);
    assert.notEqual(publicOf(derive(make('hkdf-sha256').sealed, word('ed25519'))), first);
    for (const name of underivable) assert.equal(derive(own.sealed, word(name)).status, badInput);
    for (const type of [wordInput(0), wordInput(99), none, text('abc')])
      assert.equal(derive(own.sealed, type).status, badInput);
    assert.equal(derive(make('hmac-sha256').sealed, word('ed25519')).status, keyUnusable);
  });

  const info = text('ron-kms::acme::web::import::ed25519');
  const rsa = make('rsa-4096');
  const xWing = make('x25519+ml-kem-768');
  const underRsa = (secret: Uint8Array, oaepHash = 'sha256', aesBytes = 32) => {
    const aesKey = randomBytes(aesBytes);
    const key = createPublicKey({ key: Buffer.from(rsa.publicKey), format: 'der', type: 'spki' });
    const oaep = { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash };
    const cipher = createCipheriv(
      aesBytes === 32 ? 'id-aes256-wrap-pad' : 'id-aes128-wrap-pad',
      aesKey,
      Buffer.from('a65959a6', 'hex'),
    );
    return Buffer.concat([publicEncrypt(oaep, aesKey), cipher.update(secret), cipher.final()]);
  };
  const underXWing = (secret: Uint8Array) =>
    run({
      op: batchOps.wrap,
      scheme: schemes['x25519+ml-kem-768'],
      key: xWing.publicKey,
      inputs: [secret, info, none],
    }).outputs[0] ?? none;
  const importBy = (by: 'rsa' | 'x-wing', material: Uint8Array, type: Uint8Array, ownInfo = info) =>
    run({
      op: batchOps.importWrapped,
      scheme: by === 'rsa' ? schemes['rsa-oaep-sha256-kwp'] : schemes['x25519+ml-kem-768'],
      key: reference(by === 'rsa' ? rsa.sealed : xWing.sealed),
      inputs: [material, type, text(tenant), text(aad), ownInfo],
    });
  const ways = [
    ['rsa', underRsa],
    ['x-wing', underXWing],
  ] as const;

  test('key material under RSA-OAEP with AES key wrap or X-Wing becomes a sealed key that works', () => {
    for (const [by, wrapped] of ways) {
      for (const name of ['ed25519', 'ml-dsa-65', 'ecdsa-p256', 'rsa-2048'] as const) {
        const secret = secretOf(name);
        const made = importBy(by, wrapped(secret), word(name));
        assert.equal(made.status, ok, `${name} by ${by}`);
        const [sealed, publicKey] = made.outputs as [Uint8Array, Uint8Array];
        assert.deepEqual(
          Buffer.from(publicKey),
          Buffer.from(engine.importKey(root, keyTypes[name], tenant, aad, Uint8Array.from(secret)).publicKey),
        );
        const scheme = schemesOf[name][0] as BatchItem['scheme'];
        const { status, signature } = signOne(engine, root, scheme, { sealed, publicKey }, label);
        assert.equal(status, ok);
        assert.equal(verifyOne(engine, root, scheme, publicKey, label, signature), ok);
      }
    }
  });

  test('material that does not open is rejected; one that opens and is no secret of the type is BAD_INPUT', () => {
    for (const [by, wrapped] of ways) {
      const good = wrapped(randomBytes(32));
      const refused = [
        none,
        good.subarray(1),
        good.subarray(0, good.length - 1),
        good.subarray(0, 512),
        good.subarray(0, 100),
        new Uint8Array(5000),
        ...[0, 100, 511, 513, good.length - 1].map((at) => flipBit(good, at * 8)),
      ];
      for (const material of refused) {
        const { status, outputs } = importBy(by, material, word('ed25519'));
        assert.deepEqual([status, outputs], [rejected, []], `${by}, ${material.length} bytes`);
      }
      assert.equal(importBy(by, wrapped(randomBytes(31)), word('ed25519')).status, badInput);
      assert.equal(importBy(by, wrapped(randomBytes(32)), word('rsa-2048')).status, badInput);
      assert.equal(importBy(by, good, wordInput(99)).status, badInput);
    }
    assert.equal(importBy('rsa', underRsa(randomBytes(32), 'sha1'), word('ed25519')).status, rejected);
    assert.equal(importBy('rsa', underRsa(randomBytes(32), 'sha256', 16), word('ed25519')).status, rejected);
    assert.equal(
      importBy('x-wing', underXWing(randomBytes(32)), word('ed25519'), text('other')).status,
      rejected,
    );
  });
}

function secretOf(name: 'ed25519' | 'ml-dsa-65' | 'ecdsa-p256' | 'rsa-2048'): Uint8Array {
  const pkcs8 = { format: 'der', type: 'pkcs8' } as const;
  if (name === 'ecdsa-p256')
    return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export(pkcs8);
  if (name === 'rsa-2048')
    return generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export(pkcs8);
  return randomBytes(32);
}
