import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import lock from '../../package-lock.json' with { type: 'json' };
import { type Component, lockedCrates, npmComponents } from '../../scripts/supply/components.js';
import { mayBeUsed } from '../../scripts/supply/licences.js';
import { fieldNames, fields } from '../../src/config/fields.ts';
import { buildVersion } from '../../src/observe/build-version.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const root = join(import.meta.dirname, '..', '..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const { components } = JSON.parse(read('docs/sbom/intaglio.cdx.json')) as { components: Component[] };
const of = (type: 'npm' | 'cargo') => components.filter(({ purl }) => purl.startsWith(`pkg:${type}/`));

test('the bill of materials names what the lock files pin, and nothing else', () => {
  const remedy = 'run npm run sbom';
  assert.deepEqual(of('npm'), npmComponents(lock as unknown as Parameters<typeof npmComponents>[0]), remedy);
  const pinned = lockedCrates(read('native/Cargo.lock')).map(
    ({ name, version, sha256 }) => `${name} ${version} ${sha256}`,
  );
  const named = of('cargo').map(({ name, version, hashes }) => `${name} ${version} ${hashes[0]?.content}`);
  assert.deepEqual(named.sort(), pinned.sort(), remedy);
  assert.ok(pinned.length > 20);
});

test('every part that is delivered has a licence that allows it', () => {
  for (const { purl, scope, licenses } of components) {
    const expression = licenses[0]?.expression ?? '';
    // What is only developed with goes to nobody; it must still say what it is.
    assert.ok(
      scope === 'excluded' ? expression !== 'NOASSERTION' : mayBeUsed(expression),
      `${purl}: ${expression}`,
    );
  }
});

test('an SPDX expression is met by all of its parts and by one of its alternatives', () => {
  const cases: [string, boolean][] = [
    ['MIT', true],
    ['GPL-3.0-only', false],
    ['(BSD-2-Clause OR GPL-2.0-only)', true],
    ['MIT AND GPL-2.0-only', false],
    ['GPL-2.0-only OR MIT AND ISC', true],
    ['(GPL-2.0-only OR MIT) AND LGPL-2.1-or-later', false],
    ['Apache-2.0 WITH LLVM-exception OR GPL-2.0-only', true],
    ['NOASSERTION', false],
    ['', false],
    ['MIT MIT', false],
  ];
  for (const [expression, allowed] of cases) assert.equal(mayBeUsed(expression), allowed, expression);
});

test('the version names the commit of a checkout, of a work tree, and of a package', (context) => {
  const commit = '0123456789abcdef0123456789abcdef01234567';
  const shown = '1.2.3+git.0123456789ab';
  const made = (files: Readonly<Record<string, string>>) => {
    const directory = temporaryDirectory(context);
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(directory, path, '..'), { recursive: true });
      writeFileSync(join(directory, path), text);
    }
    return directory;
  };
  const cases: [Record<string, string>, string][] = [
    [{}, '1.2.3'],
    [{ 'build.json': `{"commit":"${commit}"}\n` }, shown],
    [{ 'build.json': '{"commit":"unknown"}' }, '1.2.3'],
    [{ '.git/HEAD': `${commit}\n` }, shown],
    [{ '.git/HEAD': 'ref: refs/heads/main\n', '.git/refs/heads/main': `${commit}\n` }, shown],
    [
      { '.git/HEAD': 'ref: refs/heads/main\n', '.git/packed-refs': `# pack\n${commit} refs/heads/main\n` },
      shown,
    ],
    [{ '.git/HEAD': 'ref: refs/heads/gone\n' }, '1.2.3'],
    [
      {
        ...{ '.git': 'gitdir: elsewhere/worktrees/w\n', 'elsewhere/worktrees/w/commondir': '../..\n' },
        ...{ 'elsewhere/worktrees/w/HEAD': 'ref: refs/heads/w\n', 'elsewhere/refs/heads/w': `${commit}\n` },
      },
      shown,
    ],
  ];
  for (const [files, version] of cases) assert.equal(buildVersion('1.2.3', made(files)), version);
});

test('every test that the page on threats cites is there, and every setting', () => {
  const page = read('docs/threats.md');
  const cited = [...page.matchAll(/`(test\/[\w./-]+\.test\.ts)`: (.+?) \|$/gm)];
  assert.ok(cited.length > 35);
  for (const [, file = '', name = ''] of cited) {
    const text = read(file);
    assert.ok(
      [`'${name}'`, `"${name}"`, `\`${name}\``].some((quoted) => text.includes(quoted)),
      `${file}: ${name}`,
    );
  }
  const settings = new Set<string>(fieldNames.map((name) => fields[name].variable));
  for (const [setting] of page.matchAll(/KMS_[A-Z_]+/g)) assert.ok(settings.has(setting), setting);
});
