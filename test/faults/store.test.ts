import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { open } from 'lmdb';
import { startInProcess } from '../support/in-process.ts';
import {
  call,
  helloWorldB3,
  type JsonAnswer,
  type RunningService,
  type ServiceProcess,
  temporaryDirectory,
} from '../support/service.ts';
import { acceptTampered } from '../support/tampered-store.ts';
import { startFor } from './start-for.ts';

const needsMount = mayMount() ? false : 'mounting a file system takes root';

test('a first start on a full disk is refused and makes nothing; one whose store is there serves', {
  skip: needsMount,
}, async (context) => {
  const { dataDir, directory } = smallStore(context, '112m');
  const filler = join(directory, 'filler');
  const fill = () => assert.throws(() => writeFileSync(filler, Buffer.alloc(128 << 20)), { code: 'ENOSPC' });
  fill();
  await assert.rejects(startFor(context, { dataDir }), /the disk of the store is full/);
  assert.deepEqual([readdirSync(dataDir), readdirSync(directory)], [['store'], ['filler']]);
  // As a start that was killed there leaves it: a file of which the disk holds nothing.
  writeFileSync(join(directory, 'lock.mdb'), '');
  truncateSync(join(directory, 'lock.mdb'), 1_232);
  await assert.rejects(startFor(context, { dataDir }), /the disk of the store is full/);
  rmSync(filler);
  const service = await startFor(context, { dataDir });
  const kid = await createKey(service, 'ed25519');
  const signed = await post(service, '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
  await service.stop();
  fill();
  const again = await startFor(context, { dataDir });
  // Whoever has a signature of before wants it verified; signing has no room for its counts.
  assert.equal(await verifies(again, signed), true);
});

test('a store whose disk is full: changes are refused, signatures go on, and it recovers by itself', {
  skip: needsMount,
}, async (context) => {
  const { dataDir, directory } = smallStore(context, '112m');
  const service = await startFor(context, { dataDir });
  const kid = await createKey(service, 'ml-dsa-65');
  const other = await createKey(service, 'ed25519');
  const sign = () => post(service, '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
  const rotate = () => post(service, `/v1/kms/keys/${encodeURIComponent(idOf(kid))}/rotate`);
  const destroy = () => post(service, `/v1/kms/keys/${encodeURIComponent(idOf(other))}/destroy`);
  const named = { purpose: 'p', alg: 'ed25519', op_id: '00000000-0000-4000-8000-000000000001' };
  assert.equal((await sign()).status, 200);

  // Somebody else's file takes all there is.
  const filler = join(directory, 'filler');
  assert.throws(() => writeFileSync(filler, Buffer.alloc(128 << 20)), { code: 'ENOSPC' });
  for (const refused of [
    await createAnswer(service, 'ed25519'),
    await rotate(),
    await post(service, '/v1/kms/keys', named),
    // The only one that asks the store: new keys stop before it is full.
    await destroy(),
  ]) {
    assert.equal(refused.status, 503);
    assert.equal(refused.body.error.code, 'StoreUnavailable');
    assert.equal(refused.body.error.retryable, true);
    assert.match(refused.headers.get('retry-after') ?? '', /^[1-9][0-9]*$/);
    assert.ok(refused.body.error.retry_after_ms > 0);
  }
  const signed = await sign();
  assert.equal(signed.status, 200);
  assert.equal(signed.body.kid, kid);
  assert.equal(await verifies(service, signed), true);
  assert.deepEqual(await readiness(service), { ready: true, missing: [], store: true });
  await service.logged((line) => JSON.parse(line).msg === 'the store failed');

  rmSync(filler);
  const rotated = await rotate();
  assert.equal(rotated.status, 200);
  assert.equal(rotated.body.previous, kid, 'the refused rotation left nothing');
  const made = await post(service, '/v1/kms/keys', named);
  assert.equal(made.status, 201, 'a refused op_id may be tried again');
  assert.equal((await destroy()).status, 200);
  assert.deepEqual(await readiness(service), { ready: true, missing: [], store: false });
  assert.equal(await service.stop(), 0);
});

test('a store that fills its disk: what was acknowledged stays, and is there after a restart', {
  skip: needsMount,
}, async (context) => {
  const { dataDir, resize } = smallStore(context, '76m');
  const service = await startFor(context, { dataDir });
  const kids: string[] = [];
  const fillUp = async (on: ServiceProcess): Promise<JsonAnswer> => {
    for (;;) {
      const answer = await createAnswer(on, 'ml-dsa-87');
      if (answer.status !== 201) return answer;
      kids.push(answer.body.kid);
      assert.ok(kids.length < 6_000, 'the file system never filled up');
    }
  };
  const refused = await fillUp(service);
  assert.equal(refused.status, 503);
  assert.equal(refused.body.error.code, 'StoreUnavailable');
  const before = await post(service, '/v1/kms/sign', { kid: kids[0], payload_b3: helloWorldB3 });
  assert.equal(before.status, 200);
  assert.equal(await service.stop(), 0);

  const full = await startFor(context, { dataDir });
  assert.equal(await verifies(full, before), true, 'a full disk does not keep the service from starting');
  // Who made most in the last minute was stopped sooner than others; now nobody has made any.
  assert.equal((await fillUp(full)).status, 503);
  resize('160m');
  for (const kid of kids.slice(0, 100)) {
    assert.equal((await post(full, '/v1/kms/sign', { kid, payload_b3: helloWorldB3 })).status, 200);
  }
  assert.equal((await createAnswer(full, 'ml-dsa-87')).status, 201);
  assert.equal(await full.stop(), 0);
});

test('a store that cannot be written: the start says so and ends', {
  skip: needsMount,
}, async (context) => {
  const { dataDir, remount } = smallStore(context, '112m');
  remount('ro');
  await assert.rejects(startFor(context, { dataDir }), (error: Error) => {
    assert.match(error.message, /intaglio: .*store/);
    assert.doesNotMatch(error.message, / {4}at /, 'for people, not a stack');
    return true;
  });
});

test('records whose bytes are damaged: only their keys fail, with an answer that says nothing', async () => {
  const dataDir = temporaryDirectory();
  const first = await startInProcess({ dataDir });
  const [good, badHead, badVersion, badOld, noVersion] = await Promise.all(
    Array.from({ length: 5 }, () => createKey(first, 'ed25519')),
  );
  const signedByOld = await post(first, '/v1/kms/sign', { kid: badOld, payload_b3: helloWorldB3 });
  assert.equal((await post(first, `/v1/kms/keys/${encodeURIComponent(idOf(badOld))}/rotate`)).status, 200);
  assert.equal(await first.stop(), 0);

  await editRecords(dataDir, (records) => {
    const edit = (key: string, change: (value: Buffer) => Buffer) => {
      records.put(Buffer.from(key), change(Buffer.from(records.get(Buffer.from(key)) as Buffer)));
    };
    const cutShort = (value: Buffer) => value.subarray(0, value.length >> 1);
    edit(`key/${idOf(badHead)}`, (value) =>
      Buffer.concat([value.subarray(0, 8), Buffer.from('\xff\x00{"v":', 'latin1')]),
    );
    edit(versionKeyOf(badVersion), cutShort);
    edit(versionKeyOf(badOld), cutShort);
    records.remove(Buffer.from(versionKeyOf(noVersion)));
  });
  const refusal = await acceptTampered({ dataDir });
  for (const key of [`key/${idOf(badHead)}`, ...[badVersion, badOld, noVersion].map(versionKeyOf)])
    assert.ok(refusal.includes(key), refusal);

  const service = await startInProcess({ dataDir });
  for (const kid of [badHead, badVersion, noVersion]) {
    for (const answer of [
      await post(service, '/v1/kms/sign', { kid, payload_b3: helloWorldB3 }),
      await post(service, `/v1/kms/keys/${encodeURIComponent(idOf(kid))}/destroy`),
    ]) {
      assert.equal(answer.status, 500);
      saysNothing(answer);
    }
  }
  // The current version of this one is whole.
  assert.equal(
    (await post(service, '/v1/kms/sign', { kid: idOf(badOld), payload_b3: helloWorldB3 })).status,
    200,
  );
  const old = await post(service, '/v1/kms/verify', {
    payload_b3: helloWorldB3,
    sigs: signedByOld.body.sigs,
  });
  assert.equal(old.status, 500);
  assert.equal((await post(service, '/v1/kms/sign', { kid: good, payload_b3: helloWorldB3 })).status, 200);
  const list = await call(service, service.token, 'GET', '/v1/kms/keys');
  assert.equal(list.status, 200);
  assert.ok(list.body.keys.some((key: { kid: string }) => key.kid === good));
  assert.equal((await createAnswer(service, 'ed25519')).status, 201);
  await service.logged(
    (line) => JSON.parse(line).msg === 'a record in the store cannot be read or is not authentic',
  );
  assert.equal(await service.stop(), 0);
});

test('a sealed private key that was altered: that key cannot sign, and everything else can', async () => {
  const dataDir = temporaryDirectory();
  const first = await startInProcess({ dataDir });
  const algorithms = ['ed25519', 'ml-dsa-65', 'ecdsa-p256', 'ed25519+ml-dsa-65'];
  const bad = await Promise.all(algorithms.map((alg) => createKey(first, alg)));
  const good = await Promise.all(algorithms.map((alg) => createKey(first, alg)));
  const before = await Promise.all(
    bad.map((kid) => post(first, '/v1/kms/sign', { kid, payload_b3: helloWorldB3 })),
  );
  assert.equal(await first.stop(), 0);

  const blobs: string[] = [];
  await editRecords(dataDir, (records) => {
    for (const kid of bad) {
      const key = Buffer.from(versionKeyOf(kid));
      const value = Buffer.from(records.get(key) as Buffer);
      // Behind the revision, the tag and the authenticated text.
      const sealedAt = 8 + 37 + value.readUInt32LE(8 + 33);
      const parts = JSON.parse(value.subarray(sealedAt).toString()) as string[];
      const sealed = Buffer.from(parts.at(-1) as string, 'base64');
      sealed[sealed.length - 20] = (sealed[sealed.length - 20] as number) ^ 1;
      parts[parts.length - 1] = sealed.toString('base64');
      blobs.push(parts.at(-1) as string);
      records.put(key, Buffer.concat([value.subarray(0, sealedAt), Buffer.from(JSON.stringify(parts))]));
    }
  });
  await acceptTampered({ dataDir });

  const service = await startInProcess({ dataDir });
  for (const [index, kid] of bad.entries()) {
    const answer = await post(service, '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
    assert.equal(answer.status, 500);
    saysNothing(answer);
    assert.equal(await verifies(service, before[index] as JsonAnswer), true, 'its public part is whole');
  }
  const mixed = await post(service, '/v1/kms/sign/batch', {
    items: [...bad, ...good].map((kid) => ({ kid, payload_b3: helloWorldB3 })),
  });
  assert.deepEqual(
    mixed.body.results.map((result: { error?: { code: string } }) => result.error?.code),
    [...bad.map(() => 'Internal'), ...good.map(() => undefined)],
  );
  // A new version has a new private key.
  const rotated = await post(service, `/v1/kms/keys/${encodeURIComponent(idOf(bad[0]))}/rotate`);
  assert.equal(rotated.status, 200);
  assert.equal(
    (await post(service, '/v1/kms/sign', { kid: idOf(bad[0]), payload_b3: helloWorldB3 })).status,
    200,
  );
  assert.equal(await service.stop(), 0);
  const printed = service.log.join('\n');
  for (const blob of blobs) assert.ok(!printed.includes(blob));
});

/** An internal error is the same for everybody, whatever is behind it. */
function saysNothing(answer: JsonAnswer): void {
  const { ts, request_id, ...rest } = answer.body.error;
  assert.deepEqual(rest, {
    code: 'Internal',
    message: 'internal error',
    retryable: false,
    hint: 'report the request_id to the operator',
  });
}

function post(service: RunningService, path: string, body?: unknown): Promise<JsonAnswer> {
  return call(service, service.token, 'POST', path, body);
}

function createAnswer(service: RunningService, alg: string): Promise<JsonAnswer> {
  return post(service, '/v1/kms/keys', { purpose: 'p', alg });
}

async function createKey(service: RunningService, alg: string): Promise<string> {
  const made = await createAnswer(service, alg);
  assert.equal(made.status, 201);
  return made.body.kid;
}

async function verifies(service: RunningService, signed: JsonAnswer): Promise<boolean> {
  const answer = await post(service, '/v1/kms/verify', { payload_b3: helloWorldB3, sigs: signed.body.sigs });
  assert.equal(answer.status, 200);
  return answer.body.ok;
}

async function readiness(
  service: RunningService,
): Promise<{ ready: boolean; missing: string[]; store: boolean }> {
  const { body } = await call(service, undefined, 'GET', '/readyz');
  return { ready: body.ready, missing: body.missing, store: body.degraded.includes('store') };
}

function idOf(kid: string | undefined): string {
  return (kid as string).split('#')[0] as string;
}

/** As the store names the record of a version. */
function versionKeyOf(kid: string | undefined): string {
  const [id, version] = (kid as string).split('#v');
  return `ver/${id}#${(version as string).padStart(10, '0')}`;
}

interface Records {
  get(key: Buffer): Buffer | undefined;
  put(key: Buffer, value: Buffer): void;
  remove(key: Buffer): void;
}

/** The records of a store that nobody serves, in one transaction. */
async function editRecords(dataDir: string, edit: (records: Records) => void): Promise<void> {
  const root = open<Buffer, Buffer>({ path: join(dataDir, 'store'), noSubdir: false, maxDbs: 4 });
  const records = root.openDB<Buffer, Buffer>({ name: 'records', encoding: 'binary', keyEncoding: 'binary' });
  root.transactionSync(() => edit(records as unknown as Records));
  await root.close();
}

function mayMount(): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-mount-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', directory], { stdio: 'ignore' });
    execFileSync('umount', [directory]);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** A data directory whose store has a file system of its own, of this size; the audit log has room, so only the store is in trouble. */
function smallStore(context: TestContext, size: string) {
  const dataDir = mkdtempSync(join(tmpdir(), 'intaglio-mount-'));
  const directory = join(dataDir, 'store');
  mkdirSync(directory);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'none', directory]);
  context.after(() => {
    execFileSync('umount', ['--lazy', directory]);
    rmSync(dataDir, { recursive: true });
  });
  const remount = (option: string) => execFileSync('mount', ['-o', `remount,${option}`, directory]);
  return { dataDir, directory, remount, resize: (to: string) => remount(`size=${to}`) };
}
