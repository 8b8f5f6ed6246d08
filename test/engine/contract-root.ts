import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { batchStatuses } from '../../src/engine/batch.ts';
import { type Engine, keyTypes, schemes } from '../../src/engine/engine.ts';
import { aad, signOne, tenant } from '../support/batches.ts';

const message = Buffer.from('d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24', 'hex');
const { ok } = batchStatuses;

/** What every engine owes with root keys. `directory` is empty. */
export function rootTests(engine: Engine, directory: string): void {
  const path = (name: string) => join(directory, `${engine.description.name}-${name}`);
  const create = (name: string) => engine.openRoot({ kind: 'file-create', path: path(name) });
  const open = (name: string) => engine.openRoot({ kind: 'file', path: path(name) });

  test('a created root file has 32 bytes and mode 0600, and opens to the same root', () => {
    const made = create('root');
    const stat = statSync(path('root'));
    assert.equal(stat.size, 32);
    assert.equal(stat.mode & 0o777, 0o600);
    const key = engine.generate(made, keyTypes.ed25519, tenant, aad);
    assert.equal(signOne(engine, open('root'), schemes.ed25519, key, message).status, ok);
  });

  test('an existing root file is never replaced', () => {
    create('kept');
    const before = readFileSync(path('kept'));
    assert.throws(() => create('kept'), { code: 'ROOT_EXISTS' });
    assert.deepEqual(readFileSync(path('kept')), before);
  });

  test('a root file is refused when others have access, its length is not 32, or it is no regular file', () => {
    const write = (name: string, length: number, mode: number) => {
      writeFileSync(path(name), Buffer.alloc(length, 1));
      chmodSync(path(name), mode);
    };
    assert.throws(() => open('absent'), { code: 'ROOT_MISSING' });
    for (const mode of [0o604, 0o602, 0o601, 0o644, 0o666]) {
      write('shared', 32, mode);
      assert.throws(() => open('shared'), { code: 'ROOT_PERMISSIONS' }, mode.toString(8));
    }
    for (const length of [0, 31, 33, 64, 100]) {
      write('length', length, 0o600);
      assert.throws(() => open('length'), { code: 'ROOT_LENGTH' }, `${length}`);
    }
    write('target', 32, 0o400);
    open('target');
    symlinkSync(path('target'), path('link'));
    assert.throws(() => open('link'), { code: 'ROOT_PERMISSIONS' });
    mkdirSync(path('folder'), { mode: 0o700 });
    assert.throws(() => open('folder'), { code: 'ROOT_PERMISSIONS' });
    assert.throws(() => engine.openRoot({ kind: 'file-create', path: path('absent/root') }), {
      code: 'ROOT_MISSING',
    });
  });

  test('errors of the root file name no path', () => {
    assert.throws(
      () => open('secret-place'),
      (error: Error) => !error.message.includes('secret-place'),
    );
  });

  const opened = (name: string) => openSync(path(name), 'r');
  const fromDescriptor = (descriptor: number) => engine.openRoot({ kind: 'descriptor', descriptor });
  const isClosed = (descriptor: number) =>
    assert.throws(() => fstatSync(descriptor), { code: 'EBADF' }, 'the descriptor is still open');

  test('a descriptor opens to the root of its file, and is closed whatever comes of it', () => {
    const made = create('handed-over');
    const key = engine.generate(made, keyTypes.ed25519, tenant, aad);
    const descriptor = opened('handed-over');
    const root = fromDescriptor(descriptor);
    isClosed(descriptor);
    assert.equal(signOne(engine, root, schemes.ed25519, key, message).status, ok);
    for (const length of [0, 31, 33, 100]) {
      writeFileSync(path('other-length'), Buffer.alloc(length, 1), { mode: 0o600 });
      const wrong = opened('other-length');
      assert.throws(() => fromDescriptor(wrong), { code: 'ROOT_LENGTH' }, `${length}`);
      isClosed(wrong);
    }
  });

  test('a descriptor of a file that others may read is refused, unless the file has no name any more', () => {
    writeFileSync(path('open-to-others'), Buffer.alloc(32, 1));
    chmodSync(path('open-to-others'), 0o644);
    const refused = opened('open-to-others');
    assert.throws(() => fromDescriptor(refused), { code: 'ROOT_PERMISSIONS' });
    isClosed(refused);
    const unlinked = opened('open-to-others');
    rmSync(path('open-to-others'));
    fromDescriptor(unlinked);
    isClosed(unlinked);
  });

  test('a pipe gives a root key; what is neither file nor pipe, and what is not open, does not', () => {
    for (const [length, code] of [
      [32, undefined],
      [31, 'ROOT_LENGTH'],
      [33, 'ROOT_LENGTH'],
    ] as const) {
      const pipe = path(`pipe-${length}`);
      execFileSync('mkfifo', ['-m', '600', pipe]);
      // Open at both ends before anything is written, as with a pipe between two processes.
      const both = openSync(pipe, 'r+');
      const reader = openSync(pipe, 'r');
      writeSync(both, Buffer.alloc(length, 7));
      closeSync(both);
      if (code === undefined) fromDescriptor(reader);
      else assert.throws(() => fromDescriptor(reader), { code });
      isClosed(reader);
    }
    const device = openSync('/dev/zero', 'r');
    assert.throws(() => fromDescriptor(device), { code: 'ROOT_PERMISSIONS' });
    isClosed(device);
    assert.throws(() => fromDescriptor(987_654), { code: 'ROOT_MISSING' });
    for (const descriptor of [0, 1, 2, -1, 3.5])
      assert.throws(() => fromDescriptor(descriptor), { code: 'BAD_ARGUMENT' });
    fstatSync(0);
  });

  const lent = (fill: (page: Uint8Array) => void) => engine.openRoot({ kind: 'lent-page', fill });

  test('a source fills the page it is lent, which is empty when the call is over', () => {
    const made = create('to-fill');
    const key = engine.generate(made, keyTypes.ed25519, tenant, aad);
    let kept: Uint8Array | undefined;
    const root = lent((page) => {
      assert.deepEqual(page, new Uint8Array(32));
      const file = opened('to-fill');
      assert.equal(readSync(file, page), 32);
      closeSync(file);
      kept = page;
    });
    assert.equal(signOne(engine, root, schemes.ed25519, key, message).status, ok);
    assert.equal(kept?.length, 0);
    assert.equal(kept?.buffer.byteLength, 0);
  });

  test('a source that fills nothing, or throws, opens no root; its error is passed on', () => {
    assert.throws(() => lent(() => {}), { code: 'ROOT_LENGTH' });
    let kept: Uint8Array | undefined;
    const broken = new Error('the token is gone');
    assert.throws(
      () =>
        lent((page) => {
          kept = page.fill(9);
          throw broken;
        }),
      (error) => error === broken,
    );
    assert.equal(kept?.length, 0);
    // One page after another, as many as there may be roots: none of them is lost.
    for (let round = 0; round < 200; round++) assert.throws(() => lent(() => {}), { code: 'ROOT_LENGTH' });
  });
}
