import assert from 'node:assert/strict';
import test from 'node:test';
import { emptyRoot, leafHash, verifyConsistency, verifyInclusion } from '../../../src/audit/format/merkle.ts';

/*
 * The proofs of github.com/transparency-dev/merkle, proof/verify_test.go (Apache-2.0), over its eight leaves, and every
 * way in which that test spoils them. Its JSON vectors, testdata/{inclusion,consistency}, are this list written out.
 */
const leaves = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
];

function hex(text: string): Uint8Array {
  return Buffer.from(text, 'hex');
}

const h = {
  leaf0: hex('6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d'),
  leaf1: hex('96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7'),
  leaf4: hex('bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b'),
  leaf6: hex('b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f'),
  pair0: hex('fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125'),
  pair1: hex('5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e'),
  pair2: hex('0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a'),
  pair3: hex('ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0'),
  four0: hex('d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7'),
  four1: hex('6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4'),
};

const roots = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
].map(hex);

const someHash = hex('abacaba000000000000000000000000000000000000000000060061e00123456');
const nothing = new Uint8Array(0);

function flipped(proof: readonly Uint8Array[], at: number, bit: number): Uint8Array[] {
  return proof.map((hash, index) =>
    index === at ? Uint8Array.from(hash, (byte, i) => (i === 0 ? byte ^ bit : byte)) : hash,
  );
}

test('inclusion proofs of transparency-dev/merkle verify, and none of their corruptions', () => {
  const proofs: [number, number, Uint8Array[]][] = [
    [0, 1, []],
    [0, 8, [h.leaf1, h.pair1, h.four1]],
    [5, 8, [h.leaf4, h.pair3, h.four0]],
    [2, 3, [h.pair0]],
    [1, 5, [h.leaf0, h.pair1, h.leaf4]],
  ];
  let refused = 0;
  for (const [index, size, proof] of proofs) {
    const leaf = leafHash(hex(leaves[index]!));
    const root = roots[size - 1]!;
    assert.ok(verifyInclusion(index, size, leaf, proof, root));
    const corrupted: [number, number, Uint8Array, Uint8Array[], Uint8Array][] = [
      [index - 1, size, leaf, proof, root],
      [index + 1, size, leaf, proof, root],
      [index ^ 2, size, leaf, proof, root],
      [index, size * 2, leaf, proof, root],
      [index, Math.floor(size / 2), leaf, proof, root],
      [index, size, Buffer.from('WrongLeaf'), proof, root],
      [index, size, leaf, proof, emptyRoot],
      [index, size, leaf, proof, someHash],
      [index, size, leaf, [...proof, nothing], root],
      [index, size, leaf, [...proof, root], root],
      [index, size, leaf, [nothing, ...proof], root],
      [index, size, leaf, [root, ...proof], root],
      ...proof.map((_, at): [number, number, Uint8Array, Uint8Array[], Uint8Array] => [
        index,
        size,
        leaf,
        flipped(proof, at, 8),
        root,
      ]),
    ];
    if (proof.length > 0) corrupted.push([index, size, leaf, proof.slice(0, -1), root]);
    if (proof.length > 1) {
      corrupted.push([index, size, leaf, [...proof.slice(1), proof[0]!, someHash], root]);
    }
    for (const probe of corrupted) assert.equal(verifyInclusion(...probe), false, String(refused));
    refused += corrupted.length;
  }
  assert.ok(refused >= 70);
});

test('inclusion in trees of no leaf and of one, with hashes of wrong lengths', () => {
  const hash = leafHash(Buffer.from('data'));
  assert.ok(verifyInclusion(0, 1, hash, [], hash));
  assert.ok(!verifyInclusion(0, 1, nothing, [], hash));
  assert.ok(!verifyInclusion(0, 1, hash, [], nothing));
  assert.ok(!verifyInclusion(0, 1, nothing, [], nothing));
  for (const [index, size] of [
    [0, 0],
    [0, 1],
    [1, 0],
    [2, 1],
  ] as const) {
    assert.ok(!verifyInclusion(index, size, someHash, [], nothing));
    assert.ok(!verifyInclusion(index, size, nothing, [], emptyRoot));
    assert.ok(!verifyInclusion(index, size, someHash, [], emptyRoot));
  }
});

test('consistency proofs of transparency-dev/merkle verify, and none of their corruptions', () => {
  const proofs: [number, number, Uint8Array[]][] = [
    [1, 8, [h.leaf1, h.pair1, h.four1]],
    [6, 8, [h.pair2, h.pair3, h.four0]],
    [2, 5, [h.pair1, h.leaf4]],
    [6, 7, [h.pair2, h.leaf6, h.four0]],
  ];
  let refused = 0;
  for (const [from, to, proof] of proofs) {
    const [root1, root2] = [roots[from - 1]!, roots[to - 1]!];
    assert.ok(verifyConsistency(from, to, root1, root2, proof));
    const wrong = Buffer.from('WrongRoot');
    const corrupted: [number, number, Uint8Array, Uint8Array, Uint8Array[]][] = [
      [from - 1, to, root1, root2, proof],
      [from + 1, to, root1, root2, proof],
      [from ^ 2, to, root1, root2, proof],
      [from, to * 2, root1, root2, proof],
      [from, Math.floor(to / 2), root1, root2, proof],
      [from, to, wrong, root2, proof],
      [from, to, root1, wrong, proof],
      [from, to, root2, root1, proof],
    ];
    const changed: Uint8Array[][] = [
      [],
      [...proof, nothing],
      [...proof, root1],
      [...proof, root2],
      [nothing, ...proof],
      [root1, ...proof],
      [root2, ...proof],
      [proof[0]!, ...proof],
      proof.slice(0, -1),
      ...proof.map((_, at) => flipped(proof, at, 16)),
    ];
    for (const other of changed) corrupted.push([from, to, root1, root2, other]);
    for (const probe of corrupted) assert.equal(verifyConsistency(...probe), false, String(refused));
    refused += corrupted.length;
  }
  assert.ok(refused >= 70);
});

test('consistency of equal sizes needs equal roots and no proof; of nothing, nothing is proven', () => {
  assert.ok(verifyConsistency(1, 1, roots[0]!, roots[0]!, []));
  assert.ok(!verifyConsistency(1, 1, roots[0]!, roots[1]!, []));
  assert.ok(!verifyConsistency(1, 1, roots[0]!, roots[0]!, [roots[0]!]));
  assert.ok(!verifyConsistency(0, 0, emptyRoot, emptyRoot, []));
  assert.ok(!verifyConsistency(0, 1, emptyRoot, roots[0]!, []));
  assert.ok(!verifyConsistency(2, 1, roots[1]!, roots[0]!, []));
  assert.ok(!verifyConsistency(1, 1, nothing, nothing, []));
});
