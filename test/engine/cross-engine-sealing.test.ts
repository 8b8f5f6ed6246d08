import assert from 'node:assert/strict';
import { createPrivateKey, decapsulate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { ml_kem768_x25519 } from '@noble/post-quantum/hybrid.js';
import { ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js';
import fc from 'fast-check';
import { type BatchItem, type BatchResult, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { type Engine, type GeneratedKey, keyTypes, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { aeadSchemes, openAead, secretKeyOf } from '../../src/engine/openssl/aeads.ts';
import { keySchedule } from '../../src/engine/openssl/hpke-labels.ts';
import { wordInput } from '../../src/engine/rooms.ts';
import { aad, flipBit, runBatch, tenant } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import { aeadNames, wrap, wrapNames } from '../support/sealing.ts';

const directory = mkdtempSync(join(tmpdir(), 'intaglio-cross-sealing-'));
after(() => rmSync(directory, { recursive: true }));

const none = new Uint8Array(0);
const info = Buffer.from('info');
const engines = availableEngines().map(({ create }) => create());
const path = join(directory, 'root');
engines[0]?.openRoot({ kind: 'file-create', path });

/** The same root key in each engine. */
const benches = engines.map((engine) => {
  const root = engine.openRoot({ kind: 'file', path });
  const run = (item: Omit<BatchItem, 'keyNumber'>) =>
    runBatch(engine, root, [{ keyNumber: 0, ...item }])[0] as BatchResult;
  return { engine, root, run, reference: (key: GeneratedKey) => buildKeyReference(tenant, aad, key.sealed) };
});
const named = ({ engine }: { engine: Engine }) => engine.description.name;

for (const maker of benches)
  for (const opener of benches) {
    const way = `${named(maker)} -> ${named(opener)}`;
    for (const name of wrapNames)
      test(`${way}: what a ${name} key wrapped opens in the other engine`, () => {
        const key = maker.engine.generate(maker.root, keyTypes[name], tenant, aad);
        for (const bytes of [1, 32, 65_536]) {
          const plaintext = Buffer.alloc(bytes, 7);
          const made = wrap(maker, name).wrap(key, plaintext, info, none);
          const opened = wrap(opener, name).unwrap(key, made.outputs[0] ?? none, info, none);
          assert.deepEqual(
            [opened.status, Buffer.from(opened.outputs[0] ?? none)],
            [batchStatuses.ok, plaintext],
          );
        }
      });
    for (const name of aeadNames)
      test(`${way}: what a ${name} key encrypted decrypts in the other engine`, () => {
        const key = maker.engine.generate(maker.root, keyTypes[name], tenant, aad);
        const common = { scheme: schemes[name], key: maker.reference(key) };
        const made = maker.run({ ...common, op: batchOps.encrypt, inputs: [info, info] });
        const opened = opener.run({ ...common, op: batchOps.decrypt, inputs: [...made.outputs, info] });
        assert.deepEqual([opened.status, Buffer.from(opened.outputs[0] ?? none)], [batchStatuses.ok, info]);
      });
  }

test('every engine derives the same keys', () => {
  const [maker] = benches;
  const key = maker?.engine.generate(maker.root, keyTypes['hkdf-sha256'], tenant, aad);
  for (const name of ['ed25519', 'ml-dsa-65', 'ml-kem-768', 'x25519+ml-kem-768'] as const) {
    const made = benches.map(({ run, reference }) =>
      run({
        op: batchOps.derive,
        scheme: schemes['hkdf-sha256'],
        key: reference(key as GeneratedKey),
        inputs: [info, wordInput(keyTypes[name]), Buffer.from(tenant), Buffer.from(aad)],
      }),
    );
    for (const { status, outputs } of made)
      assert.deepEqual([status, outputs[1]], [batchStatuses.ok, made[0]?.outputs[1]]);
  }
});

test('property: altered, cut and lengthened wrappings have the same verdict in every engine', () => {
  const [maker] = benches;
  if (maker === undefined) return;
  const made = wrapNames.map((name) => {
    const key = maker.engine.generate(maker.root, keyTypes[name], tenant, aad);
    return {
      name,
      key,
      wrapped: wrap(maker, name).wrap(key, Buffer.alloc(32, 7), info, none).outputs[0] ?? none,
    };
  });
  fc.assert(
    fc.property(fc.constantFrom(...made), fc.nat(20_000), fc.nat(2), ({ name, key, wrapped }, at, how) => {
      const altered =
        how === 0
          ? flipBit(wrapped, at % (wrapped.length * 8))
          : how === 1
            ? wrapped.subarray(0, at % wrapped.length)
            : Buffer.concat([wrapped, Buffer.alloc(1 + (at % 40))]);
      const statuses = benches.map((bench) => wrap(bench, name).unwrap(key, altered, info, none).status);
      assert.deepEqual(
        statuses,
        statuses.map(() => batchStatuses.rejected),
      );
    }),
    { numRuns: 300 },
  );
});

const kems = [
  { name: 'ml-kem-768', kem: ml_kem768, hpkeId: 0x0041, seedBytes: 64, encBytes: 1088 },
  { name: 'ml-kem-1024', kem: ml_kem1024, hpkeId: 0x0042, seedBytes: 64, encBytes: 1568 },
  { name: 'x25519+ml-kem-768', kem: ml_kem768_x25519, hpkeId: 0x647a, seedBytes: 32, encBytes: 1120 },
] as const;

for (const bench of benches)
  for (const { name, kem, hpkeId, seedBytes, encBytes } of kems)
    test(`${named(bench)}: ${name} is noble's: the same keys, and each opens the other's encapsulations`, () => {
      const seed = new Uint8Array(seedBytes).map((_, n) => n * 7 + 1);
      const { publicKey, secretKey } = kem.keygen(Uint8Array.from(seed));
      const key = bench.engine.importKey(bench.root, keyTypes[name], tenant, aad, Uint8Array.from(seed));
      assert.deepEqual(Buffer.from(key.publicKey), Buffer.from(publicKey));
      const made = wrap(bench, name).wrap(key, info, info, none).outputs[0] ?? none;
      const enc = Uint8Array.from(made.subarray(0, encBytes));
      const shared = kem.decapsulate(enc, secretKey);
      const { key: aeadKey, nonce } = keySchedule(hpkeId, shared, info);
      const gcm = aeadSchemes[schemes['aes-256-gcm']];
      const opened = openAead(gcm, secretKeyOf(aeadKey), nonce, made.subarray(encBytes), none);
      assert.deepEqual(opened, info);
      if (name === 'x25519+ml-kem-768') return;
      const own = createPrivateKey({ key: Buffer.from(seed), format: 'raw-seed', asymmetricKeyType: name });
      assert.deepEqual(decapsulate(own, enc), Buffer.from(shared));
    });
