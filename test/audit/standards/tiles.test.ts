import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import test from 'node:test';
import fc from 'fast-check';
import { formatCheckpoint, signCheckpoint } from '../../../src/audit/format/checkpoint.ts';
import { leafHash, verifyConsistency, verifyInclusion } from '../../../src/audit/format/merkle.ts';
import {
  consistencyFromTiles,
  decodeBundle,
  encodeBundle,
  entriesLevel,
  entryFromTiles,
  hashesAt,
  inclusionFromTiles,
  leafTile,
  parseTilePath,
  readTile,
  rootFromTiles,
  tileLevels,
  tilePath,
  tilesAt,
  widthAt,
} from '../../../src/audit/format/tiles.ts';
import { formatTlogProof, parseTlogProof, verifyTlogProof } from '../../../src/audit/format/tlog-proof.ts';
import { logSigners } from '../../support/audit-notes.ts';
import { decimals, MemoryTree, reader } from '../../support/audit-trees.ts';
import { base64, testKeys, testOrigin, vectorFile, vectors } from './vectors.ts';

const big = new MemoryTree(decimals(70_000));
const bigFiles = big.files();

test('paths are those of the specification, and no other text is one', () => {
  for (const [index, path] of Object.entries(vectors.paths)) {
    if (/^\d+$/.test(index)) assert.equal(tilePath({ level: 0, index: Number(index), width: 256 }), path);
  }
  assert.equal(tilePath({ level: 1, index: 1, width: 17 }), 'tile/1/001.p/17');
  assert.equal(tilePath({ level: entriesLevel, index: 273, width: 112 }), 'tile/entries/273.p/112');
  for (const wrong of [
    'tile/0/0',
    'tile/0/x000/000',
    'tile/0/x01/000',
    'tile/0/1000',
    'tile/00/000',
    'tile/64/000',
    'tile/0/000.p/0',
    'tile/0/000.p/256',
    'tile/0/000.p/01',
    'tile/0/x999/x999/x999/x999/x999/x999',
    'tile/8/0/000',
    'tile/data/000',
    '/tile/0/000',
    'tile/0/000/',
    'tile/0/000\n',
    'tile/0/../000',
  ]) {
    assert.equal(parseTilePath(wrong), undefined, wrong);
  }
});

test('property: a path reads back as what it was made of', () => {
  const coordinates = fc.record({
    level: fc.integer({ min: entriesLevel, max: 63 }),
    index: fc.maxSafeNat(),
    width: fc.integer({ min: 1, max: 256 }),
  });
  fc.assert(fc.property(coordinates, (tile) => assert.deepEqual(parseTilePath(tilePath(tile)), { ...tile })));
});

test('tiles and bundles of 70,000 numbers are those of the Go module', () => {
  for (const { path, len, sha256 } of [...vectors.decimal_tiles_70000, ...vectors.decimal_bundles_70000]) {
    const bytes = bigFiles.get(path)!;
    assert.equal(bytes.length, len, path);
    assert.equal(hash('sha256', bytes, 'hex'), sha256, path);
  }
});

test('which tiles a size has', () => {
  const widths = (size: number) =>
    tileLevels(size).map((level) => [...tilesAt(level, size)].map(({ width }) => width));
  assert.deepEqual(widths(0), []);
  assert.deepEqual(widths(1), [[1]]);
  assert.deepEqual(widths(255), [[255]]);
  assert.deepEqual(widths(256), [[256], [1]]);
  assert.deepEqual(widths(257), [[256, 1], [1]]);
  for (const size of [65_535, 65_536, 65_537, 70_000]) {
    const paths = tileLevels(size).flatMap((level) => [...tilesAt(level, size)].map(tilePath));
    const tree = size === 70_000 ? bigFiles : new MemoryTree(decimals(size)).files();
    assert.deepEqual(paths.sort(), [...tree.keys()].filter((path) => !path.includes('entries')).sort());
  }
  assert.deepEqual(
    [...tilesAt(0, 1000, 2)].map(({ index, width }) => [index, width]),
    [
      [2, 256],
      [3, 232],
    ],
  );
  assert.equal(hashesAt(entriesLevel, 70_000), 70_000);
  assert.equal(widthAt(0, 300, 70_000), 0);
});

test('roots, proofs and entries out of tiles, for a size below the one that is stored too', () => {
  const tiles = reader(bigFiles);
  for (const size of [1, 255, 256, 257, 65_535, 65_536, 65_537, 69_999, 70_000]) {
    const root = rootFromTiles(tiles, size, 70_000);
    assert.ok(root.ok);
    const known = vectors.decimal_roots[size];
    if (known !== undefined) assert.equal(base64(root.value), known);
    for (const index of [0, Math.floor(size / 3), size - 1]) {
      const path = inclusionFromTiles(tiles, index, size, 70_000);
      assert.ok(path.ok);
      assert.ok(verifyInclusion(index, size, leafHash(big.entries[index]!), path.value, root.value));
    }
    const proof = consistencyFromTiles(tiles, size, 70_000);
    assert.ok(proof.ok);
    assert.ok(verifyConsistency(size, 70_000, root.value, big.root(), proof.value));
  }
  for (const { index, size, proof } of vectors.decimal_inclusion) {
    const made = inclusionFromTiles(tiles, index, size);
    assert.deepEqual(made.ok && made.value.map(base64), proof);
  }
  const entry = entryFromTiles(tiles, 69_999, 70_000);
  assert.equal(entry.ok && Buffer.from(entry.value).toString(), '69999');
  assert.ok(!entryFromTiles(tiles, 70_000, 70_000).ok);
  assert.ok(!entryFromTiles(tiles, -1, 70_000).ok);
});

