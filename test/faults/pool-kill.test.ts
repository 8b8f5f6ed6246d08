import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { openAuthenticated, type RecordMac } from '../../src/keys/authenticity.ts';
import { idInVersionKey, poolPrefix, versionsPrefix } from '../../src/keys/codec.ts';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import { startInProcess } from '../support/in-process.ts';
import { until, unwrap } from '../support/keyring.ts';
import { metric } from '../support/requests.ts';
import { call, helloWorldB3, temporaryDirectory } from '../support/service.ts';
import { startFor } from './start-for.ts';

// A service whose pool of RSA keys is filled and taken from is killed at a random moment, again and again. `npm run drill:pool` does
// it fifty times.

const kills = Number(process.env.DRILL_KILLS ?? 2);
/** More than lie ready when it is killed, so that another one is being made. */
const env = { KMS_RSA_POOL: '6' };
const takenAtOnce = 3;

/** What the disk has: names of the pool, and of versions of keys the name that each came from. */
interface OnDisk {
  /** From the name of an entry to its public key. */
  readonly pool: ReadonlyMap<string, string>;
  /** From the id of a key to what its version is. */
  readonly keys: ReadonlyMap<string, { readonly pooled?: string; readonly publicKey: string }>;
}

async function readDisk(dataDir: string): Promise<OnDisk> {
  const directory = join(dataDir, 'store');
  const store = await LmdbStore.open({ directory, maxBytes: 2 ** 30, report: () => {} });
  try {
    const textsUnder = async (prefix: string) =>
      unwrap(await store.list({ prefix, limit: 1_000 })).map(({ key, value }) => ({
        key,
        text: textIn(key, value),
      }));
    const pool = (await textsUnder(poolPrefix)).map(
      ({ key, text }) => [key.slice(poolPrefix.length), text.pub as string] as const,
    );
    const keys = (await textsUnder(versionsPrefix)).map(({ key, text }) => {
      const [publicKey = ''] = text.pub as readonly string[];
      return [idInVersionKey(key), { pooled: text.pooled as string | undefined, publicKey }] as const;
    });
    return { pool: new Map(pool), keys: new Map(keys) } as OnDisk;
  } finally {
    await store.close();
  }
}

/** The text of a record, which the service itself holds against its MAC. */
function textIn(storeKey: string, value: Uint8Array) {
  const believes: RecordMac = () => value.subarray(1, 33);
  const opened = openAuthenticated(storeKey, value, believes);
  assert.ok(opened !== undefined, storeKey);
  return JSON.parse(Buffer.from(opened.text).toString()) as Readonly<Record<string, unknown>>;
}

/** Each key that was ever seen is in one place, and in one place alone. */
function inspect({ pool, keys }: OnDisk, seen: Map<string, string>): void {
  const taken = [...keys.values()].flatMap(({ pooled }) => (pooled === undefined ? [] : [pooled]));
  const names = [...pool.keys(), ...taken];
  assert.equal(new Set(names).size, names.length, 'a key of the pool is in two places');
  const publicKeys = [...pool.values(), ...[...keys.values()].map(({ publicKey }) => publicKey)];
  assert.equal(new Set(publicKeys).size, publicKeys.length, 'two places have the same key');
  for (const [name, publicKey] of seen) {
    const now = pool.get(name) ?? [...keys.values()].find(({ pooled }) => pooled === name)?.publicKey;
    assert.equal(now, publicKey, `the key ${name} is lost`);
  }
  for (const [name, publicKey] of pool) seen.set(name, publicKey);
}

test(`kill -9 at ${kills} moments of filling and taking: no RSA key is handed out twice, and none is lost`, async (t) => {
  const dataDir = temporaryDirectory();
  const seen = new Map<string, string>();
  const acknowledged = new Map<string, string>();
  const idOf = (kid: string) => kid.slice(0, kid.indexOf('#'));
  let [cutOff, fromPool] = [0, 0];
  for (let kill = 0; kill < kills; kill++) {
    const service = await startFor(t, { dataDir, env });
    const { token } = service;
    await until(async () => (await metric(service, 'kms_rsa_pool_ready')) >= takenAtOnce);
    const creates = Array.from({ length: takenAtOnce }, () =>
      call(service, token, 'POST', '/v1/kms/keys', { purpose: 'p', alg: 'rsa-2048' }).then(
        ({ status, body }) => {
          assert.equal(status, 201);
          acknowledged.set(idOf(body.kid), body.kid);
        },
        () => {
          cutOff++;
        },
      ),
    );
    // From before the first commit to behind the last one, and on into the making of the next key.
    await delay(Math.random() * 150);
    await service.kill();
    await Promise.all(creates);
    const disk = await readDisk(dataDir);
    inspect(disk, seen);
    for (const id of acknowledged.keys()) assert.ok(disk.keys.has(id), `${id} was acknowledged`);
    fromPool = [...disk.keys.values()].filter(({ pooled }) => pooled !== undefined).length;
  }
  const { pool, keys } = await readDisk(dataDir);
  const service = await startInProcess({ dataDir, env });
  const ready = await metric(service, 'kms_rsa_pool_ready');
  const made = await metric(service, 'kms_rsa_pool_keys_total', 'what="made"');
  assert.ok(ready >= pool.size && ready <= pool.size + made, 'what lay ready lies ready again');
  for (const id of keys.keys()) {
    const ask = (path: string, body: object) =>
      call(service, service.token, 'POST', `/v1/kms${path}`, { payload_b3: helloWorldB3, ...body });
    const { status, body } = await ask('/sign', { kid: acknowledged.get(id) ?? id });
    assert.equal(status, 200, JSON.stringify(body));
    assert.equal((await ask('/verify', { sigs: body.sigs })).body.ok, true);
  }
  assert.equal(await service.stop(), 0);
  inspect(await readDisk(dataDir), seen);
  t.diagnostic(
    `${kills} kills; ${acknowledged.size} keys acknowledged, ${cutOff} cut off, ${fromPool} from the pool, ${pool.size} ready`,
  );
});
