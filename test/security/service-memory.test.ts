import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chownSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { decryptByPassphrase, encryptForPassphrase } from '../../src/custody/root-key/age.ts';
import { nameOfBytes } from '../../src/custody/root-key/renew-all.ts';
import { writeShareFiles } from '../../src/custody/root-key/renew-source.ts';
import { readRootSources, writeRootSources } from '../../src/custody/root-key/sources-file.ts';
import { createOpensslEngine } from '../../src/engine/openssl/index.ts';
import { startFor } from '../faults/start-for.ts';
import { testEngineOptions } from '../support/engines.ts';
import { call, helloWorldB3, type ServiceProcess, temporaryDirectory } from '../support/service.ts';
import { dumpableMemory } from './memory.ts';
import { createFinder, type Mark, pieces } from './secrets.ts';

const addon = join(import.meta.dirname, '..', '..', 'native', 'build', 'intaglio_native.node');
const program = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');
const built = existsSync(addon);
const noAddon = built ? false : 'the native addon is not built';
const noNative =
  built && process.env.KMS_ENGINE !== 'openssl' ? false : 'the native engine is not among those under test';
/** Whom services run as here: somebody other than root, as in production. */
const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : undefined;

test('native: the memory that a core dump would hold has no secret of the data directory, nor of the sources of its root key, after a rotation', {
  skip: noNative,
}, async (context) => {
  const { dataDir, secrets, rootNow } = await directoryWithSources();
  // A user other than root may then read it.
  const env = { KMS_ALLOW_CORE_DUMPS: 'true', KMS_ENGINE: 'native' };
  const service = await startFor(context, { dataDir, env });
  const before = await rootNow();
  await useIt(service);
  const { url, token } = service;
  assert.equal((await call({ url }, token, 'POST', '/v1/kms/admin/root/rotate', {})).status, 202);
  const generation = async () => (await call({ url }, token, 'GET', '/v1/kms/admin/root')).body.generation;
  for (const endMs = Date.now() + 30_000; (await generation()) !== 2; await delay(20))
    assert.ok(Date.now() < endMs, 'the rotation does not end');
  await useIt(service);
  const after = await rootNow();
  assert.notDeepEqual(after, before);

  const found = new Set<string>();
  const find = createFinder([
    ...marksOf(dataDir, { 'root key': after, 'root key of before': before }),
    ...Object.entries(secrets).flatMap(([what, secret]) => pieces(what, secret)),
  ]);
  for (const part of dumpableMemory(service.pid)) for (const what of find(part)) found.add(what);
  // The search is not blind: what is public is there.
  assert.deepEqual([...found], ['payload digest']);
});

test('the process that opens a source of the root key has copies of passphrase and identities until it ends', {
  skip: noAddon,
}, async (context) => {
  const { dataDir, secrets, rootNow } = await directoryWithSources();
  const find = createFinder([
    ...Object.entries(secrets).flatMap(([what, secret]) => pieces(what, secret)),
    ...pieces('root key', await rootNow()),
  ]);
  for (const [id, what] of [
    ['passphrase', 'passphrase'],
    ['shares', 'identity of an officer'],
  ] as const) {
    const opening = join(import.meta.dirname, 'root-source-child.ts');
    const child = spawn(process.execPath, [opening, dataDir, id], { stdio: ['pipe', 'pipe', 'inherit'] });
    context.after(() => child.kill('SIGKILL'));
    assert.equal(String(await once(child.stdout, 'data')), 'opened\n');
    const found = new Set<string>();
    for (const part of dumpableMemory(child.pid as number)) for (const mark of find(part)) found.add(mark);
    context.diagnostic(`${id}: ${[...found].join(', ')}`);
    assert.ok(found.has(what), `${id}: ${[...found].join(', ')}`);
    child.stdin.end();
    await once(child, 'exit');
  }
});

test('the service forbids core dumps, and works without what the system then takes away', {
  skip: noAddon,
}, async (context) => {
  const service = await startAsAnotherUser(context, {});
  // The kernel gives the files of an undumpable process to root.
  assert.equal(statSync(`/proc/${service.pid}/environ`).uid, 0);
  await useIt(service);
  assert.equal(await service.stop(), 0);
  // Once more with what the first start left.
  const again = await startAsAnotherUser(context, { dataDir: service.dataDir });
  await useIt(again);
  assert.equal(await again.stop(), 0);
});

test('KMS_ALLOW_CORE_DUMPS=true leaves them on, and a log line says so', {
  skip: noAddon,
}, async (context) => {
  const service = await startAsAnotherUser(context, { allow: true });
  assert.notEqual(statSync(`/proc/${service.pid}/environ`).uid, 0);
  assert.match(service.log.join('\n'), /core dumps are allowed/);
  assert.equal(await service.stop(), 0);
});

test('a witness is undumpable as well', { skip: noAddon }, async (context) => {
  const dir = temporaryDirectory();
  if (user !== undefined) chownSync(dir, user.uid, user.gid);
  const run = (...args: string[]) =>
    spawn(process.execPath, [program, 'witness', ...args, '--dir', dir], {
      stdio: ['ignore', 'pipe', 'inherit'],
      ...user,
    });
  const init = run('init', '--name', 'witness.example/1');
  const [vkeys] = (await once(init.stdout, 'data')) as [Buffer];
  if (init.exitCode === null) await once(init, 'exit');
  const log = join(dir, 'log.vkeys');
  writeFileSync(log, vkeys);
  const witness = run('serve', '--log', log, '--bind', '127.0.0.1:0');
  context.after(() => witness.kill());
  assert.match(String(await once(witness.stdout, 'data')), /listening/);
  assert.equal(statSync(`/proc/${witness.pid}/environ`).uid, 0);
  witness.kill();
  assert.deepEqual(await once(witness, 'exit'), [0, null]);
});

