import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  consistencyProof,
  emptyRoot,
  Frontier,
  hashBytes,
  inclusionProof,
  leafHash,
  leafHashInPlace,
  nodeHash,
  rootAt,
  verifyConsistency,
  verifyInclusion,
} from '../../../src/audit/format/merkle.ts';
import { decimals, MemoryTree } from '../../support/audit-trees.ts';
import { base64, vectors } from './vectors.ts';

const words = 'one two three four five six seven eit nain ten ileven twelf threeten fourten fivten'.split(
  ' ',
);

test('roots and proofs of the tree of 15 words are those of the Go module', () => {
  const tree = new MemoryTree(words.map((word) => Buffer.from(word)));
  for (const [size, root] of Object.entries(vectors.tessera_words_roots)) {
    assert.equal(base64(rootAt(Number(size), tree.node)), root);
  }
  for (const { index, size, proof } of vectors.tessera_words_inclusion) {
    const made = inclusionProof(index, size, tree.node);
    assert.deepEqual(made.map(base64), proof);
    assert.ok(verifyInclusion(index, size, tree.node(0, index), made, tree.root(size)));
  }
  for (const { old, new: size, proof } of vectors.tessera_words_consistency) {
    const made = consistencyProof(old, size, tree.node);
    assert.deepEqual(made.map(base64), proof);
    assert.ok(verifyConsistency(old, size, tree.root(old), tree.root(size), made));
  }
});

test('roots and proofs of the tree of 70,000 numbers are those of the Go module', () => {
  const tree = new MemoryTree(decimals(70_000));
  const frontier = new Frontier();
  for (let index = 0; index < tree.size; index++) {
    frontier.append(tree.node(0, index));
    const root = vectors.decimal_roots[index + 1];
    if (root !== undefined) assert.equal(base64(frontier.root()), root);
  }
  for (const { index, size, proof } of vectors.decimal_inclusion) {
    assert.deepEqual(inclusionProof(index, size, tree.node).map(base64), proof);
  }
  for (const [sizes, proof] of Object.entries(vectors.decimal_consistency)) {
    const [from, to] = sizes.split('->').map(Number) as [number, number];
    assert.deepEqual(consistencyProof(from, to, tree.node).map(base64), proof);
  }
});

test('the leaf of nothing, and the leaf of a record', () => {
  assert.equal(
    leafHash(Buffer.alloc(0)).toString('hex'),
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  );
  const record =
    '{"actor":"spiffe://acme/web-17","alg":"ed25519","input_hash":"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","key_id":"acme/tls/ed25519/0192f7c1","key_version":7,"op_id":"0192f7c1-5b1e-7c3a-9d2e-1f2a3b4c5d6e","purpose":"sign","result":"ok","seq":42,"tenant":"acme","ts":1763769600123456,"v":1}';
  const expected = 'a2449ad128788106fcbed67a433f7afddd06c8e928c0c4e9e2f48e58af119fde';
  assert.equal(leafHash(Buffer.from(record)).toString('hex'), expected);
  const bundle = Buffer.concat([Buffer.from([0x01, 0x3f]), Buffer.from(record)]);
  const before = Buffer.from(bundle);
  assert.equal(
    Buffer.from(leafHashInPlace(bundle, 2, bundle.length - 2), 'latin1').toString('hex'),
    expected,
  );
  assert.deepEqual(bundle, before);
  const long = Buffer.alloc(65_535, 7);
  assert.deepEqual(leafHash(long), leafHash(Buffer.from(long)));
});

/** RFC 6962 section 2.1, word for word. */
function mth(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return emptyRoot;
  if (leaves.length === 1) return leaves[0]!;
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  return nodeHash(mth(leaves.slice(0, split)), mth(leaves.slice(split)));
}

