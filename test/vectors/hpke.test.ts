import assert from 'node:assert/strict';
import test from 'node:test';
import { batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { keyTypes, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { aeadSchemes, openAead, secretKeyOf } from '../../src/engine/openssl/aeads.ts';
import { keySchedule } from '../../src/engine/openssl/hpke-labels.ts';
import { type KemScheme, kemSchemes } from '../../src/engine/openssl/kems.ts';
import { importSecret } from '../../src/engine/openssl/private-keys.ts';
import { aad, bytes, flipBit, runBatch, tenant } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import { readPublished } from '../support/published-vectors.ts';
import type { kemNames } from '../support/sealing.ts';

interface GoMessage {
  readonly alg: (typeof kemNames)[number];
  readonly kem_id: number;
  readonly private_key: string;
  readonly public_key: string;
  readonly info: string;
  readonly aad: string;
  readonly plaintext: string;
  readonly wrapped: string;
}

const messages = readPublished<GoMessage[]>('hpke-go.json');

for (const { name, create } of availableEngines()) {
  const engine = create();
  const root = engine.openRoot({ kind: 'memory' });

  test(`${name}: 20 messages that Go's crypto/hpke sealed open, and none with a bit changed`, () => {
    assert.equal(messages.length, 20);
    for (const message of messages) {
      const type = keyTypes[message.alg];
      const key = engine.importKey(root, type, tenant, aad, bytes(message.private_key));
      assert.deepEqual(Buffer.from(key.publicKey).toString('hex'), message.public_key);
      const open = (wrapped: Uint8Array) =>
        runBatch(engine, root, [
          {
            op: batchOps.unwrap,
            scheme: schemes[message.alg],
            keyNumber: 0,
            key: buildKeyReference(tenant, aad, key.sealed),
            inputs: [wrapped, bytes(message.info), bytes(message.aad)],
          },
        ])[0];
      const wrapped = bytes(message.wrapped);
      const opened = open(wrapped);
      assert.equal(opened?.status, batchStatuses.ok);
      assert.equal(Buffer.from(opened?.outputs[0] ?? []).toString('hex'), message.plaintext);
      for (const at of [0, wrapped.length >> 1, wrapped.length - 1])
        assert.equal(open(flipBit(wrapped, at * 8))?.status, batchStatuses.rejected);
    }
  });
}

interface PqVector {
  readonly kem_id: number;
  readonly kdf_id: number;
  readonly aead_id: number;
  readonly info: string;
  readonly skRm: string;
  readonly enc: string;
  readonly shared_secret: string;
  readonly key: string;
  readonly base_nonce: string;
  readonly encryptions: readonly { readonly aad: string; readonly ct: string; readonly pt: string }[];
}

const hkdfSha256 = 1;
const chaCha20Poly1305 = 3;

test('draft-ietf-hpke-pq: KEMs, key schedules of HKDF-SHA256 and what they encrypted, as Go carries them', () => {
  const vectors = readPublished<PqVector[]>('hpke-pq.json');
  const kems = Object.values(kemSchemes) as readonly KemScheme[];
  let schedules = 0;
  for (const vector of vectors) {
    const kem = kems.find(({ hpkeId }) => hpkeId === vector.kem_id);
    assert.ok(kem !== undefined);
    const key = importSecret(kem.keyType, Buffer.from(vector.skRm, 'hex'));
    assert.ok(key !== undefined && 'export' in key);
    const shared = kem.decapsulate(key, bytes(vector.enc));
    assert.equal(shared?.toString('hex'), vector.shared_secret, `KEM ${vector.kem_id}`);
    if (vector.kdf_id !== hkdfSha256) continue;
    schedules++;
    const aead = { id: vector.aead_id, keyBytes: vector.key.length / 2 };
    const made = keySchedule(vector.kem_id, shared ?? Buffer.alloc(0), bytes(vector.info), aead);
    assert.deepEqual([made.key.toString('hex'), made.nonce.toString('hex')], [vector.key, vector.base_nonce]);
    if (vector.aead_id !== chaCha20Poly1305) continue;
    const chaCha = aeadSchemes[schemes['chacha20-poly1305']];
    for (const { aad, ct, pt } of vector.encryptions) {
      const opened = openAead(chaCha, secretKeyOf(made.key), made.nonce, bytes(ct), bytes(aad));
      assert.equal(opened?.toString('hex'), pt);
    }
  }
  assert.ok(schedules >= 2);
});
