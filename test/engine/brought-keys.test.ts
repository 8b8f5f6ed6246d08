import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { type BatchResult, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { type KeyTypeName, keyTypes, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { wordInput } from '../../src/engine/rooms.ts';
import {
  aad,
  nextKeyNumber,
  runBatch,
  type SigningKeyTypeName,
  schemesOf,
  tenant,
} from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';

/** Material that is brought has the same verdict from every engine, and what one sealed the other opens. */

const directory = mkdtempSync(join(tmpdir(), 'intaglio-brought-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const path = join(directory, 'root');
const engines = availableEngines().map(({ name, create }, index) => {
  const engine = create();
  return { name, engine, root: engine.openRoot({ kind: index === 0 ? 'file-create' : 'file', path }) };
});
type Opened = (typeof engines)[0];

const info = Buffer.from('info');
const own = (bytes: Uint8Array) => Uint8Array.from(bytes);

function bring({ engine, root }: Opened, keyType: KeyTypeName, material: Uint8Array): BatchResult {
  const kem = 'x25519+ml-kem-768';
  const key = engine.generate(root, keyTypes[kem], tenant, aad);
  const run = (op: 12 | 18, of: Uint8Array, inputs: Uint8Array[]) =>
    runBatch(engine, root, [{ op, scheme: schemes[kem], keyNumber: 0, key: of, inputs }])[0] as BatchResult;
  const wrapped = run(batchOps.wrap, key.publicKey, [own(material), info, new Uint8Array()]);
  const inputs = [
    ...[wrapped.outputs[0] as Uint8Array, wordInput(keyTypes[keyType])],
    ...[Buffer.from(tenant), Buffer.from(aad), info],
  ];
  return run(batchOps.importWrapped, buildKeyReference(tenant, aad, key.sealed), inputs);
}

const der = (key: ReturnType<typeof createPrivateKey>) => key.export({ format: 'der', type: 'pkcs8' });
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const otherRsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
const explicit = generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' }).privateKey;
const ed25519 = generateKeyPairSync('ed25519').privateKey;

const flipped = (bytes: Buffer, at: number) => {
  const copy = Buffer.from(bytes);
  copy[at < 0 ? copy.length + at : at]! ^= 1;
  return copy;
};

/** The private exponent of another key. */
const mixedRsa = () => {
  const [mine, theirs] = [rsa, otherRsa].map((key) => key.export({ format: 'jwk' }));
  return der(createPrivateKey({ key: { ...mine, d: theirs!.d! }, format: 'jwk' }));
};

const materials: [KeyTypeName, string, () => Uint8Array, boolean][] = [
  ['rsa-2048', 'PKCS#8', () => der(rsa), true],
  ['rsa-2048', 'PKCS#1', () => rsa.export({ format: 'der', type: 'pkcs1' }), false],
  ['rsa-2048', 'a bit of its modulus changed', () => flipped(der(rsa), 60), false],
  ['rsa-2048', 'bytes behind it', () => Buffer.concat([der(rsa), Buffer.of(0)]), false],
  ['rsa-2048', 'cut', () => der(rsa).subarray(0, -1), false],
  ['rsa-3072', 'another size', () => der(rsa), false],
  ['ecdsa-p256', 'PKCS#8', () => der(p256), true],
  ['ecdsa-p256', 'another curve', () => der(p384), false],
  ['ecdsa-p256', 'SEC1', () => p256.export({ format: 'der', type: 'sec1' }), false],
  ['ecdsa-p256', 'a bit of its public point changed', () => flipped(der(p256), -1), false],
  ['ecdsa-p256', 'bytes behind it', () => Buffer.concat([der(p256), Buffer.of(0)]), false],
  ['ecdsa-p384', 'PKCS#8', () => der(p384), true],
  ['ed25519', 'raw', () => randomBytes(32), true],
  ['ed25519', 'PKCS#8', () => der(ed25519), true],
  ['ed25519', 'bytes behind it', () => Buffer.concat([der(ed25519), Buffer.of(0)]), false],
  ['x25519', 'PKCS#8 of Ed25519', () => der(ed25519), false],
  ['ml-dsa-44', 'raw', () => randomBytes(32), true],
  ['ml-dsa-65', 'raw', () => randomBytes(32), true],
  ['ml-dsa-87', 'raw', () => randomBytes(32), true],
  ['ml-kem-768', 'raw', () => randomBytes(64), true],
  ['ml-kem-1024', 'raw', () => randomBytes(64), true],
  ['x25519+ml-kem-768', 'raw', () => randomBytes(32), true],
  ['x25519+ml-kem-768', 'too long', () => randomBytes(64), false],
  ['hmac-sha256', 'raw', () => randomBytes(32), true],
  ['hkdf-sha256', 'raw', () => randomBytes(32), true],
  ['aes-256-gcm', 'raw', () => randomBytes(32), true],
  ['aes-256-gcm', 'too short', () => randomBytes(31), false],
];

for (const [keyType, what, make, good] of materials) {
  test(`${keyType}, ${what}: ${good ? 'taken' : 'refused'} by every engine`, () => {
    const material = make();
    const publicKeys = new Set<string>();
    for (const by of engines) {
      const { status, outputs } = bring(by, keyType, material);
      assert.equal(status, good ? batchStatuses.ok : batchStatuses.badInput, by.name);
      if (!good) continue;
      const [sealed, publicKey] = outputs as [Uint8Array, Uint8Array];
      publicKeys.add(Buffer.from(publicKey).toString('hex'));
      for (const user of engines) useIt(user, keyType, own(sealed));
    }
    assert.ok(publicKeys.size <= 1);
  });
}

test('an RSA key with the exponent of another is refused by AWS-LC; OpenSSL signs without that number', () => {
  for (const by of engines) {
    const { status } = bring(by, 'rsa-2048', mixedRsa());
    assert.equal(status, by.name === 'native' ? batchStatuses.badInput : batchStatuses.ok);
  }
});

test('explicit parameters of a curve are refused or taken as the named curve, and never as anything else', () => {
  for (const by of engines) {
    const { status } = bring(by, 'ecdsa-p256', der(explicit));
    assert.ok(status === batchStatuses.badInput || status === batchStatuses.ok, by.name);
  }
});

function useIt({ engine, root, name }: Opened, keyType: KeyTypeName, sealed: Uint8Array): void {
  const [scheme] = schemesOf[keyType as SigningKeyTypeName] ?? [];
  if (scheme === undefined) return;
  const key = buildKeyReference(tenant, aad, sealed);
  const item = { op: batchOps.sign, scheme, keyNumber: nextKeyNumber(), key, inputs: [Buffer.from('m')] };
  const [result] = runBatch(engine, root, [item]) as [BatchResult];
  assert.equal(result.status, batchStatuses.ok, `${name} opens it`);
}
