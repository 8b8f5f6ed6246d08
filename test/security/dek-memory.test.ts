import assert from 'node:assert/strict';
import { createCipheriv, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { intaglio } from '../cli/intaglio.ts';
import { dekConfig, startDekService } from '../support/serve-dek.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { dumpableMemory } from './memory.ts';
import { createFinder, pieces } from './secrets.ts';

const addon = join(import.meta.dirname, '..', '..', 'native', 'build', 'intaglio_native.node');
const isNative = existsSync(addon) && process.env.KMS_ENGINE !== 'openssl';

test('native: a core of serve-dek has no master key, no KEK and no DEK, and no log has one, after use and rotations', {
  skip: isNative ? false : 'the native engine is not among those under test',
}, async (t) => {
  const directory = temporaryDirectory(t);
  const data = join(directory, 'data');
  const [master, dek, kek] = [randomBytes(32), randomBytes(32), randomBytes(32)];
  const config = dekConfig(directory, 'dek.yaml', { master_key_hex: master.toString('hex') });
  // A DEK that this test knows: brought by a process of its own, as it is done.
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', kek, nonce);
  const wrapped = Buffer.concat([nonce, cipher.update(dek), cipher.final(), cipher.getAuthTag()]);
  const [lines, keyFile] = [join(directory, 'old.jsonl'), join(directory, 'old.kek')];
  writeFileSync(lines, JSON.stringify({ key_id: 'known', wrapped: wrapped.toString('base64') }));
  writeFileSync(keyFile, kek, { mode: 0o600 });
  const from = ['dek', 'import', '--in', lines, '--old-kek-file', keyFile];
  const imported = await intaglio([...from, '--data-dir', data, '--config', config]);
  assert.equal(imported.status, 0, imported.stderr);

  const env = { KMS_ALLOW_CORE_DUMPS: 'true', KMS_ENGINE: 'native', KMS_LOG_LEVEL: 'trace' };
  const kms = await startDekService(directory, config, env);
  const control = `control-${randomBytes(16).toString('hex')}`;
  const plaintext = randomBytes(48).toString('base64');
  await kms.ask('/deks', { key_id: control });
  for (let turn = 0; turn < 2; turn++) {
    const { ciphertext } = (await kms.ask('/encrypt', { key_id: 'known', plaintext })).body;
    assert.equal((await kms.ask('/decrypt', { key_id: 'known', ciphertext })).body.plaintext, plaintext);
    const { wrapped: mine } = (await kms.ask('/wrap', { plaintext })).body;
    assert.equal((await kms.ask('/unwrap', { wrapped: mine })).body.plaintext, plaintext);
    assert.equal((await kms.ask('/rotate_kek', {})).status, 200);
  }
  const secrets = { 'master key': master, DEK: dek, 'old KEK': kek };
  const find = createFinder([
    ...Object.entries(secrets).flatMap(([what, bytes]) => [
      ...pieces(what, bytes),
      ...pieces(`${what} in hex`, Buffer.from(bytes.toString('hex'))),
      ...pieces(`${what} in base64`, Buffer.from(bytes.toString('base64').slice(0, 40))),
    ]),
    ...pieces('key id', Buffer.from(control)),
  ]);
  const found = new Set<string>();
  for (const part of dumpableMemory(kms.process.pid)) for (const what of find(part)) found.add(what);
  // The search is not blind: what is public is there.
  assert.deepEqual([...found], ['key id']);
  await kms.process.stop();
  const said = [...kms.process.log, kms.process.errors(), readFileSync(join(data, 'kms-audit.log'))].join(
    '\n',
  );
  assert.ok(said.includes(control));
  for (const secret of [...Object.values(secrets), Buffer.from(plaintext, 'base64')])
    for (const form of ['hex', 'base64'] as const)
      assert.ok(!said.includes(secret.toString(form)), 'a log has a secret');
});
