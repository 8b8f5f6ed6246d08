import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createCipheriv, randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { readDekConfig } from '../../../src/cli/dek/config-file.ts';
import { importDeks } from '../../../src/cli/dek/import-deks.ts';
import { StartError } from '../../../src/core/start-error.ts';
import { isWeakKey } from '../../../src/operations/deks/weak-key.ts';
import { kmsV2Client } from '../../grpc/kms-v2-client.ts';
import { dekConfig, startDekService } from '../../support/serve-dek.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';
import { intaglio } from '../intaglio.ts';

const b64 = (bytes: Uint8Array | string) => Buffer.from(bytes).toString('base64');
const rule = { groupAllowed: false };
const uid = process.geteuid?.() ?? 0;

test('serve-dek: its calls over a socket of mode 0600, by the user whom the kernel names, on both logs', async (t) => {
  const directory = temporaryDirectory(t);
  const roles = ['encrypt', 'decrypt', 'admin'];
  const config = dekConfig(directory, 'dek.yaml', { allowed_uids: [{ uid, roles }] });
  const kms = await startDekService(directory, config, {
    // Of the environment, which a configuration makes nothing of.
    KMS_ROOT_KEY_FILE: '/nowhere/root.key',
    KMS_UNIX_ALLOWED_UIDS: '12345',
  });
  const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);
  assert.deepEqual([mode(kms.socket), mode(join(directory, 'run'))], ['600', '700']);
  const { key_id } = (await kms.ask('/create_dek_for_thread', { thread_id: 't1' })).body;
  const { ciphertext } = (await kms.ask('/encrypt', { key_id, plaintext: b64('x') })).body;
  assert.equal((await kms.ask('/decrypt', { key_id, ciphertext })).body.plaintext, b64('x'));
  assert.equal((await kms.ask('/healthz')).status, 200);
  assert.equal((await kms.ask('/healthz', {})).status, 405);
  assert.equal((await kms.ask('/v1/kms/keys')).status, 404);

  // Whoever is refused leaves nothing behind.
  const elsewhere = temporaryDirectory(t);
  const thief = startDekService(elsewhere, config, {}, kms.socket);
  await assert.rejects(thief, /another process has it/);
  const second = startDekService(
    directory,
    config,
    { KMS_AUDIT_DIR: join(elsewhere, 'audit') },
    join(elsewhere, 'run', 'dek.sock'),
  );
  await assert.rejects(second, new RegExp(`in use: process ${kms.process.pid} holds it`));
  assert.deepEqual(readdirSync(elsewhere), []);
  assert.equal((await kms.ask('/keks')).status, 200);

  rmSync(kms.socket);
  await kms.process.logged((line) => line.includes('NOBODY CONNECTS BY THE UNIX SOCKET'));
  await kms.process.logged((line) => line.includes('the Unix socket is bound again'));
  assert.equal((await kms.ask('/decrypt', { key_id, ciphertext })).status, 200);
  assert.deepEqual([mode(kms.socket), (await kms.ask('/readyz')).status], ['600', 200]);

  await kms.process.stop();
  const data = join(directory, 'data');
  // No capability is ever taken here.
  const files = readdirSync(data).filter((name) => /token|macaroon/.test(name));
  assert.deepEqual(files, []);
  assert.equal(mode(join(data, 'kms-audit.log')), '600');
  const lines = readFileSync(join(data, 'kms-audit.log'), 'utf8').trimEnd().split('\n');
  const records = lines.map((line) => JSON.parse(line).record);
  assert.ok(
    records.some(({ purpose, actor, data: of }) => {
      return purpose === 'dek_encrypt' && actor === `uid:${uid}` && of.dek === key_id;
    }),
  );
  assert.ok(statSync(join(data, 'kms.db')).size > 0);
  assert.equal((await intaglio(['dek', 'audit', '--data-dir', data])).status, 0);

  const log = join(data, 'kms-audit.log');
  const verdict = async (changed: readonly string[]) => {
    writeFileSync(log, `${changed.join('\n')}\n`);
    const { status, stderr } = await intaglio(['dek', 'audit', '--data-dir', data]);
    assert.equal(status, 2, stderr);
    return stderr;
  };
  const altered = lines.with(1, (lines[1] as string).replace('"result":"ok"', '"result":"no"'));
  assert.match(await verdict(altered), /^line 2: was altered/m);
  assert.match(await verdict(lines.toSpliced(2, 1)), /^line 3: 1 lines before it are missing/m);
  const swapped = [...lines];
  [swapped[1], swapped[2]] = [lines[2] as string, lines[1] as string];
  assert.match(await verdict(swapped), /^line 2: 1 lines before it are missing\nline 3: is line 2/m);
  assert.match(await verdict(lines.slice(0, -1)), /1 lines at the end are missing/);

  // They are written again from the audit log.
  const again = await startDekService(directory, config);
  assert.equal((await again.ask('/decrypt', { key_id, ciphertext })).status, 200);
  await again.process.stop();
  assert.equal((await intaglio(['dek', 'audit', '--data-dir', data])).status, 0);
});