test('a partial tile or bundle is read from the full one that took its place', () => {
  const tree = new MemoryTree(decimals(300));
  const files = tree.files();
  const tiles = reader(files);
  for (const level of [0, entriesLevel]) {
    const full = files.get(tilePath({ level, index: 0, width: 256 }))!;
    const partial = new MemoryTree(decimals(100)).files().get(tilePath({ level, index: 0, width: 100 }))!;
    assert.deepEqual(Buffer.from(readTile(tiles, { level, index: 0, width: 100 })!), Buffer.from(partial));
    assert.equal(readTile(reader(new Map([['x', full]])), { level, index: 0, width: 100 }), undefined);
    const cut = reader(new Map([[tilePath({ level, index: 0, width: 256 }), full.subarray(0, -1)]]));
    assert.equal(readTile(cut, { level, index: 0, width: 256 }), undefined);
    const long = reader(
      new Map([[tilePath({ level, index: 0, width: 256 }), Buffer.concat([full, Buffer.of(0)])]]),
    );
    assert.equal(readTile(long, { level, index: 0, width: 256 }), undefined);
  }
  files.delete('tile/0/000');
  assert.ok(!inclusionFromTiles(tiles, 7, 300).ok);
});

test('bundles: lengths, empty and longest entries, cuts', () => {
  const entries = [Buffer.from('one'), Buffer.alloc(0), Buffer.alloc(65_535, 7)];
  const bundle = encodeBundle(entries);
  assert.equal(bundle.subarray(0, 7).toString('hex'), '00036f6e650000');
  const decoded = decodeBundle(bundle, 3);
  assert.deepEqual(decoded.ok && decoded.value.map((entry) => Buffer.from(entry)), entries);
  assert.ok(decodeBundle(bundle, 2).ok);
  assert.ok(!decodeBundle(bundle, 4).ok);
  assert.ok(!decodeBundle(bundle.subarray(0, -1), 3).ok);
  assert.ok(!decodeBundle(Buffer.from([0]), 1).ok);
  assert.throws(() => encodeBundle([Buffer.alloc(65_536)]), RangeError);
  assert.deepEqual(leafTile([Buffer.from('one')]), leafHash(Buffer.from('one')));
});

test('the published offline proof verifies; ours is the same to the byte', () => {
  const published = vectorFile('index-12345.tlog-proof');
  const verified = verifyTlogProof(published, Buffer.from('12345'), testOrigin, testKeys);
  assert.ok(verified.ok);
  assert.deepEqual([verified.value.index, verified.value.checkpoint.size], [12_345, 70_000]);
  const path = inclusionFromTiles(reader(bigFiles), 12_345, 70_000);
  assert.ok(path.ok);
  const made = formatTlogProof({ index: 12_345, path: path.value, checkpoint: vectorFile('checkpoint') });
  assert.equal(Buffer.from(made).toString(), Buffer.from(published).toString());
});

test('an offline proof of another entry, index, log, key or tree is refused', async () => {
  const published = Buffer.from(vectorFile('index-12345.tlog-proof')).toString();
  const verify = (text: string, entry = '12345', origin = testOrigin, keys = [...testKeys]) =>
    verifyTlogProof(Buffer.from(text), Buffer.from(entry), origin, keys).ok;
  assert.ok(verify(published));
  assert.ok(verify(published.replace('@v1\n', '@v1\nextra Zm9v\n')));
  assert.ok(!verify(published, '12346'));
  assert.ok(!verify(published, '12345', 'kms.example/audit/2'));
  assert.ok(!verify(published, '12345', testOrigin, []));
  assert.ok(!verify(published.replace('index 12345', 'index 12344')));
  assert.ok(!verify(published.replace('index 12345', 'index 012345')));
  assert.ok(!verify(published.replace('iDqSriSW', 'iDqSriSX')));
  assert.ok(!verify(published.replace('@v1', '@v2')));
  assert.ok(!verify(published.replace(/\n[^\n]+=\n\nkms/, '\n\nkms')));
  assert.ok(!verify(published.replace('2C3EyM9b', '2C3EyM9')));
  assert.ok(!verify(''));
  const other = await signCheckpoint(
    { origin: testOrigin, size: 70_000, root: big.root(69_999) },
    logSigners(),
    1,
  );
  const parsed = parseTlogProof(Buffer.from(published));
  assert.ok(parsed.ok);
  assert.ok(!verify(Buffer.from(formatTlogProof({ ...parsed.value, checkpoint: other })).toString()));
});

test('the checkpoint text of a tree names its root', () => {
  assert.equal(
    formatCheckpoint({ origin: testOrigin, size: 70_000, root: big.root() }),
    `${testOrigin}\n70000\n${vectors.decimal_roots['70000']}\n`,
  );
});
