import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { suite } from 'node:test';
import { hashSources, planNative, type Stamp } from '../../scripts/setup/native-stamp.js';

const toolchain = { cargo: true, rustc: 'rustc 1.95.0', missing: [] };
const built: Stamp = { sources: 'abc', rustc: 'rustc 1.95.0', missing: [], result: 'built', library: 'f00d' };
const failed: Stamp = { sources: 'abc', rustc: 'rustc 1.95.0', missing: [], result: 'failed' };
const upToDate = {
  sources: 'abc',
  toolchain,
  stamp: built as Stamp | undefined,
  library: 'f00d' as string | undefined,
  force: false,
};

suite('whether the native engine is to be built', () => {
  test('a built and unchanged one is left alone', () => {
    assert.equal(planNative(upToDate), 'nothing');
  });

  test('it is built when there is none, or when sources, compiler or library changed', () => {
    assert.equal(planNative({ ...upToDate, stamp: undefined }), 'build');
    assert.equal(planNative({ ...upToDate, sources: 'abd' }), 'build');
    assert.equal(planNative({ ...upToDate, toolchain: { ...toolchain, rustc: 'rustc 1.96.0' } }), 'build');
    assert.equal(planNative({ ...upToDate, library: undefined }), 'build');
    assert.equal(planNative({ ...upToDate, library: 'beef' }), 'build');
  });

  test('a failed build is not tried again until sources or tools change', () => {
    const after = { ...upToDate, stamp: failed, library: undefined };
    assert.equal(planNative(after), 'known');
    assert.equal(planNative({ ...after, sources: 'abd' }), 'build');
    assert.equal(planNative({ ...after, toolchain: { ...toolchain, rustc: 'rustc 1.96.0' } }), 'build');
    assert.equal(planNative({ ...after, toolchain: { ...toolchain, missing: ['cmake'] } }), 'build');
  });

  test('force builds in any state', () => {
    assert.equal(planNative({ ...upToDate, force: true }), 'build');
    assert.equal(planNative({ ...upToDate, stamp: failed, force: true }), 'build');
  });

  test('without cargo a built one goes on being used, and its absence is said once', () => {
    const without = { ...upToDate, toolchain: { cargo: false, rustc: '', missing: [] } };
    assert.equal(planNative(without), 'nothing');
    assert.equal(planNative({ ...without, stamp: undefined, library: undefined }), 'announce');
    assert.equal(planNative({ ...without, sources: 'abd' }), 'announce');
    const said: Stamp = { ...failed, rustc: '', result: 'unavailable' };
    assert.equal(planNative({ ...without, stamp: said, library: undefined }), 'known');
    assert.equal(planNative({ ...without, stamp: said, library: undefined, force: true }), 'announce');
    assert.equal(planNative({ ...upToDate, stamp: said, library: undefined }), 'build', 'cargo has come');
  });
});

suite('the hash of the sources', () => {
  function withSources(check: (folder: string) => void): void {
    const folder = mkdtempSync(join(tmpdir(), 'intaglio-native-'));
    try {
      mkdirSync(join(folder, 'src'));
      writeFileSync(join(folder, 'Cargo.toml'), '[package]');
      writeFileSync(join(folder, 'src', 'lib.rs'), 'fn one() {}');
      check(folder);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  test('depends on names and contents, not on times', () => {
    withSources((folder) => {
      const before = hashSources(folder);
      utimesSync(join(folder, 'src', 'lib.rs'), 1, 1);
      assert.equal(hashSources(folder), before);
      writeFileSync(join(folder, 'src', 'lib.rs'), 'fn two() {}');
      const changed = hashSources(folder);
      assert.notEqual(changed, before);
      writeFileSync(join(folder, 'src', 'more.rs'), '');
      assert.notEqual(hashSources(folder), changed);
    });
  });

  test('leaves out what a build makes', () => {
    withSources((folder) => {
      const before = hashSources(folder);
      for (const product of ['target', 'build']) {
        mkdirSync(join(folder, product));
        writeFileSync(join(folder, product, 'made'), 'x');
      }
      assert.equal(hashSources(folder), before);
      mkdirSync(join(folder, 'src', 'build'));
      writeFileSync(join(folder, 'src', 'build', 'mod.rs'), '');
      assert.notEqual(hashSources(folder), before, 'a module of that name is a source');
    });
  });
});