test('serve-dek --kms-v2-socket: gRPC over the same KEK, ended with the service', async (t) => {
  const directory = temporaryDirectory(t);
  const config = dekConfig(directory, 'dek.yaml');
  const socket = join(directory, 'kms-v2', 'kms.sock');
  const kms = await startDekService(directory, config, {}, undefined, ['--kms-v2-socket', socket]);
  const client = kmsV2Client(socket);
  t.after(() => client.close());
  const { ciphertext, key_id } = await client.ask('Encrypt', { plaintext: Buffer.from('seed'), uid: '' });
  assert.equal((await client.ask('Status', {})).key_id, key_id);
  assert.equal((await kms.ask('/rotate_kek', {})).body.kek_version, 2);
  assert.match((await client.ask('Status', {})).key_id, /#v2$/);
  const opened = await client.ask('Decrypt', { ciphertext, key_id, uid: '' });
  assert.equal(opened.plaintext.toString(), 'seed');
  // What Kubernetes keeps is opened by its own calls alone.
  assert.equal((await kms.ask('/unwrap', { wrapped: b64(ciphertext) })).status, 400);
  await kms.process.stop();
  assert.equal(existsSync(socket), false);
  for (const [path, says] of [
    ['x'.repeat(108), /--socket: the path of a Unix socket has at most 107 bytes/],
    ['a,b.sock', /--socket: the path has printable ASCII only/],
    ['a?mode=0666', /--socket: the path has printable/],
  ] as const)
    await assert.rejects(startDekService(directory, config, { KMS_BIND: '' }, join(directory, path)), says);
  const same = startDekService(directory, config, {}, undefined, ['--kms-v2-socket', kms.socket]);
  await assert.rejects(same, /--kms-v2-socket is the socket of --socket/);
});

test('serve-dek: a start that is refused makes nothing, neither directories nor files', async (t) => {
  const directory = temporaryDirectory(t);
  const home = temporaryDirectory(t);
  const ordinary = dekConfig(home, 'dek.yaml');
  const readable = dekConfig(home, 'readable.yaml');
  chmodSync(readable, 0o644);
  const anybodys = join(home, 'anybodys');
  mkdirSync(anybodys);
  chmodSync(anybodys, 0o777);
  const rootKey = join(home, 'root.key');
  writeFileSync(rootKey, randomBytes(32));
  chmodSync(rootKey, 0o644);
  writeFileSync(join(home, 'file'), '');
  const below = (...path: string[]) => join(directory, ...path);
  const cases: readonly (readonly [
    RegExp,
    Readonly<Record<string, string>>,
    Readonly<Record<string, string>>?,
  ])[] = [
    [/no random key/, { config: dekConfig(home, 'weak.yaml', { master_key_hex: '0'.repeat(64) }) }],
    [/surplus is unknown/, { config: dekConfig(home, 'surplus.yaml', { surplus: 1 }) }],
    [/may be read/, { config: readable }],
    [/there is no such file/, { config: join(home, 'missing.yaml') }],
    [/KMS_WORKERS/, { config: ordinary }, { KMS_WORKERS: 'many' }],
    [/at most 107 bytes/, { config: ordinary, socket: below('x'.repeat(108)) }],
  ];
  for (const [says, flags, env = {}] of cases) {
    const given = { socket: below('run', 'dek.sock'), 'data-dir': below('data'), ...flags };
    const args = Object.entries(given).flatMap(([name, value]) => [`--${name}`, value]);
    const { status, stderr } = await intaglio(['serve-dek', ...args], { env });
    assert.equal(status, 1);
    assert.match(stderr, says);
    assert.deepEqual(readdirSync(directory), [], String(says));
  }
  // By a process of their own: these are found when it is about to serve.
  const socket = below('run', 'dek.sock');
  const started: readonly (readonly [RegExp, () => Promise<unknown>])[] = [
    [/may be written by others/, () => startDekService(directory, ordinary, {}, join(anybodys, 'dek.sock'))],
    [
      /no socket/,
      () => startDekService(directory, ordinary, {}, socket, ['--kms-v2-socket', join(home, 'file')]),
    ],
    [/root\.key may be read/, () => startDekService(directory, undefined, { KMS_ROOT_KEY_FILE: rootKey })],
  ];
  for (const [says, start] of started) await assert.rejects(start, says);
  assert.deepEqual(readdirSync(directory), []);
});

test('serve-dek: another user is told 401 and is on the log', async (t) => {
  const directory = temporaryDirectory(t);
  const stranger = dekConfig(directory, 'a.yaml', {
    master_key_hex: randomBytes(32).toString('hex'),
    allowed_uids: [{ uid: uid + 1, roles: ['encrypt'] }],
  });
  const kms = await startDekService(directory, stranger);
  assert.equal((await kms.ask('/deks', { key_id: 'k1' })).status, 401);
  assert.equal((await kms.ask('/keks')).status, 401);
  await kms.process.stop();
  const log = readFileSync(join(directory, 'data', 'kms-audit.log'), 'utf8');
  assert.match(log, new RegExp(`"actor":"uid:${uid}".*"purpose":"dek_create","result":"denied:`));
});

test('serve-dek: SIGHUP reads the users again, and a configuration that is wrong changes nothing', async (t) => {
  const directory = temporaryDirectory(t);
  const master_key_hex = randomBytes(32).toString('hex');
  const write = (roles: readonly string[], more = {}) =>
    dekConfig(directory, 'dek.yaml', { master_key_hex, allowed_uids: [{ uid, roles }], ...more });
  const settings = join(directory, 'settings.yaml');
  const policy = join(directory, 'policy.yaml');
  writeFileSync(policy, 'identities: []\n', { mode: 0o600 });
  writeFileSync(settings, `log_level: info\npolicy_file: ${policy}\n`);
  const kms = await startDekService(directory, write(['encrypt']), { KMS_CONFIG: settings });
  t.after(() => kms.process.kill());
  const create = async () => (await kms.ask('/deks', {})).status;
  const reloaded = async (says: RegExp) => {
    const before = kms.process.log.length;
    process.kill(kms.process.pid, 'SIGHUP');
    await kms.process.logged((line) => says.test(line) && kms.process.log.indexOf(line) >= before);
  };
  assert.equal(await create(), 201);
  write(['decrypt']);
  await reloaded(/read again and are in force/);
  assert.equal(await create(), 403);
  // Users count with the settings of the same signal, or not at all.
  writeFileSync(policy, 'wrong: [\n');
  write(['encrypt']);
  await reloaded(/NOT TAKEN/);
  assert.equal(await create(), 403);
  writeFileSync(policy, 'identities: []\n');
  const config = write(['encrypt'], { surplus: 1 });
  await reloaded(/NOT TAKEN/);
  chmodSync(config, 0o644);
  await reloaded(/NOT TAKEN/);
  // Neither a directory nor a pipe, which nobody writes to, holds the service up.
  for (const path of [config, settings])
    for (const make of ['mkdir', 'mkfifo']) {
      rmSync(path, { recursive: true });
      assert.equal(spawnSync(make, ['-m', '600', path]).status, 0);
      await reloaded(/NOT TAKEN/);
    }
  rmSync(settings);
  writeFileSync(settings, `log_level: info\npolicy_file: ${policy}\n`);
  rmSync(config);
  await reloaded(/NOT TAKEN/);
  assert.equal(await create(), 403);
  write(['encrypt'], { master_key_hex: randomBytes(32).toString('hex') });
  await reloaded(/read again and are in force/);
  assert.equal(await create(), 201);
  assert.equal(await kms.process.stop(), 0);
});

test('dek reseal and restore: the next master key opens, the one before does not; every DEK is what it was', async (t) => {
  const directory = temporaryDirectory(t);
  const [old, next] = [dekConfig(directory, 'old.yaml'), dekConfig(directory, 'next.yaml')];
  const kms = await startDekService(directory, old);
  for (let n = 0; n < 40; n++) await kms.ask('/deks', { key_id: `k${n}` });
  const { ciphertext } = (await kms.ask('/encrypt', { key_id: 'k7', plaintext: b64('x') })).body;
  assert.equal((await kms.ask('/rotate_kek', {})).status, 200);
  await kms.process.stop();
  const data = join(directory, 'data');
  const reseal = (from: string, to: string) =>
    intaglio(['dek', 'reseal', '--old-config', from, '--config', to, '--data-dir', data]);
  assert.match((await reseal(old, old)).stderr, /the same master key/);
  const other = dekConfig(directory, 'other.yaml');
  assert.match((await reseal(other, next)).stderr, /is not the one/);
  const done = await reseal(old, next);
  assert.equal(done.status, 0, done.stderr);
  const twice = await reseal(old, next);
  assert.equal(twice.status, 0, twice.stderr);
  await assert.rejects(startDekService(directory, old), /is not the one/);
  await assert.rejects(
    startDekService(directory, undefined),
    /made with --config opens with that configuration alone/,
  );
  const restore = (id: string, ...more: string[]) =>
    intaglio(['dek', 'restore', '--key-id', id, '--data-dir', data, '--config', next, ...more]);
  assert.equal((await restore('k7')).stdout, 'k7 is back, up to its version 1, under version 2 of the KEK\n');
  assert.match((await restore('k7', '--from', '3')).stderr, /snapshots of this DEK: of the rotations to 2/);
  assert.match((await restore('k7', '--from', 'all')).stderr, /--from is the number/);
  const missing = join(directory, 'missing');
  const from = ['--key-id', 'k7', '--data-dir', missing, '--config', next];
  assert.match((await intaglio(['dek', 'restore', ...from])).stderr, /there is no store in/);
  assert.equal(existsSync(missing), false);
  const again = await startDekService(directory, next);
  assert.equal((await again.ask('/decrypt', { key_id: 'k7', ciphertext })).body.plaintext, b64('x'));
  await again.process.stop();
});

test('dek import: what a service before encrypted decrypts, and a wrong line stops all of it; a user without the role is told 403', async (t) => {
  const directory = temporaryDirectory(t);
  const config = dekConfig(directory, 'dek.yaml', { allowed_uids: [{ uid, roles: ['decrypt'] }] });
  const kek = randomBytes(32);
  const keyFile = join(directory, 'old.kek');
  writeFileSync(keyFile, kek.toString('hex'), { mode: 0o600 });
  const seal = (key: Uint8Array, plaintext: Uint8Array, aad?: Uint8Array) => {
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    if (aad !== undefined) cipher.setAAD(aad);
    const made = Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
    return made.toString('base64');
  };
  const deks = Array.from({ length: 20 }, () => randomBytes(32));
  const lines = deks.map((dek, n) =>
    JSON.stringify({ key_id: `old_${n}`, wrapped: seal(kek, dek), thread_id: `thread-${n}` }),
  );
  const data = join(directory, 'data');
  const written = (text: readonly string[]) => {
    const file = join(directory, 'old.jsonl');
    writeFileSync(file, `${text.join('\n')}\n`);
    return file;
  };
  const run = (text: readonly string[], more = {}) => {
    const args = ['--in', written(text), '--old-kek-file', keyFile, '--data-dir', data, '--config', config];
    // Limits of callers, of which ten may come at once: the operator has more, and is no caller.
    const env = { KMS_CREATE_RATE_LIMIT: '1', KMS_RATE_LIMITS: 'create=5/m,decrypt=5/m', ...more };
    return intaglio(['dek', 'import', ...args], { env });
  };
  for (const [wrong, says] of [
    ['{"key_id":"x"}', /line 21: is not/],
    [
      JSON.stringify({ key_id: 'x', wrapped: seal(randomBytes(32), randomBytes(32)) }),
      /line 21: does not open/,
    ],
    [lines[3] as string, /line 21: the key_id stands there twice/],
    [JSON.stringify({ key_id: '../x', wrapped: seal(kek, randomBytes(32)) }), /line 21: the key_id is none/],
    [
      JSON.stringify({ key_id: 'x', wrapped: seal(kek, deks[0] as Buffer) }),
      /line 21: the key stands there twice/,
    ],
  ] as const) {
    const flags = { in: written([...lines, wrong]), oldKekFile: keyFile, dataDir: data, config };
    await assert.rejects(
      importDeks(flags, () => {}),
      (cause) => cause instanceof StartError && says.test(cause.message),
    );
  }
  const told = await run([...lines, '{"key_id":"x"}']);
  assert.equal(told.status, 1);
  assert.match(told.stderr, /line 21: is not/);
  assert.match((await run(lines, { KMS_BACKEND: 'memory' })).stderr, /keep nothing on disk/);
  const done = await run(lines);
  assert.deepEqual([done.status, done.stdout], [0, '20 imported, 0 were there\n'], done.stderr);
  assert.equal((await run(lines)).stdout, '0 imported, 20 were there\n');
  const another = lines.with(2, JSON.stringify({ key_id: 'old_2', wrapped: seal(kek, randomBytes(32)) }));
  assert.match((await run(another)).stderr, /old_2: there is another key of this id/);
  const kms = await startDekService(directory, config);
  const ciphertext = seal(deks[4] as Buffer, Buffer.from('of before'), Buffer.from('aad'));
  const opened = await kms.ask('/decrypt', { key_id: 'old_4', ciphertext, aad: b64('aad') });
  assert.equal(opened.body.plaintext, b64('of before'));
  assert.equal((await kms.ask('/decrypt', { key_id: 'old_5', ciphertext, aad: b64('aad') })).status, 400);
  assert.equal((await kms.ask('/deks', { key_id: 'k1' })).status, 403);
  assert.equal((await kms.ask('/rotate_kek', {})).status, 403);
  assert.equal((await kms.ask('/get_wrapped?key_id=k1')).status, 404);
  await kms.process.stop();
});

test('a configuration of serve-dek that is not exactly right refuses the start, without telling the key', (t) => {
  const directory = temporaryDirectory(t);
  const key = randomBytes(32).toString('hex');
  const cases: readonly (readonly [Record<string, unknown>, RegExp])[] = [
    [{ master_key_hex: key, surplus: 1 }, /surplus is unknown/],
    [{ master_key_hex: key.slice(2) }, /master_key_hex has to be 64 hexadecimal digits/],
    [{ master_key_hex: key, master_key_file: 'x' }, /exactly one of/],
    [{ master_key_hex: undefined }, /exactly one of/],
    [{ master_key_hex: '0'.repeat(64) }, /no random key/],
    [{ master_key_hex: Buffer.from([...Array(32).keys()]).toString('hex') }, /no random key/],
    [{ master_key_hex: Buffer.from([...Array(32).keys()].reverse()).toString('hex') }, /no random key/],
    [{ master_key_hex: key, allowed_uids: [{ uid: -1, roles: ['admin'] }] }, /allowed_uids.0.uid/],
    [{ master_key_hex: key, allowed_uids: [{ uid: 1, roles: ['root'] }] }, /allowed_uids.0.roles.0/],
    [{ master_key_hex: key, allowed_uids: [{ uid: 1, roles: [] }] }, /allowed_uids.0.roles/],
    [{ master_key_hex: key, allowed_uids: [1, 1].map((each) => ({ uid: each, roles: ['admin'] })) }, /twice/],
    [{ master_key_hex: key, allow_plain_kek: 'yes' }, /allow_plain_kek/],
    [{ master_key_file: 'missing.key' }, /there is no/],
  ];
  for (const [members, says] of cases) {
    const file = dekConfig(directory, 'c.yaml', { master_key_file: undefined, ...members });
    assert.throws(
      () => readDekConfig(file, rule),
      (cause: Error) =>
        cause instanceof StartError && says.test(cause.message) && !cause.message.includes(key),
      JSON.stringify(members),
    );
  }
  const open = dekConfig(directory, 'open.yaml');
  chmodSync(open, 0o644);
  assert.throws(() => readDekConfig(open, rule), /may be read/);
  const text = join(directory, 'text.yaml');
  const bomb = Array.from({ length: 9 }, (_, n) => `l${n + 1}: &l${n + 1} [*l${n}, *l${n}]`).join('\n');
  for (const [content, says] of [
    ['master_key_hex: [', /readable file that holds YAML/],
    [`master_key_hex: ${key}\nmaster_key_hex: ${key}`, /readable file that holds YAML/],
    [`k: &k ${key}\nmaster_key_hex: *k`, /readable file that holds YAML/],
    [`l0: &l0 [x]\n${bomb}\nmaster_key_hex: ${key}`, /readable file that holds YAML/],
    [`<<: {master_key_hex: ${key}}`, /<< is unknown/],
    [`master_key_hex: !!binary ${key}`, /readable file that holds YAML/],
    [`master_key_hex: ${key}\n---\nmaster_key_hex: ${key}`, /readable file that holds YAML/],
    [`master_key_hex: "\\x61${key.slice(1)}"`, /without escapes/],
    [`master_key_hex: ${key}\n${'#'.repeat(70_000)}`, /more than 65536 bytes/],
    ['', /holds one YAML mapping/],
  ] as const) {
    writeFileSync(text, content, { mode: 0o600 });
    assert.throws(
      () => readDekConfig(text, rule),
      (cause: Error) =>
        cause instanceof StartError && says.test(cause.message) && !cause.message.includes(key.slice(1)),
      content.slice(0, 80),
    );
  }
  for (const content of [
    `master_key_hex: ${key}\r\nallow_plain_kek: true\r\n`,
    `{"master_key_hex":"${key.toUpperCase()}"}`,
  ]) {
    writeFileSync(text, content, { mode: 0o600 });
    assert.equal(Buffer.from(readDekConfig(text, rule).masterKey).toString('hex'), key, content);
  }
  const pipe = join(directory, 'pipe.yaml');
  assert.equal(spawnSync('mkfifo', ['-m', '600', pipe]).status, 0);
  assert.throws(() => readDekConfig(pipe, rule), /is not a regular file/);
  const named = join(directory, key);
  writeFileSync(named, key, { mode: 0o600 });
  const byName = dekConfig(directory, 'named.yaml', { master_key_file: named });
  assert.equal(Buffer.from(readDekConfig(byName, rule).masterKey).toString('hex'), key);
  for (const content of [Buffer.from(key, 'hex'), key, `${key}\n`]) {
    writeFileSync(join(directory, 'm.key'), content, { mode: 0o600 });
    const file = dekConfig(directory, 'f.yaml', { master_key_file: 'm.key' });
    assert.equal(Buffer.from(readDekConfig(file, rule).masterKey).toString('hex'), key);
  }
});

test('every random key of 32 bytes is taken for a key', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
      const steps = new Set(bytes.slice(1).map((byte, index) => (byte - (bytes[index] as number)) & 0xff));
      const [only] = steps;
      const weak = steps.size === 1 && (only === 0 || only === 1 || only === 255);
      assert.equal(isWeakKey(bytes), weak);
    }),
  );
  for (let n = 0; n < 1_000; n++) assert.equal(isWeakKey(randomBytes(32)), false);
});
