import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { generateHybridIdentity, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { attributes as a, mechanisms as m } from '../../src/custody/pkcs11/numbers.ts';
import { decryptByPassphrase, encryptForPassphrase } from '../../src/custody/root-key/age.ts';
import { readRootSources, writeRootSources } from '../../src/custody/root-key/sources-file.ts';
import { ageAtTerminal, noAge } from '../support/age-command.ts';
import { compileCache } from '../support/compile-cache.ts';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, temporaryDirectory } from '../support/service.ts';
import { createSoftHsm, noSoftHsm, openSession } from '../support/softhsm.ts';
import { intaglio } from './intaglio.ts';

// The pages of the native engine are the process's, and commands run in it too.
const env = { KMS_KEY_CACHE_BYTES: String(4 * 2 ** 20) };

const root = (...args: readonly string[]) => intaglio(['root', ...args]);

async function good(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await root(...args);
  assert.equal(status, 0, stderr);
  return stdout;
}

async function refused(says: RegExp, ...args: readonly string[]): Promise<void> {
  const { status, stderr } = await root(...args);
  assert.equal(status, 1, stderr);
  assert.match(stderr, says);
}

function secretIn(directory: string, name: string, text: string): string {
  const file = join(directory, name);
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

async function officers(directory: string, count: number) {
  const identities: string[] = [];
  const recipients: string[] = [];
  for (let n = 1; n <= count; n++) {
    // One of them is ahead of the others.
    const identity = await (n === 1 ? generateHybridIdentity() : generateX25519Identity());
    identities.push(secretIn(directory, `officer-${n}.txt`, `${identity}\n`));
    recipients.push('--recipient', await identityToRecipient(identity));
  }
  return { identities, recipients };
}

/** The command age (1.1.1 knows no post-quantum keys); undefined where it is not installed. */
async function byAge(file: string, identity = ''): Promise<Uint8Array | undefined> {
  try {
    return (await promisify(execFile)('age', ['-d', '-i', identity, file], { encoding: 'buffer' })).stdout;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  }
}

/** A service over this directory makes a key, or signs with one. */
async function sign(dataDir: string, kid?: string): Promise<string> {
  const service = await startInProcess({ dataDir, env });
  try {
    const made =
      kid ??
      (await call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' })).body
        .kid;
    const body = { kid: made, payload_b3: helloWorldB3 };
    const { status } = await call(service, service.token, 'POST', '/v1/kms/sign', body);
    assert.equal(status, 200);
    return made;
  } finally {
    await service.stop();
  }
}

test('a root key for one identity, split among officers, brought back by two of them, rotated, and kept by the file', {
  timeout: 240_000,
}, async () => {
  const place = temporaryDirectory();
  const dataDir = join(place, 'data');
  const at = ['--data-dir', dataDir];
  const { identities: own, recipients: ours } = await officers(place, 1);
  const identity = ['--identity-file', own[0] as string];
  assert.match(
    await good('init', ...at, '--kind', 'recipients', ...ours, ...identity),
    /source recipients: opened as a start does it/,
  );
  await refused(
    /has a root key already/,
    'init',
    ...at,
    '--kind',
    'file',
    '--file',
    join(place, 'other.key'),
  );
  assert.equal(statSync(join(dataDir, 'root-sources.json')).mode & 0o777, 0o600);
  const kid = await sign(dataDir);

  const hall = join(place, 'officers');
  mkdirSync(hall);
  const { identities, recipients } = await officers(hall, 3);
  const shares = join(place, 'shares');
  const proofs = identities.slice(0, 2).flatMap((file) => ['--prove-with', file]);
  const split = ['--threshold', '2', ...recipients, '--out', shares];
  assert.match(await good('split', ...at, ...split, ...proofs), /joined from 2 shares/);
  assert.deepEqual(readdirSync(shares).sort(), ['share-1.age', 'share-2.age', 'share-3.age']);
  const by = (...numbers: readonly number[]) =>
    numbers.flatMap((n) => ['--identity', identities[n - 1] as string]);
  assert.match(await good('join', ...at, ...by(2, 3), '--check'), /give the root key of this store/);
  await refused(/./, 'join', ...at, ...by(2), '--check');
  // Officers may decrypt with age itself and bring what it gives.
  const decrypted = await Promise.all(
    [2, 3].map((n) => byAge(join(shares, `share-${n}.age`), identities[n - 1])),
  );
  if (decrypted.every((share) => share !== undefined)) {
    const files = decrypted.flatMap((share, n) => {
      const file = join(place, `share-${n}.bin`);
      writeFileSync(file, share, { mode: 0o600 });
      return ['--share', file];
    });
    assert.match(await good('join', ...at, ...files, '--check'), /give the root key of this store/);
  }

  // The identity is lost; two officers make a new source.
  rmSync(own[0] as string);
  const raw = join(place, 'raw.key');
  await good('join', ...at, ...by(1, 3), '--kind', 'file', '--file', raw, '--id', 'again');
  const listed = await good('source', 'list', ...at);
  assert.match(listed, /^recipients recipients .*\nshares shares .*\nagain file .*/m);
  const status = await root('status', ...at);
  assert.equal(status.status, 2);
  assert.match(status.stdout, /again \(file, .*\): opens/);
  assert.match(status.stdout, /recipients .*DOES NOT OPEN/);
  assert.equal(await sign(dataDir, kid), kid);

  await refused(/there is no source nothing/, 'source', 'remove', ...at, 'nothing');
  await good('source', 'remove', ...at, 'recipients');
  await refused(/without again no source opens here/, 'source', 'remove', ...at, 'again');
  const before = readFileSync(raw);
  assert.match(await good('rotate', ...at), /generation 2\) in the place of/);
  assert.notDeepEqual(readFileSync(raw), before);
  assert.deepEqual(readFileSync(`${raw}.retired-1`), before);
  // The officers of before have shares of the new key, and those of before are of the old one.
  assert.match(await good('join', ...at, ...by(1, 2), '--check'), /give the root key of this store/);
  assert.equal(await sign(dataDir, kid), kid);

  // Nothing of the key, in any form, is in the list.
  const list = readFileSync(join(dataDir, 'root-sources.json'), 'latin1');
  for (const secret of [before, readFileSync(raw)])
    for (const form of ['hex', 'base64', 'latin1'] as const) assert.ok(!list.includes(secret.toString(form)));
  writeFileSync(join(dataDir, 'root-sources.json'), list.replace('"kind": "file"', '"kind": "fil"'));
  await refused(/root-sources\.json|sources/, 'status', ...at);
});

test('a passphrase opens the root key, and no other does', { timeout: 120_000 }, async (t) => {
  const place = temporaryDirectory();
  const dataDir = join(place, 'data');
  const passphrase = 'correct horse battery staple';
  const file = secretIn(place, 'passphrase', `${passphrase}\n`);
  const begin = ['init', '--data-dir', dataDir, '--kind', 'passphrase', '--passphrase-file', file];
  assert.match(await good(...begin), /opened as a start does it/);
  const read = readRootSources(dataDir);
  assert.ok(read.ok && read.value !== undefined);
  const [source] = read.value.sources;
  assert.ok(source?.kind === 'passphrase');
  const keptIn = (age: string) => writeRootSources(dataDir, [{ ...source, age }]);
  const secret = await decryptByPassphrase(source.age, Buffer.from(passphrase));
  assert.ok(secret !== undefined);

  await t.test(
    "Debian's age opens what root init sealed, and a service what age sealed",
    {
      skip: noAge,
    },
    async () => {
      const [sealed, opened, other] = ['sealed.age', 'opened', 'other.age'].map((name) =>
        join(place, name),
      ) as [string, string, string];
      writeFileSync(sealed, source.age);
      assert.equal(await ageAtTerminal(['-d', '-o', opened, sealed], passphrase), 0);
      assert.deepEqual(readFileSync(opened), Buffer.from(secret));
      assert.equal(await ageAtTerminal(['-p', '-a', '-o', other, opened], passphrase), 0);
      assert.notEqual(readFileSync(other, 'latin1'), source.age);
      keptIn(readFileSync(other, 'latin1'));
      await sign(dataDir);
    },
  );

  // With fewer rounds of scrypt, which take two seconds each time.
  keptIn(await encryptForPassphrase(secret, Buffer.from(passphrase), 10));
  await sign(dataDir);
  writeFileSync(file, 'another\n');
  await assert.rejects(startInProcess({ dataDir, env }), /passphrase/);
});

test('what cannot be is said in one line, and nothing is left behind', async () => {
  const place = temporaryDirectory();
  const at = ['--data-dir', join(place, 'data')];
  const wide = join(place, 'wide');
  writeFileSync(wide, 'secret', { mode: 0o644 });
  await refused(/./, 'status', ...at);
  await refused(/./, 'rotate', ...at);
  await refused(/wide/, 'init', ...at, '--kind', 'passphrase', '--passphrase-file', wide);
  await refused(/./, 'init', ...at, '--kind', 'recipients', '--recipient', 'age1nonsense');
  await refused(
    /./,
    'split',
    ...at,
    '--threshold',
    '2',
    '--recipient',
    'age1x',
    '--out',
    join(place, 'shares'),
  );
  assert.equal(existsSync(join(place, 'shares')), false);
  assert.equal(existsSync(join(place, 'data', 'root-sources.json')), false);
  const { status, stderr } = await root('init', ...at, '--kind', 'paper');
  assert.equal(status, 1);
  assert.match(stderr, /kind/);
});

test('a service that runs holds the directory, and rotates its root key when the operator asks', async () => {
  const service = await startInProcess({ listen: true, env, tuning: { rootOverlapMs: 50 } });
  const { dataDir, url } = service;
  const token = secretIn(temporaryDirectory(), 'token', service.token);
  try {
    const before = readFileSync(join(dataDir, 'root.key'));
    const rotated = await root('rotate', '--token-file', token, '--url', url);
    assert.equal(rotated.status, 0, rotated.stderr);
    assert.notDeepEqual(readFileSync(join(dataDir, 'root.key')), before);
    const shown = JSON.parse(await good('status', '--token-file', token, '--url', url));
    assert.equal(shown.generation, 2);
    await refused(/in use/, 'rotate', '--data-dir', dataDir);
  } finally {
    await service.stop();
  }
});

test('a key in a token opens the root key, and shares on paper do when the token is lost', {
  skip: noSoftHsm,
  timeout: 240_000,
}, async (t) => {
  const softHsm = createSoftHsm();
  t.after(() => softHsm.remove());
  const token = softHsm.makeToken('vault');
  const { module } = softHsm.settings(token);
  const { cryptoki, session, close } = await openSession('vault');
  const flags = [a.token, a.private, a.sensitive, a.encrypt, a.decrypt].map((type) => ({
    type,
    value: true,
  }));
  await cryptoki.C_GenerateKeyAsync(session, { mechanism: m.aesKeyGen, parameter: null }, [
    ...flags,
    { type: a.extractable, value: false },
    { type: a.valueLen, value: 32 },
    { type: a.label, value: 'wrapper' },
  ]);
  close();
  const place = temporaryDirectory();
  const dataDir = join(place, 'data');
  // A module is a process's own, so that these commands are processes.
  const program = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
  const command = async (...args: readonly string[]) => {
    const around = { PATH: process.env.PATH, SOFTHSM2_CONF: softHsm.configuration, ...compileCache };
    const all = [program, 'root', ...args, '--data-dir', dataDir];
    return (await promisify(execFile)(process.execPath, all, { env: around })).stdout;
  };
  const inToken = ['--kind', 'pkcs11', '--module', module, '--token', 'vault', '--pin-file', token.pinFile];
  await command('init', ...inToken, '--key-label', 'wrapper');
  const kid = await sign(dataDir);
  const { identities, recipients } = await officers(place, 2);
  const split = ['--threshold', '2', ...recipients, '--out', join(place, 'shares')];
  await command('split', ...split, ...identities.flatMap((file) => ['--prove-with', file]));
  assert.match(await command('rotate'), /generation 2\)/);
  assert.equal(await sign(dataDir, kid), kid);

  rmSync(softHsm.tokens, { recursive: true });
  mkdirSync(softHsm.tokens);
  await assert.rejects(startInProcess({ dataDir, env }), /vault|token/);
  const shares = identities.flatMap((file) => ['--identity', file]);
  await command('join', ...shares, '--kind', 'file', '--file', join(place, 'raw.key'));
  assert.equal(await sign(dataDir, kid), kid);
});

test('of a restore that was cut off nothing is read: neither the service nor the commands of the root key', async () => {
  const dataDir = temporaryDirectory();
  mkdirSync(join(dataDir, '.restoring'), { mode: 0o700 });
  // As it may be half-way: without a store, and not yet with its mode.
  writeFileSync(join(dataDir, 'root.key'), 'half', { mode: 0o644 });
  await assert.rejects(startInProcess({ dataDir }), /a restore of .* was interrupted/);
  for (const command of ['status', 'rotate', 'init'])
    await refused(/a restore of .* was interrupted/, command, '--data-dir', dataDir);
});
