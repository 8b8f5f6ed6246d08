import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ListedSource, parseRootSources } from '../../../src/custody/root-key/listed-source.ts';
import {
  readRootSources,
  rootSourcesName,
  writeRootSources,
} from '../../../src/custody/root-key/sources-file.ts';

const common = { createdAtMs: 1, generation: 1, root: '0123456789abcdef' };
const age = '-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n';
const all: readonly ListedSource[] = [
  { ...common, id: 'file', kind: 'file', path: 'root.key' },
  { ...common, id: 'fd', kind: 'descriptor', descriptor: 3 },
  { ...common, id: 'credential', kind: 'credential', name: 'root-key' },
  { ...common, id: 'word', kind: 'passphrase', age, passphrase: { from: 'terminal' } },
  {
    ...common,
    ...{ id: 'officer', kind: 'recipients', age, recipients: ['age1qqqq'] },
    identity: { from: 'file', path: '/run/identity' },
  },
  {
    ...common,
    ...{ id: 'paper', kind: 'shares', threshold: 2, recipients: ['age1qq', 'age1pp'], directory: 'shares' },
  },
  {
    ...common,
    ...{ id: 'token', kind: 'pkcs11', module: '/usr/lib/token.so', token: { label: 'one' } },
    ...{ pin: { from: 'credential', name: 'pin' }, key: { idHex: '01ff' } },
    ...{ mechanism: 'aes-gcm', wrapped: 'AAAA' },
  },
];

function directory(t: { after(fn: () => void): void }): string {
  const made = mkdtempSync(join(tmpdir(), 'root-sources-'));
  t.after(() => rmSync(made, { recursive: true }));
  return made;
}

test('a list of every kind comes back as it was written, and only its owner reads it', (t) => {
  const dataDir = directory(t);
  assert.deepEqual(readRootSources(dataDir), { ok: true, value: undefined });
  writeRootSources(dataDir, all);
  const read = readRootSources(dataDir);
  assert.deepEqual(read, { ok: true, value: { v: 1, sources: all } });
  assert.equal(statSync(join(dataDir, rootSourcesName)).mode & 0o777, 0o600);
});

test('every member is checked, an unknown one refused, and the message names the member and no value', () => {
  const changes: readonly (readonly [object, RegExp])[] = [
    [{ secret: 'XYZZY' }, /\/sources\/0\/secret/],
    [{ id: 'UPPER' }, /\/sources\/0\/id/],
    [{ generation: 0 }, /\/sources\/0\/generation/],
    [{ root: 'XYZZY' }, /\/sources\/0\/root/],
    [{ kind: 'XYZZY' }, /\/sources\/0 is of an unknown kind/],
    [{ path: '' }, /\/sources\/0\/path/],
    [{ path: 'x'.repeat(5_000) }, /\/sources\/0\/path/],
  ];
  for (const [change, expected] of changes) {
    const problem = parse({ v: 1, sources: [{ ...all[0], ...change }] });
    assert.match(String(problem), expected);
    assert.doesNotMatch(String(problem), /XYZZY/);
  }
  for (const [index, one] of all.entries()) {
    for (const member of Object.keys(one)) {
      if (member === 'identity') continue;
      const without = Object.fromEntries(Object.entries(one).filter(([name]) => name !== member));
      const sources = all.map((other, at) => (at === index ? without : other));
      assert.equal(typeof parse({ v: 1, sources }), 'string', `${one.kind} without ${member}`);
    }
  }
});

test('what is no list is refused: another version, none or too many sources, two of one id, more shares than officers', () => {
  for (const found of [
    null,
    7,
    [],
    {},
    { v: 2, sources: all },
    { v: 1, sources: [] },
    { v: 1, sources: all, x: 1 },
  ])
    assert.equal(typeof parse(found), 'string', JSON.stringify(found).slice(0, 40));
  const many = Array.from({ length: 17 }, (_, index) => ({ ...all[0], id: `s${index}` }));
  assert.equal(typeof parse({ v: 1, sources: many }), 'string');
  assert.match(String(parse({ v: 1, sources: [all[0], all[0]] })), /two sources of one id/);
  assert.match(String(parse({ v: 1, sources: [{ ...all[5], threshold: 3 }] })), /more shares than there are/);
  assert.equal(parseRootSources(Buffer.from('{')), 'is not JSON');
  assert.match(String(parseRootSources(Buffer.alloc(2 ** 20 + 1))), /more than/);
});

test('a link, a directory and a file that is too long are not read', (t) => {
  const dataDir = directory(t);
  symlinkSync('/etc/passwd', join(dataDir, rootSourcesName));
  assert.match(hintOf(readRootSources(dataDir)), /cannot be read \(ELOOP\)/);
  rmSync(join(dataDir, rootSourcesName));
  writeFileSync(join(dataDir, rootSourcesName), Buffer.alloc(2 ** 20 + 1));
  assert.match(hintOf(readRootSources(dataDir)), /more than/);
});

test('a list that the next start would refuse is not written', (t) => {
  assert.throws(() => writeRootSources(directory(t), []), /not a list/);
});

function parse(value: unknown) {
  return parseRootSources(Buffer.from(JSON.stringify(value)));
}

function hintOf(result: ReturnType<typeof readRootSources>): string {
  assert.ok(!result.ok);
  return String(result.failure.hint);
}
