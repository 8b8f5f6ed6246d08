import assert from 'node:assert/strict';
import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { inWordsOfConfig } from '../../../src/cli/dek/advice.ts';
import { dekCommand } from '../../../src/cli/dek/commands.ts';
import { readDekConfig, secretKeyIn } from '../../../src/cli/dek/config-file.ts';
import { serveDekCommand } from '../../../src/cli/dek/serve-dek.ts';
import { StartError } from '../../../src/core/start-error.ts';
import { RootKeyError } from '../../../src/custody/root-key/source.ts';
import { dekConfig, startDekService } from '../../support/serve-dek.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';
import { intaglio } from '../intaglio.ts';

// Mistakes of those who set it up for the first time: each message is one line that says what to do.

const rule = { groupAllowed: false };
const key = 'c0ffee'.padEnd(64, '123');

test('a configuration that is wrong says what has to stand at the place that it names', (t) => {
  const directory = temporaryDirectory(t);
  const cases: readonly (readonly [Record<string, unknown>, string])[] = [
    [{ master_key_hex: key.slice(2) }, 'master_key_hex has to be 64 hexadecimal digits in quotes'],
    [{ master_key_hex: '<64-hex-bytes>' }, 'openssl rand -hex 32'],
    [{ master_key: key }, 'master_key is unknown: members are master_key_hex, master_key_file, allowed_uids'],
    [{ master_key_hex: key, allowed_uids: [1000] }, 'allowed_uids.0 has to be a user: {uid, roles}'],
    [{ master_key_hex: key, allowed_uids: 1000 }, 'allowed_uids has to be a list'],
    [
      { master_key_hex: key, allowed_uids: [{ uid: 'postgres', roles: ['encrypt'] }] },
      'allowed_uids.0.uid has to be the number of a user: id -u NAME',
    ],
    [
      { master_key_hex: key, allowed_uids: [{ uid: 1, roles: ['read'] }] },
      'allowed_uids.0.roles.0 has to be a list of encrypt, decrypt and admin',
    ],
    [
      { master_key_hex: key, allowed_uids: [{ uid: 1, role: 'admin', roles: ['admin'] }] },
      'allowed_uids.0.role is unknown: a user is {uid, roles}',
    ],
    [{ master_key_hex: key, allow_plain_kek: 'yes' }, 'allow_plain_kek has to be true or false'],
  ];
  for (const [members, says] of cases) {
    const file = dekConfig(directory, 'c.yaml', { master_key_file: undefined, ...members });
    assert.throws(
      () => readDekConfig(file, rule),
      ({ message }: Error) => message.includes(says) && !message.includes('\n') && !message.includes(key),
      says,
    );
  }
  assert.throws(() => readDekConfig(join(directory, 'no.yaml'), rule), /no\.yaml: there is no such file/);
});

test('a key file that others may read is told so, and not that its length is wrong', (t) => {
  const file = join(temporaryDirectory(t), 'm.key');
  for (const content of [Buffer.from(key, 'hex'), key, `${key}\n`]) {
    writeFileSync(file, content);
    chmodSync(file, 0o644);
    assert.throws(() => secretKeyIn(file, rule), /may be read or written by others/);
  }
  chmodSync(file, 0o600);
  for (const content of [`${key} `, `${key}\n\n`, key.slice(1), `${key.slice(1)}x`, '']) {
    writeFileSync(file, content);
    assert.throws(() => secretKeyIn(file, rule), /must hold 32 bytes, or 64 hexadecimal digits and no more/);
  }
});

test('another master key, or none, is told in the words of --config; what has nothing to do with it stays as it is', (t) => {
  const dataDir = temporaryDirectory(t);
  const [another, missing] = [new RootKeyError('another', 'm'), new RootKeyError('missing', 'm')];
  const config = 'dek.yaml';
  assert.match(inWordsOfConfig(missing, { dataDir }), /^m; a directory that was made with --config opens/);
  assert.match(inWordsOfConfig(another, { dataDir, config }), /^m: dek\.yaml has another master key than/);
  assert.equal(inWordsOfConfig(another, { dataDir }), 'm');
  assert.equal(inWordsOfConfig(new StartError('in use'), { dataDir }), 'in use');
  writeFileSync(join(dataDir, 'root-sources.json'), '{}');
  assert.equal(inWordsOfConfig(missing, { dataDir }), 'm');
  assert.match(
    inWordsOfConfig(another, { dataDir, config }),
    /was made without --config, so start it without/,
  );
});

test('commands of dek and serve-dek: a mistake is one line, and makes no directory', async (t) => {
  const directory = temporaryDirectory(t);
  const at = (name: string) => join(directory, name);
  const config = dekConfig(directory, 'dek.yaml');
  writeFileSync(at('old.kek'), key, { mode: 0o600 });
  writeFileSync(at('data'), '');
  await assert.rejects(startDekService(directory, config), /data directory .*data is no directory/);
  const everybody = startDekService(temporaryDirectory(t), config, {}, undefined, ['--socket-mode', '0666']);
  await assert.rejects(everybody, /lets every user of this machine do everything: name those who may/);
  const serve = ['serve-dek', '--data-dir', at('typo'), '--config', config];
  const dek = (command: string, ...more: string[]) => ['dek', command, ...more, '--config', config];
  for (const [args, says] of [
    [[...serve, '--socket', `unix:${at('dek.sock')}`], /--socket: the path alone, without unix: before it/],
    [dek('restore', '--key-id', 'k', '--data-dir', at('typo')), /there is no store in .*typo/],
    [
      dek('import', '--in', at('no.jsonl'), '--old-kek-file', at('old.kek'), '--data-dir', at('typo')),
      /there is no file .*no\.jsonl/,
    ],
  ] as const) {
    const { status, stderr } = await intaglio(args);
    assert.equal(status, 1, stderr);
    assert.match(stderr, says);
    assert.match(stderr, /^intaglio: .*\n$/);
  }
  assert.equal(existsSync(at('typo')), false);
});

test('the help of each command that takes options has an example', () => {
  for (const command of [serveDekCommand(), ...dekCommand().commands]) {
    let shown = '';
    command.configureOutput({ writeOut: (text) => (shown += text) }).outputHelp();
    assert.match(shown, /Examples?:\n {2}\S/, command.name());
  }
});
