import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  type BatchItem,
  batchHeaderWords,
  batchOps,
  batchStatuses,
  encodeBatch,
  itemWords,
  readResults,
  responseFor,
  resultWords,
  spanWords,
} from '../../src/engine/batch.ts';
import { type Engine, keyTypes, type Scheme, schemes } from '../../src/engine/engine.ts';
import {
  aad,
  nextKeyNumber,
  runBatch,
  type SigningKeyTypeName,
  schemesOf,
  signatureOf,
  signItem,
  signOne,
  tenant,
  verifyOne,
} from '../support/batches.ts';

const message = Buffer.from('d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24', 'hex');
const { ok, rejected, keyUnusable, badInput } = batchStatuses;

/** What every engine owes whatever the words of a batch are. */
export function batchTests(engine: Engine, root: unknown): void {
  test('bad items among good ones have their own status and harm no other', () => {
    const ed25519 = engine.generate(root, keyTypes.ed25519, tenant, aad);
    const mlDsa = engine.generate(root, keyTypes['ml-dsa-44'], tenant, aad);
    const signature = signOne(engine, root, schemes.ed25519, ed25519, message).signature;
    const verify = (m: Uint8Array): BatchItem => ({
      op: batchOps.verify,
      scheme: schemes.ed25519,
      keyNumber: 0,
      key: ed25519.publicKey,
      inputs: [m, signature],
    });
    const items: BatchItem[] = [
      signItem(schemes.ed25519, ed25519, message),
      signItem(schemes['ml-dsa-44'], ed25519, message),
      signItem(schemes['ml-dsa-44'], mlDsa, message),
      verify(message),
      signItem(schemes.ed25519, { ...ed25519, sealed: new Uint8Array(0) }, message),
      verify(new Uint8Array(0)),
      signItem(schemes.ed25519, ed25519, new Uint8Array(0)),
    ];
    const results = runBatch(engine, root, items);
    assert.deepEqual(
      results.map(({ status }) => status),
      [ok, keyUnusable, ok, ok, keyUnusable, rejected, ok],
    );
    assert.deepEqual(signatureOf(results[0]), signature);
    const made = signatureOf(results[2]);
    assert.equal(verifyOne(engine, root, schemes['ml-dsa-44'], mlDsa.publicKey, message, made), ok);
  });

  test('a scheme that does not fit the key type is KEY_UNUSABLE', () => {
    const names = ['ed25519', 'ml-dsa-44', 'ecdsa-p256', 'rsa-2048'] as const;
    for (const name of names) {
      const key = engine.generate(root, keyTypes[name], tenant, aad);
      for (const scheme of Object.values(schemesOf).flat()) {
        if (schemesOf[name].includes(scheme)) continue;
        assert.equal(signOne(engine, root, scheme, key, message).status, keyUnusable, `${name} as ${scheme}`);
      }
    }
  });

  test('deterministic signing: as always for Ed25519 and RS256, BAD_INPUT for ECDSA and PSS', () => {
    const sign = (name: SigningKeyTypeName, scheme: Scheme) => {
      const key = engine.generate(root, keyTypes[name], tenant, aad);
      const op = batchOps.signDeterministic;
      const item = signItem(scheme, key, message, { op });
      const { signature } = signOne(engine, root, scheme, key, message);
      const [result] = runBatch(engine, root, [item]);
      return {
        status: result?.status,
        same: Buffer.compare(signatureOf(result), signature) === 0,
      };
    };
    assert.deepEqual(sign('ed25519', schemes.ed25519), { status: ok, same: true });
    assert.deepEqual(sign('rsa-2048', schemes.rs256), { status: ok, same: true });
    assert.equal(sign('rsa-2048', schemes.ps256).status, badInput);
    assert.equal(sign('ecdsa-p256', schemes['ecdsa-p256-sha256']).status, badInput);
  });

  test('words out of range make an item BAD_INPUT and nothing else', () => {
    const key = engine.generate(root, keyTypes.ed25519, tenant, aad);
    const items = [1, 2, 3].map(() => signItem(schemes.ed25519, key, message));
    // Of the second item; the spans of an item with one input and one output are its key, message and signature.
    const item = batchHeaderWords + itemWords;
    const [op, scheme, , , inputs, outputs] = [0, 1, 2, 3, 4, 5].map((word) => item + word) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const spans = batchHeaderWords + 3 * itemWords + 3 * spanWords;
    const [keyOffset, keyLength, messageOffset, messageLength, place, room] = [0, 1, 2, 3, 4, 5].map(
      (word) => spans + word,
    ) as [number, number, number, number, number, number];
    const cases: readonly (readonly [number, number])[] = [
      [op, 0],
      [op, batchOps.signDigest],
      [op, batchOps.signMu],
      [op, 63],
      [op, batchOps.mac],
      [op, 0xffffffff],
      [scheme, 0],
      [scheme, 19],
      [scheme, 0xffffffff],
      [keyOffset, 0xffffffff],
      [keyLength, 0xffffffff],
      [messageOffset, 0xffffffff],
      [messageLength, 0xffffffff],
      [place, 0xffffffff],
      // Onto the results of the batch.
      [place, 0],
      [place, 3 * 12 - 1],
      // One input less, which makes the message an output; none at all.
      [inputs, 0],
      [inputs, 2],
      [outputs, 0],
      [room, 0],
      [room, 63],
      [room, 0xffffffff],
    ];
    for (const [word, value] of cases) {
      const request = encodeBatch(items);
      setWord(request, word, value);
      const response = responseFor(request);
      engine.run(root, request, response);
      const statuses = readResults(items, response).map(({ status }) => status);
      assert.deepEqual(statuses, [ok, badInput, ok], `word ${word} = ${value}`);
    }
  });

  test('arrays that are malformed as a whole are thrown back', () => {
    const key = engine.generate(root, keyTypes.ed25519, tenant, aad);
    const request = encodeBatch([signItem(schemes.ed25519, key, message)]);
    const response = () => responseFor(request);
    const withWord = (index: number, value: number) => {
      const copy = request.slice();
      setWord(copy, index, value);
      return copy;
    };
    const cases: readonly (readonly [Uint8Array, Uint8Array])[] = [
      [new Uint8Array(0), response()],
      [request.subarray(0, 7), response()],
      [request.subarray(0, (batchHeaderWords + itemWords) * 4 - 1), response()],
      [withWord(0, 0), response()],
      [withWord(0, 4097), response()],
      [withWord(0, 0xffffffff), response()],
      [withWord(1, 11), response()],
      [request, new Uint8Array(0)],
      [request, response().subarray(1)],
    ];
    for (const [index, [bad, into]] of cases.entries()) {
      assert.throws(() => engine.run(root, bad, into), `case ${index}`);
    }
  });

  const anyWord = fc.oneof(fc.nat(8), fc.nat(300), fc.integer({ min: 0, max: 0xffffffff }));
  // Tables that agree with each other; everything else is random.
  const anyItem = fc.tuple(anyWord, anyWord, anyWord, fc.nat(6), fc.nat(3), fc.nat(2));
  const allSpans = 12;

  test('property: random words in sound tables are refused item by item, and nothing hangs', () => {
    fc.assert(
      fc.property(
        fc.array(anyItem, { minLength: 1, maxLength: 4 }),
        fc.array(anyWord, { minLength: allSpans * spanWords, maxLength: 60 }),
        (items, rest) => {
          const request = Uint32Array.from([items.length, 2048, allSpans, ...items.flat(), ...rest]);
          const response = new Uint8Array(2048);
          engine.run(root, new Uint8Array(request.buffer), response);
          const results = new Uint32Array(response.buffer, 0, items.length * resultWords);
          // Random bytes open no key; a random signature fits none.
          for (let index = 0; index < items.length; index++) {
            const status = results[index * resultWords];
            assert.ok([rejected, keyUnusable, badInput].includes(status as never));
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  test('property: random words throw nothing but that the batch is malformed', () => {
    fc.assert(
      fc.property(fc.array(anyWord, { minLength: 3, maxLength: 60 }), (words) => {
        const request = Uint32Array.from([1 + ((words[0] as number) % 4), 2048, ...words.slice(2)]);
        try {
          engine.run(root, new Uint8Array(request.buffer), new Uint8Array(2048));
        } catch (error) {
          const { code, name } = error as Error & { code?: string };
          assert.ok(code === 'MALFORMED_BATCH' || name === 'RangeError', String(error));
        }
      }),
      { numRuns: 300 },
    );
  });

  test('a batch of 4096 items signs each of them', () => {
    const key = engine.generate(root, keyTypes.ed25519, tenant, aad);
    const keyNumber = nextKeyNumber();
    const items = Array.from({ length: 4096 }, (_, index) =>
      signItem(schemes.ed25519, key, Buffer.of(index & 255, index >> 8), { keyNumber }),
    );
    const results = runBatch(engine, root, items);
    assert.ok(results.every(({ status }) => status === ok));
    assert.equal(
      new Set(results.map((result) => Buffer.from(signatureOf(result)).toString('hex'))).size,
      4096,
    );
  });
}

function setWord(request: Uint8Array, index: number, value: number): void {
  Buffer.from(request.buffer, request.byteOffset).writeUInt32LE(value, index * 4);
}
