import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { descriptorRootKey } from '../../src/custody/root-key/descriptor.ts';
import { fileRootKey } from '../../src/custody/root-key/file.ts';
import { memoryRootKey } from '../../src/custody/root-key/memory.ts';
import { openRootKeyForStore } from '../../src/custody/root-key/open-for-store.ts';
import type { RootKeySource } from '../../src/custody/root-key/source.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { availableEngines } from '../support/engines.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const rule = { groupAllowed: false };

for (const { name, create } of availableEngines()) {
  const engine = create();

  test(`${name}: a root key file is made once, and whatever gives the same bytes opens the same store`, async (t) => {
    const path = join(temporaryDirectory(t), 'root.key');
    const store = new MemoryStore();
    const open = (source: RootKeySource) => openRootKeyForStore(engine, store, source);
    assert.equal((await open(fileRootKey(path, rule))).made, true);
    assert.equal((await open(fileRootKey(path, rule))).made, false);

    const descriptor = openSync(path, 'r');
    assert.equal((await open(descriptorRootKey(descriptor, rule))).made, false);
    assert.throws(() => fstatSync(descriptor), { code: 'EBADF' });
    await open(fillingFrom(path));

    await assert.rejects(open(memoryRootKey), /not the one that the keys in the store are sealed under/);
    writeFileSync(path, Buffer.alloc(32, 5));
    await assert.rejects(open(fileRootKey(path, rule)), /not the one that the keys/);
    rmSync(path);
    await assert.rejects(
      open(fileRootKey(path, rule)),
      new RegExp(`^StartError: ${path} is missing, and the keys in the store are sealed under it`),
    );
    assert.equal(existsSync(path), false);
  });

  test(`${name}: a credential of systemd is a root key file, and none is made beside it`, async (t) => {
    const directory = join(temporaryDirectory(t), 'credentials');
    mkdirSync(directory);
    writeFileSync(join(directory, 'root.key'), Buffer.alloc(32, 7), { mode: 0o400 });
    chmodSync(directory, 0o500);
    const source = fileRootKey(join(directory, 'root.key'), rule);
    assert.equal((await openRootKeyForStore(engine, new MemoryStore(), source)).made, false);
    chmodSync(directory, 0o700);
  });

  test(`${name}: a source that cannot make a key, or throws, stops the start with its own words`, async (t) => {
    const directory = temporaryDirectory(t);
    const store = new MemoryStore();
    const token: RootKeySource = {
      place: 'token prod',
      isThere: () => false,
      open: async () => assert.fail('there is no key'),
    };
    await assert.rejects(openRootKeyForStore(engine, store, token), /^StartError: token prod: there is no/);
    symlinkSync(join(directory, 'nowhere'), join(directory, 'link'));
    await assert.rejects(
      openRootKeyForStore(engine, store, fileRootKey(join(directory, 'link'), rule)),
      /link is a symbolic link to a file that is missing/,
    );
    await assert.rejects(
      openRootKeyForStore(engine, store, fileRootKey(join(directory, 'absent', 'root.key'), rule)),
      /its directory does not exist/,
    );
    writeFileSync(join(directory, 'short'), Buffer.alloc(31, 1), { mode: 0o600 });
    await assert.rejects(
      openRootKeyForStore(engine, store, fileRootKey(join(directory, 'short'), rule)),
      /short \(owner \d+, mode 0600\): must hold exactly 32 bytes/,
    );
    const silent = { ...token, isThere: () => true, open: async () => lentPage(() => {}) };
    await assert.rejects(
      openRootKeyForStore(engine, store, silent),
      /token prod: must hold exactly 32 bytes/,
    );
  });
}

test('a descriptor is judged by the rule for secrets where it has a name, and says what is wrong', (t) => {
  const path = join(temporaryDirectory(t), 'root.key');
  writeFileSync(path, Buffer.alloc(32, 1), { mode: 0o640 });
  const judged = (groupAllowed: boolean) => {
    const descriptor = openSync(path, 'r');
    try {
      return descriptorRootKey(descriptor, { groupAllowed }).isThere();
    } finally {
      closeSync(descriptor);
    }
  };
  assert.throws(() => judged(false), /the file of descriptor \d+ may be read or written by its group/);
  assert.equal(judged(true), true);
  chmodSync(path, 0o604);
  assert.throws(() => judged(true), /may be read or written by others/);

  const device = openSync('/dev/null', 'r');
  assert.throws(() => descriptorRootKey(device, rule).isThere(), /must be of a regular file or a pipe/);
  closeSync(device);
  assert.throws(() => descriptorRootKey(1_023, rule).isThere(), /descriptor 1023 is not open: /);
});

test('a process is handed its root key through a pipe, and keeps no descriptor of it', (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'key'), Buffer.alloc(32, 9), { mode: 0o600 });
  const child = new URL('./descriptor-child.ts', import.meta.url).pathname;
  const script = 'cat "$1" | "$2" "$3" 3<&0';
  const args = ['-c', script, 'sh', join(directory, 'key'), process.execPath, child];
  assert.equal(execFileSync('sh', args, { encoding: 'utf8' }), 'opened, closed\n');
});

function lentPage(fill: (page: Uint8Array) => void) {
  return { kind: 'lent-page', fill } as const;
}

/** As a source that gets the key from elsewhere: it writes the bytes where the engine wants them. */
function fillingFrom(path: string): RootKeySource {
  return {
    place: 'a lent page',
    isThere: () => true,
    open: async () =>
      lentPage((page) => {
        const file = openSync(path, 'r');
        readSync(file, page);
        closeSync(file);
      }),
  };
}
