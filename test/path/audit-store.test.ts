import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { anchorKey } from '../../src/audit/disk/anchor.ts';
import { headKey, versionKey } from '../../src/keys/codec.ts';
import type { StoreEntry } from '../../src/store/store.ts';
import { startInProcess } from '../support/in-process.ts';
import {
  call,
  helloWorldB3,
  type RunningService,
  startService,
  temporaryDirectory,
} from '../support/service.ts';
import { acceptTampered, withStore } from '../support/tampered-store.ts';

const create = async (service: RunningService): Promise<string> =>
  (await call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' })).body.kid;

const change = async (service: RunningService, kid: string, what: 'rotate' | 'destroy'): Promise<void> => {
  const path = `/v1/kms/keys/${encodeURIComponent(kid.split('#')[0] as string)}/${what}`;
  assert.equal((await call(service, service.token, 'POST', path, {})).status, 200);
};

const sign = (service: RunningService, kid: string) =>
  call(service, service.token, 'POST', '/v1/kms/sign', { kid: kid.split('#')[0], payload_b3: helloWorldB3 });

/** Starts the service on a log that it must not believe; gives the reason. */
async function refusal(dataDir: string, kid: string): Promise<string> {
  const service = await startInProcess({ dataDir });
  const refused = await sign(service, kid);
  assert.equal(refused.status, 503);
  assert.equal(refused.body.error.code, 'AuditUnavailable');
  assert.deepEqual((await call(service, undefined, 'GET', '/readyz')).body.missing, ['audit_ready']);
  const line = await service.logged((text) => text.includes('integrity_failed'));
  assert.equal(await service.stop(), 0);
  return JSON.parse(line).detail;
}

function copyOf(dataDir: string): string {
  const copy = temporaryDirectory();
  cpSync(dataDir, copy, { recursive: true });
  return copy;
}

test('an older store, older keys in it, and keys that the log does not know are seen at the start', async () => {
  const dataDir = temporaryDirectory();
  const first = await startInProcess({ dataDir });
  const kid = await create(first);
  const id = kid.split('#')[0] as string;
  const doomed = await create(first);
  assert.equal(await first.stop(), 0);
  const older = copyOf(dataDir);
  const second = await startInProcess({ dataDir });
  await change(second, kid, 'rotate');
  await change(second, doomed, 'destroy');
  assert.equal((await sign(second, kid)).status, 200);
  assert.equal(await second.stop(), 0);

  const oldStore = copyOf(dataDir);
  rmSync(join(oldStore, 'store'), { recursive: true });
  cpSync(join(older, 'store'), join(oldStore, 'store'), { recursive: true });
  assert.match(await refusal(oldStore, kid), /^integrity_failed: anchor_behind/);

  const putBack = async (entries: readonly StoreEntry[], into = dataDir) => {
    const copy = copyOf(into);
    await withStore(copy, async (store) => {
      for (const { key, value } of entries) assert.ok((await store.commit([{ key, value }])).ok);
    });
    // The head of the store finds it first. What the log knows of the keys stands whatever an operator accepts.
    const refusal = await acceptTampered({ dataDir: copy });
    for (const { key } of entries) assert.ok(refusal.includes(key), refusal);
    return copy;
  };
  const entriesOf = async (where: string, keys: readonly string[]) =>
    withStore(where, async (store) => {
      const entries = await Promise.all(keys.map((key) => store.get(key)));
      return entries.map((entry) => {
        assert.ok(entry.ok && entry.value !== undefined);
        return entry.value;
      });
    });
  const doomedId = doomed.split('#')[0] as string;
  const olderHead = await putBack(await entriesOf(older, [headKey(id)]));
  assert.match(
    await refusal(olderHead, kid),
    /^integrity_failed: store_behind: .* at version 1, .* at version 2$/,
  );
  const undone = await putBack(await entriesOf(older, [headKey(doomedId), versionKey(doomedId, 1)]));
  assert.match(await refusal(undone, kid), /^integrity_failed: store_behind: .* on the log destroyed$/);

  const newer = await entriesOf(dataDir, [headKey(id), versionKey(id, 2)]);
  const unlogged = await putBack(newer, older);
  assert.match(
    await refusal(unlogged, kid),
    /^integrity_failed: store_ahead: .* at version 2, .* at version 1$/,
  );

  const third = await startInProcess({ dataDir });
  assert.equal((await sign(third, kid)).status, 200, 'nothing was done to this one');
  assert.equal(await third.stop(), 0);
});

test('a log that begins beside keys that are there has a record of each', async () => {
  const dataDir = temporaryDirectory();
  const first = await startInProcess({ dataDir });
  const kids = [await create(first), await create(first)];
  await change(first, kids[0] as string, 'rotate');
  assert.equal(await first.stop(), 0);
  for (const name of ['audit', 'audit.head']) rmSync(join(dataDir, name), { recursive: true });
  await withStore(dataDir, (store) => store.commit([{ key: anchorKey, value: undefined }]));
  await acceptTampered({ dataDir });
  for (let round = 0; round < 2; round++) {
    const on = await startService({ dataDir });
    for (const kid of kids) assert.equal((await sign(on, kid)).status, 200);
    await on.kill();
  }
  const wal = join(dataDir, 'audit', 'e1', 'wal');
  const text = readdirSync(wal)
    .map((file) => readFileSync(join(wal, file), 'latin1'))
    .join('');
  assert.equal(text.match(/"type":"key.found"/g)?.length, 2);
});
