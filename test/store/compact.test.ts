import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import { intaglio } from '../cli/intaglio.ts';
import { bytes, value } from '../contracts/store.ts';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3 } from '../support/service.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const openStore = (directory: string) => LmdbStore.open({ directory, maxBytes: 2 ** 30, report: () => {} });

/** The sealed private parts of a version, as the record has them. */
async function sealedOf(dataDir: string, kid: string): Promise<readonly string[]> {
  const store = await openStore(join(dataDir, 'store'));
  const [id = '', version = ''] = kid.split('#v');
  const entry = value(await store.get(`ver/${id}#${version.padStart(10, '0')}`));
  await store.close();
  const record = Buffer.from(entry!.value).toString('latin1');
  return JSON.parse(record.slice(record.lastIndexOf('[')));
}

const fileOf = (dataDir: string) => join(dataDir, 'store', 'data.mdb');

test('after destroy and compact the sealed key is in no byte of the store, and every other key works', async (t) => {
  const dataDir = temporaryDirectory(t);
  const ask = async (method: string, path: string, body?: unknown, status = 200) => {
    const answer = await call(service, service.token, method, `/v1/kms${path}`, body);
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    return answer.body;
  };
  const create = async (alg: string) =>
    (await ask('POST', '/keys', { purpose: 'p', alg }, 201)).kid as string;
  const sign = (kid: string, status = 200) => ask('POST', '/sign', { kid, payload_b3: helloWorldB3 }, status);

  let service = await startInProcess({ dataDir });
  const kept = await create('ed25519');
  const doomed = await Promise.all(['ed25519', 'ml-dsa-65', 'rsa-2048', 'hmac-sha256'].map(create));
  const old = await create('ed25519');
  await ask('POST', `/keys/${old.replace('#v1', '')}/rotate`);
  await service.stop();
  const sealed: string[] = [];
  for (const kid of [...doomed, old]) sealed.push(...(await sealedOf(dataDir, kid)));
  assert.ok(sealed.every((text) => text.length > 60) && sealed.length === 5);

  const before = readFileSync(fileOf(dataDir));
  assert.ok(
    sealed.some((text) => before.includes(text)),
    'the search finds what is there',
  );
  service = await startInProcess({ dataDir });
  for (const kid of doomed) await ask('POST', `/keys/${kid.replace('#v1', '')}/destroy`);
  await ask('POST', `/keys/${encodeURIComponent(old)}/destroy`);
  await service.stop();
  // Freed pages may hold them until they are used again.
  const { status, stdout, stderr } = await intaglio(['store', 'compact', dataDir]);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /data\.mdb: \d+ records, \d+ bytes instead of \d+\n$/);
  const after = readFileSync(fileOf(dataDir));
  for (const text of sealed) {
    assert.equal(after.includes(text), false);
    assert.equal(after.includes(Buffer.from(text, 'base64')), false);
  }
  assert.equal(statSync(fileOf(dataDir)).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(join(dataDir, 'store')).toSorted(), ['data.mdb', 'lock.mdb']);

  service = await startInProcess({ dataDir });
  await sign(kept);
  await sign(old.replace('#v1', ''));
  for (const kid of doomed.slice(0, 3)) await sign(kid, 409);
  await create('ed25519');
  await service.stop();
});

test('a compaction keeps every record with its revision, makes the file smaller, and drops what was left of another', async (t) => {
  const dataDir = temporaryDirectory(t);
  const directory = join(dataDir, 'store');
  mkdirSync(directory);
  const store = await openStore(directory);
  for (let round = 0; round < 3; round++) {
    const changes = Array.from({ length: 6_000 }, (_, index) => ({
      key: `ver/${index}`,
      value: new Uint8Array((index * 7) % 500).fill(round),
    }));
    value(await store.commit(changes));
  }
  const gone = Array.from({ length: 2_500 }, (_, index) => ({ key: `ver/${index * 2}`, value: undefined }));
  value(await store.commit(gone));
  const all = async (from: LmdbStore) => {
    const found: [key: string, hex: string, revision: number][] = [];
    for (let page = 1_000; page === 1_000; ) {
      const after = found.at(-1)?.[0];
      const entries = value(await from.list({ prefix: '', limit: 1_000, ...(after && { after }) }));
      for (const { key, value, revision } of entries)
        found.push([key, Buffer.from(value).toString('hex'), revision]);
      page = entries.length;
    }
    return found;
  };
  const before = await all(store);
  await store.close();
  const bytesBefore = statSync(fileOf(dataDir)).size;
  // A compaction that was killed.
  mkdirSync(join(directory, 'compacting'));
  writeFileSync(join(directory, 'compacting', 'data.mdb'), 'half');

  assert.equal((await intaglio(['store', 'compact', dataDir])).status, 0);
  assert.ok(statSync(fileOf(dataDir)).size < bytesBefore);
  assert.match((await intaglio(['store', 'check', dataDir])).stdout, /none damaged\n$/);
  const again = await openStore(directory);
  assert.deepEqual(await all(again), before);
  const lastRevision = Math.max(...before.map(([, , revision]) => revision));
  const next = value(await again.commit([{ key: 'ver/new', value: bytes('new'), expectedRevision: 0 }]));
  assert.ok(next.committed && next.revision === lastRevision + 2, 'the commit of the removals counts');
  await again.close();
});

test('while a service serves its store is not compacted, and a copy of it is', async (t) => {
  const dataDir = temporaryDirectory(t);
  const service = await startInProcess({ dataDir });
  const made = await call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'p', alg: 'ed25519' });
  const inPlace = await intaglio(['store', 'compact', dataDir]);
  assert.equal(inPlace.status, 1);
  assert.match(inPlace.stderr, /is in use: process \d+ holds it; stop the service, or compact a copy\n$/);
  const sign = { kid: made.body.kid, payload_b3: helloWorldB3 };
  assert.equal((await call(service, service.token, 'POST', '/v1/kms/sign', sign)).status, 200);
  await service.stop();

  const copied = temporaryDirectory(t);
  cpSync(dataDir, copied, { recursive: true });
  assert.equal((await intaglio(['store', 'compact', copied])).status, 0);
  const restored = await startInProcess({ dataDir: copied });
  const signed = await call(restored, restored.token, 'POST', '/v1/kms/sign', sign);
  assert.equal(signed.status, 200, JSON.stringify([signed.body, restored.log]));
  await restored.stop();
});

test('a directory without a store, or with one that is cut short, is left as it is with one line', async (t) => {
  const dataDir = temporaryDirectory(t);
  const missing = await intaglio(['store', 'compact', dataDir]);
  assert.deepEqual([missing.status, missing.stderr.split('\n').length], [1, 2]);
  const directory = join(dataDir, 'store');
  mkdirSync(directory);
  const store = await openStore(directory);
  for (let n = 0; n < 100; n++) value(await store.commit([{ key: `ver/${n}`, value: new Uint8Array(900) }]));
  await store.close();
  const short = readFileSync(fileOf(dataDir)).subarray(0, 5 * 4_096);
  writeFileSync(fileOf(dataDir), short);
  const cut = await intaglio(['store', 'compact', dataDir]);
  assert.equal(cut.status, 1);
  assert.match(cut.stderr, /^intaglio: .* cannot be compacted: data\.mdb is cut short[^\n]*\n$/);
  assert.ok(readFileSync(fileOf(dataDir)).equals(short));
  assert.equal(existsSync(join(directory, 'compacting')), false);
});
