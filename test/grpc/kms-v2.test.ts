import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { defaultTuning } from '../../src/assemble/cryptography.ts';
import { type PeerUser, peerUserAuthenticator } from '../../src/auth/peer-users.ts';
import type { Scope } from '../../src/core/scope.ts';
import { StartError } from '../../src/core/start-error.ts';
import { KmsV2Door } from '../../src/grpc/kms-v2/door.ts';
import { createLog } from '../../src/observe/log.ts';
import type { DekOperations } from '../../src/operations/deks/operations.ts';
import { openService } from '../../src/service.ts';
import { configOf } from '../support/in-process.ts';
import { until } from '../support/keyring.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { type KmsV2Client, kmsV2Client } from './kms-v2-client.ts';

const uid = process.getuid?.() as number;
const everything = new Set<Scope>(['kms:create', 'kms:read', 'kms:wrap', 'kms:unwrap', 'kms:rotate']);
const seed = randomBytes(32);
const refusedWith = (code: number, details = /./) => {
  return (cause: { code: number; details: string }) => cause.code === code && details.test(cause.details);
};

interface Plugin {
  readonly socket: string;
  readonly dataDir: string;
  readonly door: KmsV2Door;
  readonly client: KmsV2Client;
  readonly lines: string[];
  readonly condition: (name: string, holds: () => boolean) => () => void;
  rotate(): Promise<void>;
  stop(): Promise<void>;
  another(path?: string, prefaceMs?: number): KmsV2Door;
}

async function plugin(
  t: TestContext,
  users: readonly PeerUser[] | undefined = undefined,
  dataDir = temporaryDirectory(t),
): Promise<Plugin> {
  const lines: string[] = [];
  const log = createLog('info', 'test', { write: (line) => void lines.push(line) });
  const config = configOf({ KMS_DATA_DIR: dataDir, KMS_DEK: 'true' });
  const service = await openService(config, { log, tuning: defaultTuning, onAuditDeath() {} });
  const authenticator = peerUserAuthenticator(config.dekTenant, users, everything);
  const requestPath = service.requestPathFor(authenticator);
  const { health, clock, metrics } = service;
  const operations = () => service.dekOperations as DekOperations;
  const socket = join(dataDir, 'run', 'kms-v2.sock');
  const another = (path = socket, prefaceMs = 10_000) =>
    new KmsV2Door(
      { requestPath, health, clock, metrics, authenticator, operations, log },
      { path, groupAllowed: false, prefaceMs, lookEveryMs: 20 },
    );
  const door = another();
  assert.equal(await door.listen(), `unix:${socket}`);
  const client = kmsV2Client(socket);
  let stopped: Promise<void> | undefined;
  const stop = async () => {
    client.close();
    door.stopAccepting();
    await door.drain();
    door.close();
    await service.stop();
  };
  const stopOnce = () => {
    stopped ??= stop();
    return stopped;
  };
  t.after(stopOnce);
  return {
    ...{ socket, dataDir, door, client, lines, another },
    condition: (name, holds) => health.condition(name, 'required', holds),
    async rotate() {
      const operation = operations().kek_rotate;
      assert.ok(operation.kind === 'keys');
      const caller = { tenant: config.dekTenant, actor: 'test', scopes: everything };
      assert.ok((await operation.run({ plainKek: undefined }, caller)).ok);
    },
    stop: stopOnce,
  };
}

const encrypted = (client: KmsV2Client, plaintext: Uint8Array = seed) =>
  client.ask('Encrypt', { plaintext, uid: randomUUID() });

/** The first version of the KEK is made beside the start. */
async function ready(client: KmsV2Client) {
  await encrypted(client);
  return client.ask('Status', {});
}

