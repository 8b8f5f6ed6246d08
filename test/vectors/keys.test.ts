import assert from 'node:assert/strict';
import { createHmac, hash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { type BatchItem, type BatchResult, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { type KeyTypeName, keyTypes, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { wordInput } from '../../src/engine/rooms.ts';
import { parseKid } from '../../src/keys/kid.ts';
import { derivationLabel, sealingLabel } from '../../src/keys/labels.ts';
import { parseSealed, sealedHeader } from '../../src/operations/sealing/sealed-form.ts';
import { aad, bytes, hex, runBatch, tenant } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import { deriveVectors, sealVectors } from './keys.ts';

const directory = join(import.meta.dirname, '..', '..', 'docs', 'vectors', 'keys');
const files = { 'derive.json': deriveVectors(), 'seal.json': sealVectors() };
const textOf = (vectors: object) => `${JSON.stringify(vectors, undefined, 2)}\n`;
const sums = Object.entries(files).map(([name, vectors]) => `${hash('sha256', textOf(vectors))}  ${name}\n`);

test('the published vectors of derived and sealed are those of node:crypto and noble (INTAGLIO_VECTORS=write writes them)', () => {
  if (process.env.INTAGLIO_VECTORS === 'write') {
    for (const [name, vectors] of Object.entries(files))
      writeFileSync(join(directory, name), textOf(vectors));
    writeFileSync(join(directory, 'SHA256SUMS'), sums.join(''));
  }
  for (const [name, vectors] of Object.entries(files))
    assert.equal(readFileSync(join(directory, name), 'utf8'), textOf(vectors), name);
  assert.equal(readFileSync(join(directory, 'SHA256SUMS'), 'utf8'), sums.join(''));
});

test('labels and headers are those of the vectors', () => {
  for (const { tenant, purpose, alg, context, label } of files['derive.json'].cases)
    assert.equal(derivationLabel(tenant, purpose, alg, context), label);
  for (const { kid, info, sealed } of files['seal.json'].cases) {
    const { tenant, purpose, uuid, version = 0 } = parseKid(kid)!;
    assert.equal(sealingLabel(tenant, purpose, uuid, version), info);
    const form = parseSealed(bytes(sealed))!;
    assert.deepEqual([form.kid, hex(form.header)], [kid, hex(sealedHeader(kid))]);
  }
});

for (const { name, create } of availableEngines()) {
  const engine = create();
  const root = engine.openRoot({ kind: 'memory' });
  const reference = (keyType: KeyTypeName, secret: string) =>
    buildKeyReference(
      tenant,
      aad,
      engine.importKey(root, keyTypes[keyType], tenant, aad, bytes(secret)).sealed,
    );
  const run = (item: Omit<BatchItem, 'keyNumber'>): BatchResult => {
    const result = runBatch(engine, root, [{ keyNumber: 0, ...item }])[0] as BatchResult;
    assert.equal(result.status, batchStatuses.ok);
    return result;
  };

  test(`${name}: derived keys are those of the vectors`, () => {
    for (const { alg, label, parent_secret, secret, public_key = '' } of files['derive.json'].cases) {
      const { keyType } = findAlgorithm(alg)!.components[0];
      const { outputs } = run({
        op: batchOps.derive,
        scheme: schemes['hkdf-sha256'],
        key: reference('hkdf-sha256', parent_secret),
        inputs: [Buffer.from(label), wordInput(keyType), Buffer.from(tenant), Buffer.from(aad)],
      });
      const [sealed, publicKey] = outputs as [Uint8Array, Uint8Array];
      assert.equal(hex(publicKey), public_key, alg);
      if (alg !== 'hmac-sha256') continue;
      const key = buildKeyReference(tenant, aad, sealed);
      const message = Buffer.from('message');
      const tag = run({ op: batchOps.mac, scheme: schemes['hmac-sha256'], key, inputs: [message] });
      assert.equal(
        hex(tag.outputs[0] as Uint8Array),
        createHmac('sha256', bytes(secret)).update(message).digest('hex'),
      );
    }
  });

  test(`${name}: what the vectors sealed opens`, () => {
    for (const { kid, secret, info, aad: given, plaintext, sealed } of files['seal.json'].cases) {
      const { header, body } = parseSealed(bytes(sealed))!;
      const alg = parseKid(kid)!.algorithm.name as 'xaes-256-gcm';
      const { outputs } = run({
        op: batchOps.unwrap,
        scheme: schemes[alg],
        key: reference(alg, secret),
        inputs: [body, Buffer.from(info), Buffer.concat([header, bytes(given)])],
      });
      assert.equal(hex(outputs[0] as Uint8Array), plaintext);
    }
  });
}
