import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import { batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { wordInput } from '../../src/engine/rooms.ts';
import { codeOf, unwrap } from '../support/keyring.ts';
import { acme, openOperations, planOf } from '../support/operations.ts';

const plaintext = Buffer.from('attack at dawn');
const aad = Buffer.from('order 7');
const nonce = Buffer.alloc(24, 1);
const none = Buffer.alloc(0);
const sha256 = (...parts: Uint8Array[]) =>
  `sha256:${createHash('sha256').update(Buffer.concat(parts)).digest('hex')}`;
const infoOf = (kid: string) => {
  const [tenant, purpose, , uuid] = kid.split('/');
  return Buffer.from(`ron-kms::${tenant}::${purpose}::wrap::${uuid}`);
};

test('an encryption is work of the secret key, and its record has no digest of the plaintext', async (t) => {
  const { makeKey, operations } = openOperations(t);
  const { kid, id } = await makeKey('xaes-256-gcm');
  const { work, answer } = await planOf(operations.encrypt, { kid: id, plaintext, aad });
  assert.deepEqual(
    [work.kind, work.items[0]!.op, work.items[0]!.inputs],
    ['encrypt', batchOps.encrypt, [plaintext, aad]],
  );
  assert.match(Buffer.from(work.items[0]!.key).toString(), /^reference/);
  assert.equal(work.inputDigest, '', 'none: a digest of few possible plaintexts tells which one it was');
  assert.equal(work.encryption, undefined, 'nobody counts nonces of 192 bits');
  assert.equal(unwrap(answer()).kid, kid);
});

test('encryptions and wraps with nonces of 96 bits are counted for the version that makes them', async (t) => {
  const { makeKey, operations, keyring } = openOperations(t);
  for (const alg of ['aes-256-gcm', 'chacha20-poly1305']) {
    const { kid, id } = await makeKey(alg);
    const counted = { kid: `${id}#v2`, most: 2 ** 31 };
    unwrap(await keyring.rotate({ tenant: 'acme', actor: 'tester', kid: id }));
    const works = [
      (await planOf(operations.encrypt, { kid: id, plaintext, aad })).work,
      (await planOf(operations.wrap, { kid: id, plaintext, aad })).work,
      (await planOf(operations.wrap, { kid: id, plaintext: 32, aad })).work,
      (await planOf(operations.datakey, { kid: id, size: 16, aad, withPlaintext: true })).work,
      (await planOf(operations.rewrap, { kid, from: { wrapped: plaintext }, aad })).work,
      (await planOf(operations.rewrap, { kid, from: { nonce, ciphertext: plaintext }, aad })).work,
    ];
    for (const work of works) assert.deepEqual(work.encryption, counted, work.kind);
    const { work } = await planOf(operations.decrypt, { kid, nonce, ciphertext: plaintext, aad });
    assert.equal(work.encryption, undefined);
  }
});

test('what is to be opened is recorded by a digest of what came, and refused with one text', async (t) => {
  const { makeKey, operations } = openOperations(t);
  const aead = await makeKey('aes-256-gcm');
  const kem = await makeKey('ml-kem-768');
  const ciphertext = Buffer.alloc(40, 2);
  const opening = [
    await planOf(operations.decrypt, { kid: aead.kid, nonce, ciphertext, aad }),
    await planOf(operations.unwrap, { kid: aead.kid, wrapped: ciphertext, aad }),
    await planOf(operations.unwrap, { kid: kem.kid, wrapped: ciphertext, aad }),
    await planOf(operations.rewrap, { kid: kem.kid, from: { wrapped: ciphertext }, aad }),
  ];
  const digests = opening.map(({ work }) => work.inputDigest);
  assert.deepEqual(digests, [sha256(nonce, ciphertext), ...Array(3).fill(sha256(ciphertext))]);
  for (const { work } of opening) {
    const refusalOf = (status: (typeof batchStatuses)[keyof typeof batchStatuses]) =>
      work.refusal?.([{ status, outputs: [], elapsedNs: 1 }])?.failure;
    assert.equal(refusalOf(batchStatuses.ok), undefined);
    for (const status of [batchStatuses.rejected, batchStatuses.badInput])
      assert.deepEqual(refusalOf(status), {
        code: 'BadRequest',
        hint: 'this does not open with this key and aad',
      });
    for (const status of [batchStatuses.keyUnusable, batchStatuses.internal])
      assert.deepEqual(refusalOf(status), { code: 'Internal' });
  }
});

test('a wrap by a KEM key uses its public key alone, an unwrap its private one', async (t) => {
  const { makeKey, operations } = openOperations(t);
  const { kid } = await makeKey('x25519+ml-kem-768');
  const wrap = (await planOf(operations.wrap, { kid, plaintext, aad })).work;
  assert.deepEqual([wrap.kind, wrap.items[0]!.op], ['encapsulate', batchOps.wrap]);
  assert.doesNotMatch(Buffer.from(wrap.items[0]!.key).toString(), /reference/);
  assert.deepEqual(wrap.items[0]!.inputs, [plaintext, Buffer.concat([infoOf(kid)]), aad]);
  assert.equal(wrap.inputDigest, '');
  const unwrapping = (await planOf(operations.unwrap, { kid, wrapped: plaintext, aad })).work;
  assert.deepEqual([unwrapping.kind, unwrapping.items[0]!.op], ['decapsulate', batchOps.unwrap]);
  assert.match(Buffer.from(unwrapping.items[0]!.key).toString(), /^reference/);
});

test('a data key says its size, whether it is told, and the label of its version', async (t) => {
  const { makeKey, operations } = openOperations(t);
  const { kid } = await makeKey('aes-256-gcm');
  for (const [withPlaintext, wanted] of [
    [false, 0],
    [true, 1],
  ] as const) {
    const { work } = await planOf(operations.datakey, { kid, size: 64, aad: none, withPlaintext });
    assert.equal(work.items[0]!.op, batchOps.dataKey);
    assert.deepEqual(
      work.items[0]!.inputs.map((input) => Buffer.from(input)),
      [Buffer.from(wordInput(64)), Buffer.from(wordInput(wanted)), infoOf(kid), none],
    );
  }
  assert.deepEqual(
    [false, true].map((withPlaintext) =>
      operations.datakey.scopes?.of({ kid, size: 16, aad, withPlaintext }),
    ),
    [['kms:wrap'], ['kms:wrap', 'kms:unwrap']],
  );
});

test('a rewrap uses both versions, each with its label, and answers for the current one', async (t) => {
  const { makeKey, operations, keyring } = openOperations(t);
  for (const alg of ['ml-kem-1024', 'xaes-256-gcm', 'aes-256-kwp']) {
    const { kid, id } = await makeKey(alg);
    const second = unwrap(await keyring.rotate({ tenant: 'acme', actor: 'tester', kid: id })).kid;
    const { work, answer } = await planOf(operations.rewrap, {
      kid,
      from: { wrapped: plaintext },
      aad: none,
    });
    const [item] = work.items;
    assert.deepEqual([work.kind, item!.op], ['rewrap', batchOps.rewrap]);
    assert.match(Buffer.from(item!.key).toString(), /^reference .*#v1/, 'the old version opens');
    const [newKey, wrapped, oldInfo, newInfo] = item!.inputs.map((input) => Buffer.from(input));
    assert.equal(/^reference .*#v2/.test(newKey!.toString()), alg !== 'ml-kem-1024');
    assert.deepEqual([wrapped, oldInfo, newInfo], [plaintext, infoOf(kid), infoOf(second)]);
    assert.deepEqual(
      work.uses.map(({ keyId, version }) => `${keyId}#v${version}`),
      [kid, second],
    );
    assert.equal(unwrap(answer()).kid, second);
    const anew = await planOf(operations.rewrap, { kid: id, from: { wrapped: plaintext }, aad: none });
    assert.equal(anew.work.uses.length, 1, 'one use where both versions are one');
  }
});

test('keys of other kinds, destroyed keys and keys of others are refused', async (t) => {
  const { makeKey, operations, keyring } = openOperations(t);
  const codes = async (kid: string) => [
    codeOf(await operations.encrypt.plan({ kid, plaintext, aad }, acme)),
    codeOf(await operations.decrypt.plan({ kid, nonce, ciphertext: plaintext, aad }, acme)),
    codeOf(await operations.wrap.plan({ kid, plaintext, aad }, acme)),
    codeOf(await operations.unwrap.plan({ kid, wrapped: plaintext, aad }, acme)),
    codeOf(await operations.datakey.plan({ kid, size: 16, aad, withPlaintext: false }, acme)),
    codeOf(await operations.rewrap.plan({ kid, from: { wrapped: plaintext }, aad }, acme)),
  ];
  const six = (code: string) => Array(6).fill(code);
  assert.deepEqual(await codes((await makeKey('hmac-sha256')).kid), six('Unsupported'));
  assert.deepEqual(await codes((await makeKey('aes-256-gcm', 'globex')).kid), six('NotFound'));
  assert.deepEqual(await codes('no kid'), six('BadRequest'));
  const { kid, id } = await makeKey('aes-256-gcm');
  unwrap(await keyring.destroy({ tenant: 'acme', actor: 'tester', kid: id }));
  assert.deepEqual(await codes(kid), six('Conflict'));
});

test('an algorithm that is not allowed is used by none of them', async (t) => {
  const { makeKey, operations } = openOperations(t, { allowedAlgorithms: new Set(['ed25519']) });
  const { kid } = await makeKey('aes-256-gcm');
  for (const planned of [
    await operations.encrypt.plan({ kid, plaintext, aad }, acme),
    await operations.unwrap.plan({ kid, wrapped: plaintext, aad }, acme),
    await operations.rewrap.plan({ kid, from: { wrapped: plaintext }, aad }, acme),
  ])
    assert.equal(codeOf(planned), 'PolicyViolation');
});
