import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { headKey, versionKey } from '../../src/keys/codec.ts';
import type { StoreEntry } from '../../src/store/store.ts';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, type InProcessService, temporaryDirectory } from '../support/service.ts';
import { storeRefusal, withStore } from '../support/tampered-store.ts';

const cli = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');

async function create(service: InProcessService): Promise<string> {
  const body = { purpose: 'test', alg: 'ed25519' };
  return (await call(service, service.token, 'POST', '/v1/kms/keys', body)).body.kid;
}

const idOf = (kid: string) => kid.split('#')[0] as string;

async function change(service: InProcessService, kid: string, what: 'rotate' | 'destroy', body = {}) {
  const path = `/v1/kms/keys/${encodeURIComponent(idOf(kid))}/${what}`;
  assert.equal((await call(service, service.token, 'POST', path, body)).status, 200);
}

const sign = (service: InProcessService, kid: string) =>
  call(service, service.token, 'POST', '/v1/kms/sign', { kid: idOf(kid), payload_b3: helloWorldB3 });

function copyOf(dataDir: string): string {
  const copy = temporaryDirectory();
  cpSync(dataDir, copy, { recursive: true });
  return copy;
}

async function entriesOf(dataDir: string, keys: readonly string[]): Promise<StoreEntry[]> {
  return withStore(dataDir, async (store) => {
    const entries = await Promise.all(keys.map((key) => store.get(key)));
    return entries.map((entry) => (entry.ok && entry.value) || assert.fail());
  });
}

/** A copy in which the records under these keys are these ones. */
async function withRecords(
  dataDir: string,
  records: readonly Pick<StoreEntry, 'key'>[],
  values: readonly (Uint8Array | undefined)[],
) {
  const copy = copyOf(dataDir);
  await withStore(copy, async (store) => {
    const changes = records.map(({ key }, n) => ({ key, value: values[n] }));
    assert.ok((await store.commit(changes)).ok);
  });
  return copy;
}

test('a record that is deleted, swapped or put back is found at the start and named', async () => {
  const dataDir = temporaryDirectory();
  const first = await startInProcess({ dataDir });
  const [one, two] = [await create(first), await create(first)];
  await change(first, one, 'rotate');
  const [oneV1, oneV2] = [versionKey(idOf(one), 1), versionKey(idOf(one), 2)];
  assert.equal(await first.stop(), 0);
  const [activeV1] = await entriesOf(dataDir, [oneV1]);
  const second = await startInProcess({ dataDir });
  await change(second, one, 'destroy', { version: 1 });
  assert.equal(await second.stop(), 0);

  const refuses = async (keys: readonly string[], values: readonly (Uint8Array | undefined)[]) => {
    const records = keys.map((key) => ({ key }));
    const refusal = await storeRefusal({ dataDir: await withRecords(dataDir, records, values) });
    for (const key of keys) assert.ok(refusal.includes(key), refusal);
  };
  const [headOne, headTwo] = await entriesOf(dataDir, [headKey(idOf(one)), headKey(idOf(two))]);
  await refuses([headKey(idOf(two))], [undefined]);
  await refuses([oneV2], [undefined]);
  await refuses([headOne!.key, headTwo!.key], [headTwo!.value, headOne!.value]);
  // An authentic record of before: the version that was destroyed would verify again.
  await refuses([oneV1], [activeV1!.value]);
  await refuses(['meta/authenticated'], [undefined]);

  const third = await startInProcess({ dataDir });
  assert.equal((await sign(third, one)).status, 200, 'nothing was done to this one');
  assert.equal(await third.stop(), 0);
});

test('what an operator accepts is taken once, and is on the audit log with the reason and the names', async () => {
  const dataDir = temporaryDirectory();
  const first = await startInProcess({ dataDir });
  const kid = await create(first);
  assert.equal(await first.stop(), 0);
  const key = 'op/default/5f0c1d2e-0000-4000-8000-000000000000';
  await withStore(dataDir, (store) => store.commit([{ key, value: Buffer.from('{}') }]));
  const refusal = await storeRefusal({ dataDir });
  const failure = /--failure ([0-9a-f]{16})/.exec(refusal)?.[1] ?? '';
  const accept = (...args: readonly string[]) =>
    spawnSync(process.execPath, [cli, 'store', 'accept', dataDir, ...args], { encoding: 'utf8' });
  assert.match(accept('--failure', 'none', '--reason', 'x').stderr, /16 hexadecimal digits/);
  // Of a failure that was another one.
  assert.equal(accept('--failure', '0123456789abcdef', '--reason', 'guessed').status, 0);
  await storeRefusal({ dataDir });
  const accepted = accept('--failure', failure, '--reason', 'put there by hand, ticket 4711');
  assert.equal(accepted.status, 0, accepted.stderr);

  const second = await startInProcess({ dataDir });
  assert.equal((await sign(second, kid)).status, 200);
  const acts = async () => {
    const { body } = await call(second, second.token, 'GET', '/v1/kms/audit/records?limit=1000');
    // biome-ignore lint/suspicious/noExplicitAny: records of several types.
    return body.records.map(({ record }: any) => record).filter(({ type }: any) => type === 'store.accepted');
  };
  let found = await acts();
  for (let waited = 0; found.length < 2; waited++) {
    assert.ok(waited < 600, 'the acceptance is not on the log');
    await new Promise((resolve) => setTimeout(resolve, 50));
    found = await acts();
  }
  const { data } = found.find(({ data }: { data: { failure: string } }) => data.failure === failure);
  assert.equal(data.reason, 'put there by hand, ticket 4711');
  assert.ok(data.detail.includes(key));
  assert.equal(await second.stop(), 0);
  assert.ok(!existsSync(join(dataDir, 'offline-acts.json')), 'recorded once');

  const third = await startInProcess({ dataDir });
  assert.equal(await third.stop(), 0);
});
