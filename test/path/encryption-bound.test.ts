import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { algorithmNames } from '../../src/algorithms/registry.ts';
import { sealedBy } from '../../src/assemble/key-uses.ts';
import { openRootKey } from '../../src/assemble/store/root-key.ts';
import { loadConfig } from '../../src/config/load.ts';
import { ResealingStore } from '../../src/custody/root-key/rotation/resealing-store.ts';
import { createOpensslEngine } from '../../src/engine/openssl/index.ts';
import { createLog } from '../../src/observe/log.ts';
import { createMetrics } from '../../src/observe/metrics.ts';
import { DurableCounts } from '../../src/store/durable-counts.ts';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import { testEngineOptions } from '../support/engines.ts';
import { startInProcess } from '../support/in-process.ts';
import { base64, codeOf, idOf, sealingClient } from '../support/sealing-client.ts';
import { startService, temporaryDirectory } from '../support/service.ts';

const plaintext_b64 = base64('attack at dawn');
const most = 2 ** 31;

/** Does this with the counts of a data directory on which no service runs. */
async function withCounts<T>(dataDir: string, use: (counts: DurableCounts) => Promise<T>): Promise<T> {
  const loaded = loadConfig({
    ...{ argv: [], env: { KMS_DATA_DIR: dataDir }, cores: 1, algorithmNames },
    readFile: (path) => readFileSync(path, 'utf8'),
  });
  assert.ok(loaded.ok);
  const log = createLog('error', 'test', { write: (text) => assert.fail(text) });
  const engine = createOpensslEngine(testEngineOptions);
  const directory = join(dataDir, 'store');
  const store = await LmdbStore.open({
    directory,
    maxBytes: 2 ** 30,
    report: (cause) => assert.fail(String(cause)),
  });
  try {
    const metrics = createMetrics('test');
    const resealing = new ResealingStore(store);
    const parts = { engine, store: resealing, metrics, overlapMs: 0 };
    const { mac } = (await openRootKey(loaded.config, log, parts)).root;
    const counts = new DurableCounts({
      ...{ store, seal: sealedBy(mac) },
      onCorruptRecord: (key) => assert.fail(key),
    });
    const done = await use(counts);
    await counts.close();
    return done;
  } finally {
    await store.close();
    engine.wipe();
  }
}

const countOf = (kid: string) => ({ name: `encrypted/${kid}`, period: 0, most });

test('with a nonce of 96 bits a version encrypts and wraps 2^31 times, and is then rotated', {
  timeout: 120_000,
}, async () => {
  const dataDir = temporaryDirectory();
  const first = await startInProcess({ dataDir });
  const before = sealingClient(first);
  const kid = await before.create('aes-256-gcm');
  const wide = await before.create('xaes-256-gcm');
  const kwp = await before.create('aes-256-kwp');
  const made = await before.good('/encrypt', { kid, plaintext_b64 });
  for (const other of [wide, kwp]) await before.good('/wrap', { kid: other, plaintext_b64 });
  await first.stop();
  await withCounts(dataDir, async (counts) => {
    assert.equal(await counts.take(countOf(kid), most - 5), 'taken');
    assert.equal(counts.known(countOf(kid).name), most - 4, 'one before: counted, over the restart');
    // What nobody counts has no count.
    for (const other of [wide, kwp]) {
      assert.equal(await counts.take(countOf(other)), 'taken');
      assert.equal(counts.known(countOf(other).name), 1, other);
    }
  });

  const service = await startInProcess({ dataDir });
  const client = sealingClient(service);
  const makings: readonly (readonly [string, object])[] = [
    ['/encrypt', { plaintext_b64 }],
    ['/wrap', { plaintext_b64 }],
    ['/datakey', { size: 32 }],
    ['/rewrap', { ...made }],
  ];
  for (const [path, body] of makings) await client.good(path, { kid, ...body });
  for (const [path, body] of makings) {
    const { status, body: answer } = await client.post(path, { kid, ...body });
    assert.equal(status, 409, path);
    assert.equal(answer.error.code, 'Conflict');
    assert.match(answer.error.hint, /^rotate/, path);
  }
  const batch = await client.good('/encrypt/batch', {
    items: [
      { kid, plaintext_b64 },
      { kid: wide, plaintext_b64 },
    ],
  });
  assert.equal(batch.results[0].error.code, 'Conflict');
  assert.equal(batch.results[1].kid, wide, 'nobody counts nonces of 192 bits');
  assert.equal((await client.good('/decrypt', made)).plaintext_b64, plaintext_b64, 'it still decrypts');
  const next = await client.rotate(kid);
  assert.equal((await client.good('/encrypt', { kid: idOf(kid), plaintext_b64 })).kid, next);
  assert.equal(codeOf(await client.post('/rewrap', { ...made })), 'ok', 'to the new version');
  const { records } = (await client.get('/audit/records?limit=1000')).body;
  const denied = records.filter(
    ({ record }: { record: { result: string } }) => record.result === 'denied:Conflict',
  );
  assert.ok(denied.length >= makings.length, 'refusals are on the log, under the key');
  assert.ok(denied.every(({ record }: { record: { key_id: string } }) => record.key_id === idOf(kid)));
  await service.stop();
});

test('kill -9 loses no count of encryptions', { timeout: 120_000 }, async () => {
  const dataDir = temporaryDirectory();
  const service = await startService({ dataDir });
  const client = sealingClient(service);
  const kid = await client.create('chacha20-poly1305');
  const items = Array.from({ length: 100 }, () => ({ kid, plaintext_b64 }));
  for (let n = 0; n < 3; n++) await client.good('/encrypt/batch', { items });
  await service.kill();
  await withCounts(dataDir, async (counts) => {
    assert.equal(await counts.take(countOf(kid)), 'taken');
    const known = counts.known(countOf(kid).name) as number;
    assert.ok(known > 300 && known <= 301 + 4_096, `${known} are counted of 301`);
  });
});
