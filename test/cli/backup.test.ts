import assert from 'node:assert/strict';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { generateHybridIdentity, identityToRecipient } from 'age-encryption';
import { writeRootSources } from '../../src/custody/root-key/sources-file.ts';
import { done, make } from '../backup/backups.ts';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, temporaryDirectory } from '../support/service.ts';
import { intaglio } from './intaglio.ts';

function secretFile(text: string): string {
  const file = join(temporaryDirectory(), 'secret');
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

const backup = (...args: readonly string[]) => intaglio(['backup', ...args]);

test('backup create, verify and restore: with a passphrase, and to a post-quantum recipient', {
  timeout: 120_000,
}, async () => {
  const service = await startInProcess();
  const { dataDir } = service;
  const made = await call(service, service.token, 'POST', '/v1/kms/keys', {
    purpose: 'test',
    alg: 'ed25519',
  });
  assert.equal(await service.stop(), 0);
  const place = temporaryDirectory();
  const out = join(place, 'kms.age');
  const passphrase = secretFile('correct horse battery staple\n');
  const created = await backup(
    'create',
    '--out',
    out,
    '--passphrase-file',
    passphrase,
    '--data-dir',
    dataDir,
  );
  assert.equal(created.status, 0, created.stderr);
  assert.match(created.stdout, /kms\.age: \d+ bytes, backup [0-9a-f-]{36} of .*records in the store.*in it/);
  assert.equal(statSync(out).mode & 0o777, 0o600);
  assert.match(readFileSync(out, 'latin1').slice(0, 100), /^age-encryption\.org\/v1\n-> scrypt \S+ 18\n/);
  // With fewer rounds, which take four seconds each time.
  const quick = join(place, 'quick.age');
  const sealTo = { passphrase: 'correct horse battery staple', scryptLogN: 10 };
  done(await make(dataDir, quick, { sealTo }));
  const opens = ['--in', quick, '--passphrase-file', passphrase];
  const target = join(place, 'restored');
  const restored = await backup('restore', ...opens, '--data-dir', target);
  assert.equal(restored.status, 0, restored.stderr);
  assert.match(restored.stdout, /restored: backup/);
  const second = await startInProcess({ dataDir: target });
  const body = { kid: made.body.kid, payload_b3: helloWorldB3 };
  assert.equal((await call(second, second.token, 'POST', '/v1/kms/sign', body)).status, 200);
  assert.equal(await second.stop(), 0);

  const identity = await generateHybridIdentity();
  const quantum = join(place, 'pq.age');
  const to = ['--recipient', await identityToRecipient(identity)];
  const without = await backup(
    'create',
    '--out',
    quantum,
    ...to,
    '--data-dir',
    dataDir,
    '--without-root-key',
  );
  assert.equal(without.status, 0, without.stderr);
  assert.match(without.stdout, /root\.key NOT in it/);
  const identityFile = secretFile(`# made by a test\n${identity}\n`);
  const keyless = join(place, 'keyless');
  const openedBy = ['--in', quantum, '--identity', identityFile];
  const verified = await backup('verify', ...openedBy);
  assert.equal(verified.status, 0, verified.stderr);
  assert.match(verified.stdout, /root\.key NOT in it/);
  assert.equal((await backup('restore', ...openedBy, '--data-dir', keyless)).status, 0);
  assert.ok(!existsSync(join(keyless, 'root.key')) && existsSync(join(keyless, 'macaroon.key')));
  await assert.rejects(startInProcess({ dataDir: keyless }), /StartError: .*root\.key is missing/);
  writeFileSync(join(keyless, 'root.key'), readFileSync(join(dataDir, 'root.key')), { mode: 0o600 });
  const third = await startInProcess({ dataDir: keyless });
  assert.equal((await call(third, third.token, 'POST', '/v1/kms/sign', body)).status, 200);
  assert.equal(await third.stop(), 0);

  const again = await backup('create', '--out', quantum, ...to, '--data-dir', dataDir);
  assert.deepEqual([again.status, /--force replaces it/.test(again.stderr)], [1, true]);
  assert.equal((await backup('verify', '--in', quick, '--identity', identityFile)).status, 3);
  assert.equal((await backup('verify', '--in', passphrase, '--identity', identityFile)).status, 2);
});

test('an old backup over a newer directory has an exit status of its own', async () => {
  const service = await startInProcess();
  const { dataDir } = service;
  assert.equal(await service.stop(), 0);
  const identity = await generateHybridIdentity();
  const out = join(temporaryDirectory(), 'kms.age');
  const recipient = await identityToRecipient(identity);
  assert.equal(
    (await backup('create', '--out', out, '--recipient', recipient, '--data-dir', dataDir)).status,
    0,
  );
  assert.equal(await (await startInProcess({ dataDir })).stop(), 0);
  const from = [
    'restore',
    '--in',
    out,
    '--identity',
    secretFile(identity),
    '--data-dir',
    dataDir,
    '--replace',
  ];
  const refused = await backup(...from);
  assert.equal(refused.status, 4);
  assert.match(refused.stderr, /--accept-rollback <reason>/);
  const accepted = await backup(...from, '--accept-rollback', 'a drill');
  assert.equal(accepted.status, 0, accepted.stderr);
  assert.match(accepted.stdout, /what was there is in \.replaced-\d+/);
});

test('the secrets that open a root key source are not in the backup beside it', async () => {
  const service = await startInProcess();
  const { dataDir } = service;
  assert.equal(await service.stop(), 0);
  writeFileSync(join(dataDir, 'passphrase'), 'secret', { mode: 0o600 });
  const common = { createdAtMs: 1, generation: 1, root: '0123456789abcdef' };
  const age = '-----BEGIN AGE ENCRYPTED FILE-----';
  writeRootSources(dataDir, [
    { ...common, id: 'raw', kind: 'file', path: 'root.key' },
    { ...common, id: 'pass', kind: 'passphrase', age, passphrase: { from: 'file', path: 'passphrase' } },
    { ...common, id: 'handed', kind: 'descriptor', descriptor: 3 },
  ]);
  const identity = await generateHybridIdentity();
  const out = join(temporaryDirectory(), 'kms.age');
  const to = ['--recipient', await identityToRecipient(identity)];
  const created = await backup('create', '--out', out, ...to, '--data-dir', dataDir);
  assert.match(created.stdout, /root\.key in it, passphrase pass in it, descriptor handed NOT in it/);
  const target = join(temporaryDirectory(), 'restored');
  const opened = ['--in', out, '--identity', secretFile(identity)];
  assert.equal((await backup('restore', ...opened, '--data-dir', target)).status, 0);
  assert.deepEqual(
    readdirSync(target).sort(),
    [...readdirSync(dataDir).filter((name) => name !== 'passphrase'), 'offline-acts.json'].sort(),
  );
});

test('options that do not go together, and secrets that others can read, are refused', async () => {
  const { dataDir } = { dataDir: temporaryDirectory() };
  const out = join(temporaryDirectory(), 'kms.age');
  const refusal = async (...args: readonly string[]) => {
    const { status, stderr } = await backup(...args);
    assert.equal(status, 1);
    return stderr;
  };
  const create = ['create', '--out', out, '--data-dir', dataDir];
  assert.match(await refusal(...create), /give --passphrase-file, or one or more --recipient/);
  assert.match(await refusal(...create, '--passphrase-file', secretFile('short')), /at least 12 characters/);
  const open = secretFile('correct horse battery staple');
  chmodSync(open, 0o644);
  assert.match(await refusal(...create, '--passphrase-file', open), /read or written by others/);
  assert.match(await refusal('verify', '--in', out), /give --passphrase-file or --identity/);
  assert.match(
    await refusal('verify', '--in', out, '--identity', secretFile('# none\n')),
    /no identity of age/,
  );
  const old = ['restore', '--in', out, '--identity', secretFile('x'), '--accept-rollback', ''];
  assert.match(await refusal(...old), /a reason of 1 to 500 characters/);
  const memory = await intaglio(['backup', ...create, '--recipient', 'age1x'], {
    env: { KMS_BACKEND: 'memory', KMS_AUDIT: 'off' },
  });
  assert.match(memory.stderr, /keeps nothing on disk/);
});