test('KMS v2: Status, Encrypt and Decrypt over a socket of mode 0600; a rotation changes key_id', async (t) => {
  const { client, socket, rotate } = await plugin(t);
  const mode = (path: string) => statSync(path).mode & 0o777;
  assert.deepEqual([mode(socket), mode(join(socket, '..'))], [0o600, 0o700]);
  const status = await ready(client);
  assert.deepEqual([status.version, status.healthz], ['v2', 'ok']);
  assert.match(status.key_id, /#v1$/);
  const first = await encrypted(client);
  assert.equal(first.key_id, status.key_id);
  assert.deepEqual(first.annotations, {});
  // The limit of k8s.io/apiserver for a wrapped key.
  assert.ok(first.ciphertext.length <= 1_024);
  assert.equal(first.ciphertext.includes(seed), false);

  await rotate();
  const after = await client.ask('Status', {});
  assert.deepEqual([after.healthz, /#v(\d+)$/.exec(after.key_id)?.[1]], ['ok', '2']);
  const second = await encrypted(client);
  assert.equal(second.key_id, after.key_id);
  for (const { ciphertext, key_id } of [first, second]) {
    const opened = await client.ask('Decrypt', { ciphertext, key_id, uid: randomUUID() });
    assert.deepEqual(opened.plaintext, seed);
  }
  // A ciphertext under the name of another version.
  const crossed = { ciphertext: first.ciphertext, key_id: second.key_id, uid: '' };
  await assert.rejects(client.ask('Decrypt', crossed), refusedWith(3));
});

test('KMS v2: what was altered, is too large, malformed or unknown is refused, and the service goes on', async (t) => {
  const { client, socket } = await plugin(t);
  const { ciphertext, key_id } = await encrypted(client);
  const altered = Buffer.from(ciphertext);
  altered[altered.length - 1] = (altered.at(-1) as number) ^ 1;
  const decrypt = (more: object) => client.ask('Decrypt', { ciphertext, key_id, uid: 'x', ...more });
  const unknown = refusedWith(3, /: ciphertext: this service has not made it/);
  const ofAnother = await plugin(t, undefined, temporaryDirectory(t));
  const { ciphertext: another, key_id: anotherKeyId } = await encrypted(ofAnother.client);
  for (const more of [
    { ciphertext: altered },
    { ciphertext: Buffer.from('x') },
    { ciphertext: Buffer.alloc(0) },
    { key_id: '' },
    { key_id: `${key_id}1` },
    { key_id: 'a'.repeat(100_000) },
    { ciphertext: another },
    { ciphertext: another, key_id: anotherKeyId },
  ])
    await assert.rejects(decrypt(more), unknown);
  await assert.rejects(decrypt({ annotations: { a: Buffer.from('b') } }), refusedWith(3, /annotations/));
  await assert.rejects(encrypted(client, Buffer.alloc(0)), refusedWith(3));
  await assert.rejects(encrypted(client, Buffer.alloc(65_537)), refusedWith(8));
  await assert.rejects(encrypted(client, Buffer.alloc(200_000)), refusedWith(8));
  assert.ok((await encrypted(client, Buffer.alloc(65_536))).ciphertext.length > 65_536);
  await assert.rejects(
    client.raw('/v2.KeyManagementService/Encrypt', Buffer.from([0x0a, 0xff])),
    refusedWith(13),
  );
  await assert.rejects(client.raw('/v2.KeyManagementService/Rotate', Buffer.alloc(0)), refusedWith(12));
  await assert.rejects(client.raw('/v1beta1.KeyManagementService/Version', Buffer.alloc(0)), refusedWith(12));
  await assert.rejects(client.ask('Encrypt', { plaintext: seed, uid: 'x' }, -1), refusedWith(4));
  for (const sent of ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', randomBytes(64)]) {
    const other = connect(socket);
    other.on('error', () => {});
    other.write(sent);
    await new Promise((resolve) => other.resume().once('close', resolve));
  }
  assert.equal((await client.ask('Status', {})).healthz, 'ok');
});

test('KMS v2: another user is refused before anything is read, and is on the audit log', async (t) => {
  const { client, dataDir, stop, lines } = await plugin(t, [{ uid: uid + 1, scopes: everything }]);
  await assert.rejects(client.ask('Status', {}), refusedWith(14));
  await stop();
  assert.match(lines.join(''), /not in allowed_uids/);
  const log = readFileSync(join(dataDir, 'kms-audit.log'), 'utf8');
  assert.match(log, new RegExp(`"actor":"uid:${uid}".*"result":"denied:`));
});

test('KMS v2: a user without the role for it is refused, and is told so', async (t) => {
  const { client } = await plugin(t, [{ uid, scopes: new Set<Scope>(['kms:read', 'kms:unwrap']) }]);
  await assert.rejects(encrypted(client), refusedWith(7));
  assert.equal((await client.ask('Status', {})).version, 'v2');
});

test('KMS v2: Status says what is wrong, and keeps the key_id', async (t) => {
  const { client, condition } = await plugin(t);
  const { key_id } = await ready(client);
  let holds = false;
  condition('audit_of_test', () => holds);
  condition('draining', () => holds);
  const status = await client.ask('Status', {});
  assert.deepEqual([status.healthz, status.key_id], ['not ready: audit_of_test, draining', key_id]);
  holds = true;
  assert.equal((await client.ask('Status', {})).healthz, 'ok');
});

test('KMS v2: connections that send nothing, or not all of a preface, are ended, and one that began goes on', async (t) => {
  const { another, dataDir } = await plugin(t);
  const path = join(dataDir, 'other', 'kms.sock');
  const door = another(path, 300);
  await door.listen();
  t.after(() => door.close());
  const client = kmsV2Client(path);
  t.after(() => client.close());
  await ready(client);
  const silent = Array.from({ length: 62 }, () => connect(path));
  silent[0]?.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  await Promise.all(silent.map((one) => new Promise((resolve) => one.resume().once('close', resolve))));
  assert.equal((await client.ask('Status', {})).healthz, 'ok');
});

test('KMS v2: a socket that is removed is bound again, and open connections go on', async (t) => {
  const { client, socket, door, lines } = await plugin(t);
  await ready(client);
  rmSync(socket);
  await until(() => lines.some((line) => line.includes('the Unix socket is bound again')));
  assert.ok(door.reachable);
  assert.equal(statSync(socket).mode & 0o777, 0o600);
  const second = kmsV2Client(socket);
  t.after(() => second.close());
  for (const each of [client, second]) assert.equal((await each.ask('Status', {})).healthz, 'ok');
});

test('KMS v2: a live socket is not taken over; a stop answers what is under way and removes the socket', async (t) => {
  const { client, socket, door, another } = await plugin(t);
  await ready(client);
  await assert.rejects(another().listen(), (cause) => {
    return cause instanceof StartError && /another process has it/.test(cause.message);
  });
  assert.equal((await client.ask('Status', {})).healthz, 'ok');
  const idle = connect(socket);
  await new Promise((resolve) => idle.once('connect', resolve));
  const under = Promise.all(Array.from({ length: 20 }, () => encrypted(client)));
  // On its way before the stop: the first answer is there.
  await client.ask('Status', {});
  door.stopAccepting();
  assert.equal(existsSync(socket), false);
  await door.drain();
  assert.equal((await under).length, 20);
  await assert.rejects(encrypted(client), refusedWith(14));
  door.close();
  await new Promise((resolve) =>
    idle.destroyed ? resolve(undefined) : idle.resume().once('close', resolve),
  );
});