async function startAsAnotherUser(
  context: TestContext,
  { dataDir = temporaryDirectory(), allow = false }: { dataDir?: string; allow?: boolean },
): Promise<ServiceProcess> {
  if (user !== undefined) chownSync(dataDir, user.uid, user.gid);
  const env = { KMS_ALLOW_CORE_DUMPS: `${allow}`, KMS_REFUSALS_PER_ADDRESS: '1000' };
  return await startFor(context, { dataDir, env, ...(user === undefined ? {} : { user }) });
}

async function useIt({ url, token }: ServiceProcess): Promise<void> {
  const ask = async (path: string, body?: object) => {
    const response = await fetch(`${url}${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { authorization: `Bearer ${token}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    assert.ok(response.ok, `${path} ${response.status} ${text}`);
    return text;
  };
  for (const alg of ['ed25519', 'ml-dsa-65', 'ecdsa-p256', 'rsa-2048']) {
    const { kid } = JSON.parse(await ask('/v1/kms/keys', { purpose: 'dump', alg }));
    for (let n = 0; n < 20; n++) await ask('/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
  }
  for (const path of ['/readyz', '/metrics', '/version', '/v1/kms/keys', '/v1/kms/audit/checkpoint'])
    await ask(path);
}

/** A root key in a file of age under a passphrase, and in shares of officers; what opens either, and the key of the moment. */
async function directoryWithSources() {
  const dataDir = temporaryDirectory();
  // Drawn: words could stand in a comment of a source, which is in the service's memory.
  const passphrase = Buffer.from(randomBytes(24).toString('hex'));
  const identities = await Promise.all([generateX25519Identity(), generateX25519Identity()]);
  const recipients = await Promise.all(identities.map((identity) => identityToRecipient(identity)));
  const files = identities.map((identity, n) => {
    writeFileSync(join(dataDir, `officer-${n}`), `${identity}\n`, { mode: 0o600 });
    return `officer-${n}`;
  });
  writeFileSync(join(dataDir, 'passphrase'), passphrase, { mode: 0o600 });
  const secret = randomBytes(32);
  // Names of root keys are the same with both engines.
  const root = nameOfBytes(createOpensslEngine(testEngineOptions), secret);
  await writeShareFiles(join(dataDir, 'shares'), secret, 2, recipients);
  const common = { createdAtMs: 1, generation: 1, root };
  const from = { from: 'file', path: 'passphrase' } as const;
  // Few rounds of scrypt, which take two seconds each time otherwise.
  const age = await encryptForPassphrase(secret, passphrase, 10);
  writeRootSources(dataDir, [
    { ...common, id: 'passphrase', kind: 'passphrase', passphrase: from, age },
    {
      ...common,
      id: 'shares',
      kind: 'shares',
      threshold: 2,
      recipients,
      directory: 'shares',
      identities: files,
    },
  ]);
  const rootNow = async (): Promise<Buffer> => {
    const read = readRootSources(dataDir);
    const [source] = read.ok ? (read.value?.sources ?? []) : [];
    assert.ok(source?.kind === 'passphrase');
    return Buffer.from((await decryptByPassphrase(source.age, passphrase)) ?? []);
  };
  const secrets = {
    passphrase,
    // Without what all identities begin with.
    'identity of an officer': Buffer.from((identities[0] as string).slice('AGE-SECRET-KEY-1'.length)),
  };
  return { dataDir, secrets, rootNow };
}

/** Each secret file, what is derived from it, and both as HMAC pads them (RFC 2104). */
function marksOf(dataDir: string, roots: Readonly<Record<string, Buffer>>): Mark[] {
  const hmac = (key: string, secret: Buffer) => createHmac('sha256', key).update(secret).digest();
  const hkdf = (secret: Buffer, info: string) => Buffer.from(hkdfSync('sha256', secret, '', info, 32));
  const [macaroon, audit] = ['macaroon.key', 'audit.secret'].map((name) =>
    readFileSync(join(dataDir, name)),
  ) as [Buffer, Buffer];
  const inputRoot = hkdf(audit, 'intaglio/audit-input-root/v1');
  const secrets: Record<string, Buffer> = {
    ...roots,
    ...Object.fromEntries(
      Object.entries(roots).map(([what, root]) => [
        `sealing key of the ${what}`,
        hkdf(root, 'intaglio/seal/v1\0default'),
      ]),
    ),
    'macaroon key': macaroon,
    'macaroon key, extracted': hmac('macaroons-key-generator', macaroon),
    'audit secret': audit,
    'audit secret, extracted': hmac('', audit),
    'audit head key': hkdf(audit, 'intaglio/audit-head/v1'),
    'audit anchor key': hkdf(audit, 'intaglio/audit-anchor/v1'),
    'audit snapshot key': hkdf(audit, 'intaglio/audit-snapshot/v1'),
    'input root': inputRoot,
    'input root, extracted': hmac('', inputRoot),
    'input key of a tenant': hkdf(inputRoot, 'intaglio/audit-input/v1\0default\x001'),
  };
  return [
    ...pieces('payload digest', Buffer.from(helloWorldB3)),
    ...Object.entries(secrets).flatMap(([what, bytes]) =>
      [0, 0x36, 0x5c].flatMap((pad) => pieces(what, Buffer.from(bytes.map((byte) => byte ^ pad)))),
    ),
  ];
}
