import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { openCheckpoint, parseCheckpoint } from '../../../src/audit/format/checkpoint.ts';
import { parseNote, parseVkey } from '../../../src/audit/format/note.ts';
import { decodeBundle, parseTilePath } from '../../../src/audit/format/tiles.ts';
import { parseTlogProof, verifyTlogProof } from '../../../src/audit/format/tlog-proof.ts';
import { parseAddCheckpoint } from '../../../src/audit/witness/add-checkpoint.ts';
import { newSkey, parseSkey } from '../../../src/audit/witness/keys.ts';
import { parsePolicy } from '../../../src/audit/witness/policy.ts';
import { testKeys, testOrigin, vectorFile } from './vectors.ts';

/** A good text with some of its bytes replaced, taken out or put in. */
function spoiled(good: Uint8Array): fc.Arbitrary<Uint8Array> {
  const edit = fc.record({
    at: fc.nat(),
    remove: fc.nat({ max: 3 }),
    insert: fc.uint8Array({ maxLength: 3 }),
  });
  return fc.array(edit, { minLength: 1, maxLength: 4 }).map((edits) =>
    edits.reduce<Uint8Array>((bytes, { at, remove, insert }) => {
      const from = at % (bytes.length + 1);
      return Buffer.concat([bytes.subarray(0, from), insert, bytes.subarray(from + remove)]);
    }, good),
  );
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

const readers: readonly (readonly [string, Uint8Array, (bytes: Uint8Array) => unknown])[] = [
  ['note', vectorFile('checkpoint'), parseNote],
  ['checkpoint', Buffer.from(`${testOrigin}\n0\nAAAA\n`), (bytes) => parseCheckpoint(text(bytes))],
  ['vkey', Buffer.from(testKeys[0].vkey), (bytes) => parseVkey(text(bytes))],
  ['skey', Buffer.from(newSkey('w', 0x04)), (bytes) => parseSkey(text(bytes))],
  ['proof', vectorFile('index-12345.tlog-proof'), parseTlogProof],
  ['request', vectorFile('add-checkpoint-65537-70000.txt'), parseAddCheckpoint],
  [
    'policy',
    Buffer.from(`witness a ${testKeys[2].vkey} http://a\nquorum a\n`),
    (bytes) => parsePolicy(text(bytes)),
  ],
  ['path', Buffer.from('tile/0/x001/000.p/7'), (bytes) => parseTilePath(text(bytes))],
  ['bundle', Buffer.from('0003616263000161', 'hex'), (bytes) => decodeBundle(bytes, 2)],
];

for (const [name, good, read] of readers) {
  test(`property: reading a spoiled ${name} never throws`, () => {
    fc.assert(
      fc.property(fc.oneof(spoiled(good), fc.uint8Array({ maxLength: 80 })), (bytes) => void read(bytes)),
      { numRuns: 300 },
    );
  });
}

test('property: a spoiled checkpoint or proof that still opens says what it said before', () => {
  const checkpoint = vectorFile('checkpoint');
  fc.assert(
    fc.property(spoiled(checkpoint), (bytes) => {
      const opened = openCheckpoint(bytes, testOrigin, testKeys.slice(0, 2));
      if (opened.ok) assert.equal(opened.value.size, 70_000);
    }),
    { numRuns: 100 },
  );
  fc.assert(
    fc.property(spoiled(vectorFile('index-12345.tlog-proof')), (bytes) => {
      const proven = verifyTlogProof(bytes, Buffer.from('12345'), testOrigin, testKeys.slice(0, 1));
      if (proven.ok) assert.deepEqual([proven.value.index, proven.value.checkpoint.size], [12_345, 70_000]);
    }),
    { numRuns: 100 },
  );
});