test('property: frontier, root from nodes and both proofs agree with the definition; nothing else verifies', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.nat(),
      fc.nat(),
      fc.nat({ max: 255 }),
      (size, a, b, flip) => {
        const tree = new MemoryTree(decimals(size));
        const leaves = Array.from({ length: size }, (_, index) => tree.node(0, index));
        const root = mth(leaves);
        assert.deepEqual(Buffer.from(rootAt(size, tree.node)), Buffer.from(root));
        const frontier = new Frontier();
        for (const leaf of leaves) frontier.appendLatin1(Buffer.from(leaf).toString('latin1'));
        assert.deepEqual(Buffer.from(frontier.root()), Buffer.from(root));
        const resumed = Frontier.of(frontier.size, frontier.nodes());
        assert.deepEqual(resumed.root(), frontier.root());

        const index = a % size;
        const path = inclusionProof(index, size, tree.node);
        assert.ok(verifyInclusion(index, size, leaves[index]!, path, root));
        const other = b % size;
        if (other !== index) assert.ok(!verifyInclusion(other, size, leaves[index]!, path, root));
        const from = (b % size) + 1;
        const proof = consistencyProof(from, size, tree.node);
        const fromRoot = mth(leaves.slice(0, from));
        assert.ok(verifyConsistency(from, size, fromRoot, root, proof));
        for (const changed of [path, proof]) {
          if (changed.length === 0) continue;
          const at = flip % changed.length;
          const wrong = changed.map((hash) => Uint8Array.from(hash));
          wrong[at]![flip % hashBytes]! ^= 1 << (flip % 8);
          assert.ok(
            changed === path
              ? !verifyInclusion(index, size, leaves[index]!, wrong, root)
              : !verifyConsistency(from, size, fromRoot, root, wrong),
          );
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('complete subtrees of 256 and 65,536 leaves are told of, in order', () => {
  const told: [number, string][] = [];
  const frontier = new Frontier((level, hash) => told.push([level, base64(hash)]));
  const tree = new MemoryTree(decimals(512));
  for (let index = 0; index < tree.size; index++) frontier.append(tree.node(0, index));
  assert.deepEqual(told, [
    [1, base64(tree.node(8, 0))],
    [1, base64(tree.node(8, 1))],
  ]);
  const big: number[] = [];
  const nodes = Array.from({ length: 16 }, (_, level) => leafHash(Buffer.from([level])));
  Frontier.of(65_535, nodes, (level) => big.push(level)).append(nodes[0]!);
  assert.deepEqual(big, [1, 2]);
});

/** A tree of equal leaves: the node of a level is the same everywhere, so that trees beyond 2^32 need no leaves. */
const equalNodes = [leafHash(Buffer.from('equal'))];
for (let level = 0; level < 53; level++) equalNodes.push(nodeHash(equalNodes[level]!, equalNodes[level]!));
const equalNode = (level: number) => equalNodes[level]!;

test('sizes around 2^32 and up to 2^53 - 1', () => {
  for (const size of [2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 40 + 5, Number.MAX_SAFE_INTEGER - 1]) {
    const nodes: Uint8Array[] = [];
    for (let rest = size, level = 0; rest > 0; rest = Math.floor(rest / 2), level++) {
      if (rest % 2 === 1) nodes.unshift(equalNode(level));
    }
    const frontier = Frontier.of(size, nodes);
    assert.deepEqual(Buffer.from(frontier.root()), Buffer.from(rootAt(size, equalNode)));
    frontier.append(equalNode(0));
    assert.equal(frontier.size, size + 1);
    const root = rootAt(size + 1, equalNode);
    assert.deepEqual(Buffer.from(frontier.root()), Buffer.from(root));
    for (const index of [0, 2 ** 32 - 1 < size ? 2 ** 32 - 1 : 1, size - 1, size]) {
      const path = inclusionProof(index, size + 1, equalNode);
      assert.ok(verifyInclusion(index, size + 1, equalNode(0), path, root));
    }
    const proof = consistencyProof(size, size + 1, equalNode);
    assert.ok(verifyConsistency(size, size + 1, rootAt(size, equalNode), root, proof));
    assert.ok(!verifyConsistency(size - 1, size + 1, rootAt(size, equalNode), root, proof));
  }
});

test('what is asked of an impossible position is a bug of the caller', () => {
  for (const [index, size] of [
    [0, 0],
    [1, 1],
    [-1, 1],
    [0.5, 1],
    [2 ** 53, 2 ** 53 + 2],
  ] as const) {
    assert.throws(() => inclusionProof(index, size, equalNode), RangeError);
    assert.ok(!verifyInclusion(index, size, equalNode(0), [], equalNode(0)));
  }
  assert.throws(() => consistencyProof(0, 1, equalNode), RangeError);
  assert.throws(() => consistencyProof(2, 1, equalNode), RangeError);
  assert.throws(() => Frontier.of(3, [equalNode(0)]), RangeError);
  assert.throws(() => Frontier.of(1, [equalNode(0), equalNode(0)]), RangeError);
  assert.throws(() => new Frontier().append(Buffer.alloc(31)), RangeError);
});
