import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { createMacaroonAuthenticator } from '../../src/auth/macaroon/authenticator.ts';
import { openCapabilityKeys, readMacaroonKey } from '../../src/auth/macaroon/root-key.ts';
import type { RootKeys } from '../../src/auth/macaroon/root-keys.ts';
import { scopes } from '../../src/core/scope.ts';
import { bearing } from '../support/credentials.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const secretRule = { groupAllowed: false };
const probe = (keys: RootKeys) => keys.get(0)?.mac(Buffer.of(1));

test('a first start makes the key and the administrator capability, for the owner alone', (context) => {
  const dataDir = join(temporaryDirectory(context), 'new', 'data');
  const made = openCapabilityKeys({ dataDir, amnesia: false, secretRule });
  assert.ok(made.ok && made.bootstrap !== undefined);
  assert.deepEqual(readdirSync(dataDir).sort(), ['bootstrap.token', 'macaroon.key']);
  for (const name of readdirSync(dataDir)) assert.equal(statSync(join(dataDir, name)).mode & 0o777, 0o600);
  assert.equal(statSync(dataDir).mode & 0o777, 0o700);
  assert.equal(readFileSync(made.bootstrap.path ?? '', 'utf8'), `${made.bootstrap.token}\n`);

  const authenticator = createMacaroonAuthenticator({ rootKey: made.rootKeys, timeSkewToleranceMs: 0 });
  const caller = authenticator.authenticate(bearing(made.bootstrap.token), { utcMs: 0 });
  assert.ok(caller.ok);
  assert.equal(caller.value.tenant, 'default');
  assert.deepEqual([...caller.value.scopes], [...scopes]);
});

test('a later start reads the same key, and does not bring back a capability that was removed', (context) => {
  const dataDir = temporaryDirectory(context);
  const first = openCapabilityKeys({ dataDir, amnesia: false, secretRule });
  rmSync(join(dataDir, 'bootstrap.token'));
  const second = openCapabilityKeys({ dataDir, amnesia: false, secretRule });
  assert.ok(first.ok && second.ok);
  assert.deepEqual(probe(second.rootKeys), probe(first.rootKeys));
  assert.equal(second.bootstrap, undefined);
  assert.equal(existsSync(join(dataDir, 'bootstrap.token')), false);
});

test('a start that was cut off before the key was made begins again', (context) => {
  const dataDir = temporaryDirectory(context);
  writeFileSync(join(dataDir, 'bootstrap.token'), 'left over\n', { mode: 0o644 });
  const made = openCapabilityKeys({ dataDir, amnesia: false, secretRule });
  assert.ok(made.ok && made.bootstrap !== undefined);
  assert.equal(readFileSync(join(dataDir, 'bootstrap.token'), 'utf8'), `${made.bootstrap.token}\n`);
  assert.equal(statSync(join(dataDir, 'bootstrap.token')).mode & 0o777, 0o600);
});

test('amnesia mode makes a new key at every start and does not touch the disk', (context) => {
  const directory = temporaryDirectory(context);
  const dataDir = join(directory, 'data');
  const first = openCapabilityKeys({ dataDir, amnesia: true, secretRule });
  const second = openCapabilityKeys({ dataDir, amnesia: true, secretRule });
  assert.ok(first.ok && second.ok);
  assert.notDeepEqual(probe(first.rootKeys), probe(second.rootKeys));
  assert.ok(first.bootstrap !== undefined && first.bootstrap.path === undefined);
  assert.deepEqual(readdirSync(directory), []);
});

test('a key file that is not trustworthy is refused and left as it is', (context) => {
  const dataDir = temporaryDirectory(context);
  const key = join(dataDir, 'macaroon.key');
  const refused = (pattern: RegExp) => {
    const opened = openCapabilityKeys({ dataDir, amnesia: false, secretRule });
    assert.ok(!opened.ok);
    assert.match(opened.problem, pattern);
  };

  writeFileSync(key, Buffer.alloc(31), { mode: 0o600 });
  refused(/exactly 32 bytes/);
  writeFileSync(key, Buffer.alloc(33));
  refused(/exactly 32 bytes/);
  writeFileSync(key, Buffer.alloc(32));
  assert.ok(readMacaroonKey(dataDir, secretRule).ok);
  for (const mode of [0o640, 0o604, 0o620, 0o601]) {
    chmodSync(key, mode);
    refused(/chmod 600/);
  }
  chmodSync(key, 0o600);
  renameSync(key, join(dataDir, 'elsewhere'));
  symlinkSync(join(dataDir, 'nowhere'), key);
  refused(/symbolic link to a file that is missing/);
  rmSync(key);
  mkdirSync(key);
  refused(/not a regular file/);
  assert.deepEqual(readdirSync(dataDir).sort(), ['elsewhere', 'macaroon.key']);
});

test('reading does not make a key', (context) => {
  const dataDir = temporaryDirectory(context);
  const read = readMacaroonKey(dataDir, secretRule);
  assert.ok(!read.ok && read.missing);
  assert.deepEqual(readdirSync(dataDir), []);
});

test('a data directory that cannot be made is a problem to tell, not a throw', (context) => {
  const file = join(temporaryDirectory(context), 'file');
  writeFileSync(file, '');
  const opened = openCapabilityKeys({ dataDir: join(file, 'data'), amnesia: false, secretRule });
  assert.ok(!opened.ok);
});
