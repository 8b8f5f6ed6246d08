import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test from 'node:test';
import fc from 'fast-check';
import { type BatchItem, type BatchResult, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import {
  type Engine,
  type GeneratedKey,
  type KeyTypeName,
  keyTypes,
  schemes,
} from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { maxPlaintextBytes, nonceBytesOf, wordInput, wrappedBytes } from '../../src/engine/rooms.ts';
import { aad, flipBit, nextKeyNumber, runBatch, tenant } from '../support/batches.ts';
import { aeadNames, kemNames, type WrapName, wrap, wrapNames } from '../support/sealing.ts';
import { wrappedDataKeyTests } from './contract-data-keys.ts';

const { ok, rejected, keyUnusable, badInput } = batchStatuses;
const none = new Uint8Array(0);
const text = (value: string) => new Uint8Array(Buffer.from(value));
const info = text('ron-kms::acme::web::wrap::0196c1d2-7a3b-7c4d-8e5f-0123456789ab#v1');
const bound = text('aad of the caller');

const publicBytes: Readonly<Record<(typeof kemNames)[number], number>> = {
  x25519: 32,
  'ml-kem-768': 1184,
  'ml-kem-1024': 1568,
  'x25519+ml-kem-768': 1216,
};

/** What every engine owes to keys that encrypt, wrap and derive. */
export function sealingOpsTests(engine: Engine, root: unknown): void {
  const make = (name: KeyTypeName) => engine.generate(root, keyTypes[name], tenant, aad);
  const reference = ({ sealed }: GeneratedKey) => buildKeyReference(tenant, aad, sealed);
  const run = (item: Omit<BatchItem, 'keyNumber'> & { keyNumber?: number }): BatchResult =>
    runBatch(engine, root, [{ keyNumber: 0, ...item }])[0] as BatchResult;
  const parts = { engine, root, run, make, reference };

  encryptTests(parts);
  wrapTests(parts);
  kemTests(parts);
  dataKeyTests(parts);
  rewrapTests(parts);
  wrappedDataKeyTests(parts);
  separationTests(parts);
}

export interface SealingParts {
  readonly engine: Engine;
  readonly root: unknown;
  run(item: Omit<BatchItem, 'keyNumber'> & { keyNumber?: number }): BatchResult;
  make(name: KeyTypeName): GeneratedKey;
  reference(key: GeneratedKey): Uint8Array;
}

function encryptTests({ run, make, reference }: SealingParts): void {
  for (const name of aeadNames) {
    const scheme = schemes[name];
    const encrypt = (key: GeneratedKey, plaintext: Uint8Array, data = bound) =>
      run({ op: batchOps.encrypt, scheme, key: reference(key), inputs: [plaintext, data] });
    const decrypt = (key: GeneratedKey, nonce: Uint8Array, ciphertext: Uint8Array, data = bound) =>
      run({ op: batchOps.decrypt, scheme, key: reference(key), inputs: [nonce, ciphertext, data] });

    test(`${name}: encrypts and decrypts plaintexts of 0 to 65,536 bytes, each with a nonce of its own`, () => {
      const key = make(name);
      assert.equal(key.publicKey.length, 0);
      for (const bytes of [0, 1, 15, 16, 17, 1024, maxPlaintextBytes]) {
        const plaintext = randomBytes(bytes);
        const [one, two] = [1, 2].map(() => encrypt(key, plaintext));
        assert.ok(one !== undefined && two !== undefined);
        const [nonce, ciphertext] = one.outputs as [Uint8Array, Uint8Array];
        assert.deepEqual(
          [one.status, nonce.length, ciphertext.length],
          [ok, nonceBytesOf[scheme], bytes + 16],
        );
        assert.notDeepEqual(nonce, two.outputs[0]);
        const opened = decrypt(key, nonce, ciphertext);
        assert.deepEqual([opened.status, Buffer.from(opened.outputs[0] ?? none)], [ok, plaintext]);
      }
      assert.equal(encrypt(key, new Uint8Array(maxPlaintextBytes + 1)).status, badInput);
    });

    test(`${name}: what another key, another aad or an altered byte would open is rejected, with no output`, () => {
      const [key, other] = [make(name), make(name)];
      const [nonce, ciphertext] = encrypt(key, text('a plaintext')).outputs as [Uint8Array, Uint8Array];
      const refused = [
        decrypt(other, nonce, ciphertext),
        decrypt(key, nonce, ciphertext, text('aad of the caller.')),
        decrypt(key, nonce, ciphertext, none),
        decrypt(key, nonce.subarray(1), ciphertext),
        decrypt(key, Buffer.concat([nonce, Buffer.alloc(1)]), ciphertext),
        decrypt(key, none, ciphertext),
        decrypt(key, nonce, Buffer.concat([ciphertext, Buffer.alloc(1)])),
        decrypt(key, nonce, new Uint8Array(maxPlaintextBytes + 17)),
        ...Array.from({ length: ciphertext.length }, (_, cut) =>
          decrypt(key, nonce, ciphertext.subarray(0, cut)),
        ),
        ...Array.from({ length: ciphertext.length * 8 }, (_, bit) =>
          decrypt(key, nonce, flipBit(ciphertext, bit)),
        ),
        ...Array.from({ length: nonce.length * 8 }, (_, bit) =>
          decrypt(key, flipBit(nonce, bit), ciphertext),
        ),
      ];
      for (const { status, outputs } of refused) assert.deepEqual([status, outputs], [rejected, []]);
    });
  }

  test('a key of another type or none encrypts and decrypts nothing', () => {
    for (const name of aeadNames) {
      const scheme = schemes[name];
      for (const other of ['hmac-sha256', 'ed25519', 'hkdf-sha256', ...aeadNames] as const) {
        if (other === name) continue;
        const key = reference(make(other));
        const made = run({ op: batchOps.encrypt, scheme, key, inputs: [none, none] });
        const opened = run({
          op: batchOps.decrypt,
          scheme,
          key,
          inputs: [new Uint8Array(nonceBytesOf[scheme] ?? 0), new Uint8Array(16), none],
        });
        assert.deepEqual([made.status, opened.status], [keyUnusable, keyUnusable], `${other} as ${name}`);
      }
      assert.equal(
        run({ op: batchOps.encrypt, scheme, key: none, inputs: [none, none] }).status,
        keyUnusable,
      );
    }
  });
}

function wrapTests(parts: SealingParts): void {
  const { make } = parts;
  for (const name of wrapNames) {
    const ownAad = name === 'aes-256-kwp' ? none : bound;
    const use = wrap(parts, name);

    test(`${name}: wraps and unwraps, bound to info and aad`, () => {
      const key = make(name);
      for (const bytes of [1, 7, 8, 16, 32, 33, 64, 4096, maxPlaintextBytes]) {
        const plaintext = randomBytes(bytes);
        const wrapped = use.wrap(key, plaintext, info, ownAad);
        assert.equal(wrapped.status, ok);
        assert.equal(wrapped.outputs[0]?.length, wrappedBytes(schemes[name], bytes));
        const opened = use.unwrap(key, wrapped.outputs[0] ?? none, info, ownAad);
        assert.deepEqual([opened.status, Buffer.from(opened.outputs[0] ?? none)], [ok, plaintext]);
      }
      assert.equal(use.wrap(key, new Uint8Array(maxPlaintextBytes + 1), info, ownAad).status, badInput);
    });

    test(`${name}: what does not open is rejected, with no output`, () => {
      const [key, other] = [make(name), make(name)];
      const wrapped = use.wrap(key, randomBytes(32), info, ownAad).outputs[0] ?? none;
      const refused = [
        use.unwrap(other, wrapped, info, ownAad),
        use.unwrap(key, Buffer.concat([wrapped, Buffer.alloc(1)]), info, ownAad),
        use.unwrap(key, Buffer.concat([wrapped, Buffer.alloc(8)]), info, ownAad),
        use.unwrap(key, none, info, ownAad),
        use.unwrap(key, new Uint8Array(wrapped.length), info, ownAad),
        use.unwrap(key, new Uint8Array(wrapped.length).fill(255), info, ownAad),
        use.unwrap(key, new Uint8Array(wrappedBytes(schemes[name], maxPlaintextBytes) + 8), info, ownAad),
      ];
      if (name !== 'aes-256-kwp') {
        refused.push(use.unwrap(key, wrapped, text('another info'), ownAad));
        refused.push(use.unwrap(key, wrapped, none, ownAad));
        refused.push(use.unwrap(key, wrapped, info, none));
      }
      const step = wrapped.length > 200 ? 41 : 1;
      for (let at = 0; at < wrapped.length; at += step) {
        refused.push(use.unwrap(key, flipBit(wrapped, at * 8 + (at % 8)), info, ownAad));
        refused.push(use.unwrap(key, wrapped.subarray(0, at), info, ownAad));
      }
      for (const [index, { status, outputs }] of refused.entries())
        assert.deepEqual([status, outputs], [rejected, []], `case ${index}`);
    });

    test(`${name}: a key of another type neither wraps nor unwraps`, () => {
      for (const other of ['hmac-sha256', 'hkdf-sha256', 'ed25519', ...wrapNames] as const) {
        if (other === name) continue;
        const key = make(other);
        if (!(kemNames as readonly string[]).includes(name))
          assert.equal(use.wrap(key, randomBytes(32), info, none).status, keyUnusable, other);
        const wrapped = new Uint8Array(wrappedBytes(schemes[name], 32));
        assert.equal(use.unwrap(key, wrapped, info, none).status, keyUnusable, other);
      }
    });
  }

  test('aes-256-kwp refuses an aad and an empty plaintext', () => {
    const key = make('aes-256-kwp');
    const use = wrap(parts, 'aes-256-kwp');
    assert.equal(use.wrap(key, none, info, none).status, badInput);
    assert.equal(use.wrap(key, randomBytes(32), info, bound).status, badInput);
    const wrapped = use.wrap(key, randomBytes(32), info, none).outputs[0] ?? none;
    assert.equal(use.unwrap(key, wrapped, info, bound).status, badInput);
  });

  test('property: any plaintext, info and aad wrap and unwrap', () => {
    const keys = new Map(wrapNames.map((name) => [name, make(name)]));
    const blob = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(fc.constantFrom(...wrapNames), blob, blob, blob, (name, plaintext, anyInfo, anyAad) => {
        if (name === 'aes-256-kwp' && plaintext.length === 0) return;
        const use = wrap(parts, name);
        const key = keys.get(name) as GeneratedKey;
        const ownAad = name === 'aes-256-kwp' ? none : anyAad;
        const wrapped = use.wrap(key, plaintext, anyInfo, ownAad).outputs[0] ?? none;
        const opened = use.unwrap(key, wrapped, anyInfo, ownAad);
        assert.deepEqual([opened.status, Uint8Array.from(opened.outputs[0] ?? none)], [ok, plaintext]);
      }),
      { numRuns: 100 },
    );
  });
}

