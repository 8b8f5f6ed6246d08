import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { StartError } from '../../src/core/start-error.ts';
import { checkEveryPage } from '../../src/store/lmdb/data-file.ts';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import { intaglio } from '../cli/intaglio.ts';
import { bytes, value } from '../contracts/store.ts';
import { compileCache } from '../support/compile-cache.ts';
import { startInProcess } from '../support/in-process.ts';

const pageBytes = 4096;

/** A data directory with a store of a few hundred records: branches, leaves, long values and free pages. */
async function dataDirectory(t: test.TestContext): Promise<{ dataDir: string; path: string }> {
  const dataDir = mkdtempSync(join(tmpdir(), 'intaglio-damage-'));
  t.after(() => rmSync(dataDir, { recursive: true, force: true }));
  const directory = join(dataDir, 'store');
  mkdirSync(directory);
  const store = await LmdbStore.open({ directory, maxBytes: 2 ** 30, report: () => {} });
  for (let round = 0; round < 8; round++) {
    const changes = Array.from({ length: 40 }, (_, index) => ({
      key: `ver/${index * 8 + round}`,
      value: new Uint8Array(index === 0 ? 20_000 : 1_500).fill(round),
    }));
    value(await store.commit(changes));
  }
  value(await store.commit([{ key: 'ver/0', value: undefined }]));
  // Both in one write: the second takes the pages of the first, and fewer of them.
  const twice = [20_000, 9_000].map((length) => [{ key: 'ver/1', value: new Uint8Array(length) }]);
  for (const outcome of await Promise.all(twice.map((changes) => store.commit(changes)))) value(outcome);
  await store.close();
  return { dataDir, path: join(directory, 'data.mdb') };
}

/** A process of its own, as a thread cannot set the umask that a start sets. */
const serve = (dataDir: string) =>
  spawnSync(process.execPath, [program, 'serve'], {
    encoding: 'utf8',
    env: {
      PATH: process.env.PATH,
      ...compileCache,
      KMS_DATA_DIR: dataDir,
      KMS_BIND: '127.0.0.1:0',
      KMS_ENGINE: 'openssl',
    },
  });
const program = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');

test('a store that is cut short or overwritten at its beginning is one line and exit status 1', async (t) => {
  const { dataDir, path } = await dataDirectory(t);
  const whole = readFileSync(path);
  const damages: [string, Buffer][] = [
    ['cut to half', whole.subarray(0, whole.length >> 1)],
    ['without its last page that is used', whole.subarray(0, lastUsed(whole) * pageBytes)],
    ['cut within the second meta page', whole.subarray(0, pageBytes + 100)],
    ['cut within the first meta page', whole.subarray(0, 10)],
    ['two pages of zeros', Buffer.concat([Buffer.alloc(2 * pageBytes), whole.subarray(2 * pageBytes)])],
    [
      'one page of zeros',
      Buffer.concat([whole.subarray(0, pageBytes), Buffer.alloc(pageBytes), whole.subarray(2 * pageBytes)]),
    ],
    ['of another version', patched(whole, 24 + 4, 3)],
    ['with pages of no size', patched(whole, 24 + 24, 0)],
  ];
  for (const [name, damage] of damages) {
    writeFileSync(path, damage);
    await assert.rejects(startInProcess({ dataDir, env: { KMS_ENGINE: 'openssl' } }), (cause) => {
      assert.ok(cause instanceof StartError, `${name}: ${cause}`);
      assert.match(cause.message, /^the store in .* cannot be opened: data\.mdb [^\n]*$/, name);
      return true;
    });
    assert.ok('damage' in checkEveryPage(path), name);
  }
  const { status, stderr } = serve(dataDir);
  assert.equal(status, 1, stderr);
  assert.match(stderr, /^intaglio: the store in .* cannot be opened: data\.mdb [^\n]*\n$/);
});

test('free pages that were never written may be missing at the end: the store opens and is whole', async (t) => {
  const { dataDir, path } = await dataDirectory(t);
  const { size } = statSync(path);
  // The meta pages say that there are three more pages; no tree uses them.
  const more = readFileSync(path);
  for (const meta of [0, pageBytes]) {
    more.writeBigUInt64LE(more.readBigUInt64LE(meta + 144) + 3n, meta + 144);
  }
  writeFileSync(path, more);
  truncateSync(path, size);
  const store = await LmdbStore.open({
    directory: join(dataDir, 'store'),
    maxBytes: 2 ** 30,
    report: () => {},
  });
  assert.equal(value(await store.list({ prefix: '', limit: 1_000 })).length, 319);
  value(await store.commit([{ key: 'new', value: bytes('v') }]));
  await store.close();
  assert.ok('pages' in checkEveryPage(path));
});

test('store check finds every page in use that is overwritten or of another place, and says so with status 2', async (t) => {
  const { dataDir, path } = await dataDirectory(t);
  const whole = readFileSync(path);
  assert.match((await intaglio(['store', 'check', dataDir])).stdout, /: \d+ pages, none damaged\n$/);
  const found: number[] = [];
  const last = whole.length / pageBytes;
  for (let page = 2; page < last; page++) {
    const damaged = Buffer.from(whole);
    damaged.fill(0xa5, page * pageBytes, (page + 1) * pageBytes);
    writeFileSync(path, damaged);
    if ('damage' in checkEveryPage(path)) found.push(page);
  }
  // The others are free, or go on with a long value.
  assert.ok(found.length > last / 4, `${found.length} of ${last}`);
  const damaged = Buffer.from(whole);
  const used = found.at(-1)!;
  damaged.fill(0xa5, used * pageBytes, used * pageBytes + 24);
  writeFileSync(path, damaged);
  const { status, stderr } = await intaglio(['store', 'check', dataDir]);
  assert.equal(status, 2);
  assert.match(stderr, /^intaglio: .*data\.mdb: [^\n]+\n$/);
  assert.equal((await intaglio(['store', 'check', join(dataDir, 'nowhere')])).status, 1);
});

test('no bits that are flipped in pages make the check itself fail', async (t) => {
  const { path } = await dataDirectory(t);
  const whole = readFileSync(path);
  let state = 1;
  for (let round = 0; round < 150; round++) {
    const damaged = Buffer.from(whole);
    for (let flip = 0; flip < 20; flip++) {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      const at = (state >>> 3) % damaged.length;
      damaged.writeUInt8(damaged.readUInt8(at) ^ (1 << (state & 7)), at);
    }
    writeFileSync(path, damaged);
    const checked = checkEveryPage(path);
    assert.ok('damage' in checked || checked.pages > 0);
  }
});

/** The greatest page that a leaf or branch page's own header names where it lies. */
function lastUsed(file: Buffer): number {
  for (let page = file.length / pageBytes - 1; page >= 2; page--) {
    const cut = file.subarray(0, page * pageBytes);
    const path = join(mkdtempSync(join(tmpdir(), 'intaglio-cut-')), 'data.mdb');
    try {
      writeFileSync(path, cut);
      if ('damage' in checkEveryPage(path)) return page;
    } finally {
      rmSync(join(path, '..'), { recursive: true });
    }
  }
  throw new Error('no page is in use');
}

function patched(file: Buffer, at: number, word: number): Buffer {
  const copy = Buffer.from(file);
  copy.writeUInt32LE(word, at);
  return copy;
}