function kemTests({ engine, root, run, make, reference }: SealingParts): void {
  for (const name of kemNames) {
    const scheme = schemes[name];
    test(`${name}: the public key has its length, and none of another length wraps`, () => {
      const { publicKey } = make(name);
      assert.equal(publicKey.length, publicBytes[name]);
      for (const key of [publicKey.subarray(1), Buffer.concat([publicKey, Buffer.alloc(1)]), none]) {
        const made = run({ op: batchOps.wrap, scheme, key, inputs: [text('secret'), info, bound] });
        assert.equal(made.status, keyUnusable);
      }
    });

    test(`${name}: an imported seed gives the same public key again`, () => {
      const bytes = name.startsWith('ml-kem') ? 64 : 32;
      const [one, two] = [1, 2].map(() =>
        engine.importKey(root, keyTypes[name], tenant, aad, new Uint8Array(bytes).fill(5)),
      );
      assert.deepEqual(one?.publicKey, two?.publicKey);
      assert.equal(one?.sealed.length, 32 + bytes);
    });
  }

  // RFC 7748 and the X25519 points that any private key multiplies to zero: order 1, 2, 4 and 8, and their other forms.
  const smallOrder = [
    '0000000000000000000000000000000000000000000000000000000000000000',
    '0100000000000000000000000000000000000000000000000000000000000000',
    'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  ].map((hex) => new Uint8Array(Buffer.from(hex, 'hex')));

  test('x25519 and X-Wing: a public key of small order is unusable, such a share is rejected', () => {
    for (const name of ['x25519', 'x25519+ml-kem-768'] as const) {
      const scheme = schemes[name];
      const key = make(name);
      const wrapped = run({ op: batchOps.wrap, scheme, key: key.publicKey, inputs: [bound, info, none] })
        .outputs[0];
      assert.ok(wrapped !== undefined);
      for (const point of smallOrder) {
        const publicKey = Uint8Array.from(key.publicKey);
        publicKey.set(point, publicKey.length - 32);
        const made = run({ op: batchOps.wrap, scheme, key: publicKey, inputs: [bound, info, none] });
        assert.equal(made.status, keyUnusable);
        const altered = Uint8Array.from(wrapped);
        altered.set(point, name === 'x25519' ? 0 : 1088);
        const opened = run({
          op: batchOps.unwrap,
          scheme,
          key: reference(key),
          inputs: [altered, info, none],
        });
        assert.equal(opened.status, rejected);
      }
    }
  });

  test('ML-KEM: a public key with a coefficient that is not reduced is unusable (FIPS 203, 7.2)', () => {
    for (const name of ['ml-kem-768', 'ml-kem-1024', 'x25519+ml-kem-768'] as const) {
      const publicKey = Uint8Array.from(make(name).publicKey);
      // The first coefficient becomes 4095.
      publicKey[0] = 0xff;
      publicKey[1] = (publicKey[1] as number) | 0x0f;
      const made = run({
        op: batchOps.wrap,
        scheme: schemes[name],
        key: publicKey,
        inputs: [bound, info, none],
      });
      assert.equal(made.status, keyUnusable, name);
    }
  });
}

function dataKeyTests(parts: SealingParts): void {
  const { run, make, reference } = parts;
  for (const name of wrapNames) {
    const isKem = (kemNames as readonly string[]).includes(name);
    const ownAad = name === 'aes-256-kwp' ? none : bound;
    test(`${name}: makes data keys of 16, 32 and 64 bytes, the plaintext beside them only where it is asked for`, () => {
      const key = make(name);
      const dataKey = (size: Uint8Array, wanted: number) =>
        run({
          op: batchOps.dataKey,
          scheme: schemes[name],
          key: isKem ? key.publicKey : reference(key),
          inputs: [size, wordInput(wanted), info, ownAad],
        });
      for (const size of [16, 32, 64]) {
        const shown = dataKey(wordInput(size), 1);
        assert.deepEqual([shown.status, shown.outputs.length, shown.outputs[1]?.length], [ok, 2, size]);
        const opened = wrap(parts, name).unwrap(key, shown.outputs[0] ?? none, info, ownAad);
        assert.deepEqual([opened.status, opened.outputs[0]], [ok, shown.outputs[1]]);
        const hidden = dataKey(wordInput(size), 0);
        assert.deepEqual([hidden.status, hidden.outputs.length], [ok, 1]);
        const again = wrap(parts, name).unwrap(key, hidden.outputs[0] ?? none, info, ownAad);
        assert.deepEqual([again.status, again.outputs[0]?.length], [ok, size]);
        assert.notDeepEqual(again.outputs[0], opened.outputs[0]);
      }
      for (const size of [
        wordInput(0),
        wordInput(24),
        wordInput(65),
        wordInput(2 ** 32 - 1),
        none,
        text('a'),
        text('abcde'),
      ])
        assert.equal(dataKey(size, 1).status, badInput);
    });
  }
}

function rewrapTests(parts: SealingParts): void {
  const { run, make, reference } = parts;
  for (const name of wrapNames) {
    const isKem = (kemNames as readonly string[]).includes(name);
    const ownAad = name === 'aes-256-kwp' ? none : bound;
    const newInfo = text('the info of the next version');
    test(`${name}: what one version wrapped becomes wrapped by the next`, () => {
      const use = wrap(parts, name);
      const [old, next] = [make(name), make(name)];
      const rewrap = (key: GeneratedKey, wrapped: Uint8Array, oldInfo = info) =>
        run({
          op: batchOps.rewrap,
          scheme: schemes[name],
          key: reference(key),
          inputs: [isKem ? next.publicKey : reference(next), wrapped, oldInfo, newInfo, ownAad],
        });
      for (const bytes of [1, 32, 33, 40_000, maxPlaintextBytes]) {
        const plaintext = randomBytes(bytes);
        const wrapped = use.wrap(old, plaintext, info, ownAad).outputs[0] ?? none;
        const made = rewrap(old, wrapped);
        assert.deepEqual([made.status, made.outputs[0]?.length], [ok, wrapped.length]);
        const opened = use.unwrap(next, made.outputs[0] ?? none, newInfo, ownAad);
        assert.deepEqual([opened.status, Buffer.from(opened.outputs[0] ?? none)], [ok, plaintext]);
        assert.equal(use.unwrap(old, made.outputs[0] ?? none, newInfo, ownAad).status, rejected);
        assert.equal(rewrap(old, flipBit(wrapped, 8 * (wrapped.length - 1))).status, rejected);
        assert.equal(rewrap(next, wrapped).status, rejected);
      }
      assert.equal(rewrap(old, none).status, rejected);
    });
  }

  for (const name of aeadNames)
    test(`${name}: what one version encrypted becomes encrypted by the next`, () => {
      const scheme = schemes[name];
      const [old, next] = [make(name), make(name)];
      for (const bytes of [0, 100, 40_000, maxPlaintextBytes]) {
        const plaintext = randomBytes(bytes);
        const first = run({ op: batchOps.encrypt, scheme, key: reference(old), inputs: [plaintext, bound] });
        const reencrypt = (key: GeneratedKey, data: Uint8Array) =>
          run({
            op: batchOps.reencrypt,
            scheme,
            key: reference(key),
            inputs: [reference(next), ...(first.outputs as [Uint8Array, Uint8Array]), data],
          });
        const made = reencrypt(old, bound);
        assert.equal(made.status, ok);
        const inputs = [...(made.outputs as [Uint8Array, Uint8Array]), bound];
        const opened = run({ op: batchOps.decrypt, scheme, key: reference(next), inputs });
        assert.deepEqual([opened.status, Buffer.from(opened.outputs[0] ?? none)], [ok, plaintext]);
        assert.equal(reencrypt(next, bound).status, rejected);
        assert.equal(reencrypt(old, none).status, rejected);
      }
    });
}

function separationTests(parts: SealingParts): void {
  const { run, make, reference } = parts;
  test('nothing that wrap made opens by decrypt, and nothing that encrypt made by unwrap', () => {
    for (const name of aeadNames) {
      const scheme = schemes[name];
      const key = make(name);
      const nonceBytes = nonceBytesOf[scheme] as number;
      const use = wrap(parts, name);
      const wrapped = use.wrap(key, bound, info, none).outputs[0] ?? none;
      const split = [wrapped.subarray(0, nonceBytes), wrapped.subarray(nonceBytes), none];
      assert.equal(
        run({ op: batchOps.decrypt, scheme, key: reference(key), inputs: split }).status,
        rejected,
      );
      const made = run({ op: batchOps.encrypt, scheme, key: reference(key), inputs: [bound, none] });
      const joined = Buffer.concat(made.outputs);
      for (const anyInfo of [info, none])
        assert.equal(use.unwrap(key, joined, anyInfo, none).status, rejected);
    }
  });

  test('ops that a scheme does not do are BAD_INPUT', () => {
    const { encrypt, decrypt, reencrypt, wrap: wrapOp, unwrap, derive, importWrapped, sign, mac } = batchOps;
    const { encryptUnder, decryptUnder } = batchOps;
    const cases: readonly (readonly [keyof typeof schemes, readonly number[]])[] = [
      ...kemNames.map(
        (name) =>
          [name, [encrypt, decrypt, reencrypt, encryptUnder, decryptUnder, derive, sign, mac]] as const,
      ),
      ...aeadNames.map((name) => [name, [derive, importWrapped, sign, mac]] as const),
      [
        'aes-256-kwp',
        [encrypt, decrypt, reencrypt, encryptUnder, decryptUnder, derive, importWrapped, sign, mac],
      ],
      ['hkdf-sha256', [encrypt, decrypt, reencrypt, wrapOp, unwrap, importWrapped, sign, mac]],
      ['rsa-oaep-sha256-kwp', [encrypt, decrypt, wrapOp, unwrap, derive, sign, mac]],
      ['ed25519', [encrypt, decrypt, wrapOp, unwrap, derive, importWrapped]],
      ['hmac-sha256', [encrypt, decrypt, wrapOp, unwrap, derive, importWrapped]],
    ];
    for (const [name, ops] of cases) {
      const key = name === 'rsa-oaep-sha256-kwp' ? none : reference(make(name as KeyTypeName));
      for (const op of ops) {
        const inputs = Array.from(
          { length: { 10: 2, 11: 3, 12: 3, 13: 3, 16: 4, 17: 4, 18: 5, 19: 5, 20: 6 }[op] ?? 1 },
          () => none,
        );
        const { status } = run({ op: op as BatchItem['op'], scheme: schemes[name], key, inputs });
        assert.equal(status, badInput, `${name}, op ${op}`);
      }
    }
  });

  test('an opened key is found by its number for encrypting and unwrapping', () => {
    for (const name of ['xaes-256-gcm', 'x25519+ml-kem-768'] satisfies WrapName[]) {
      const key = make(name);
      const keyNumber = nextKeyNumber();
      const use = wrap(parts, name);
      const wrapped = use.wrap(key, bound, info, none).outputs[0] ?? none;
      const unwrap = (reference: Uint8Array) =>
        run({
          op: batchOps.unwrap,
          scheme: schemes[name],
          key: reference,
          keyNumber,
          inputs: [wrapped, info, none],
        });
      assert.equal(unwrap(none).status, keyUnusable);
      assert.equal(unwrap(reference(key)).status, ok);
      assert.equal(unwrap(none).status, ok);
      parts.engine.forget(keyNumber);
      assert.equal(unwrap(none).status, keyUnusable);
    }
  });
}
