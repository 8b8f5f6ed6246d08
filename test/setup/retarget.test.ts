import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { suite } from 'node:test';
import { retarget } from '../../scripts/setup/elf.js';
import { pinned, planLibrary, replaceFile, sha256 } from '../../scripts/setup/uws.js';

const folder = join(import.meta.dirname, '..', '..', 'node_modules', 'uWebSockets.js');
const read = (file: string): Buffer => readFileSync(join(folder, file));

const linux = ['linux-x64', 'linux-arm64'].map((platform) => ({ platform, pin: pinned[platform]! }));
/** The package ships every platform, and the set-up touches only this machine's: the other one is as it was shipped. */
const shipped = linux.find(({ pin }) => sha256(read(pin.file)) === pin.installed)!;
const original = read(shipped.pin.file);

suite('retargeting uWebSockets.js', () => {
  test('an old glibc gets the pinned result, in which only the aliases changed', () => {
    const plan = planLibrary(original, shipped.pin, '2.36');
    assert.equal(plan.action, 'replace');
    if (plan.action !== 'replace') return;
    assert.equal(sha256(plan.bytes), shipped.pin.retargeted);
    assert.equal(plan.bytes.length, original.length);
    const differing = original.filter((byte, index) => byte !== plan.bytes[index]).length;
    assert.ok(differing > 0 && differing <= 4 * plan.renamed.length + 8, `${differing} bytes differ`);
    assert.ok(plan.renamed.includes('strtol') && plan.renamed.includes('strtoul'));
  });

  test('a second time there is nothing to do', () => {
    const { bytes } = retarget(original);
    assert.deepEqual(planLibrary(bytes, shipped.pin, '2.36'), { action: 'keep' });
    assert.throws(() => retarget(bytes), /does not ask libc for GLIBC_2\.38/);
  });

  test('both Linux libraries that are installed are the shipped or the retargeted ones', () => {
    for (const { platform, pin } of linux) {
      const bytes = read(pin.file);
      const whole = sha256(bytes) === pin.installed ? retarget(bytes).bytes : bytes;
      assert.equal(sha256(whole), pin.retargeted, platform);
    }
  });

  test('a new enough glibc, or none at all, is left alone', () => {
    for (const glibc of ['2.38', '2.41', '3.0', undefined]) {
      assert.deepEqual(planLibrary(original, shipped.pin, glibc), { action: 'keep' }, glibc);
    }
  });

  test('a glibc too old even for the result is refused', () => {
    const plan = planLibrary(original, shipped.pin, '2.35');
    assert.equal(plan.action, 'refuse');
    assert.match(
      plan.action === 'refuse' ? plan.reason : '',
      /needs glibc 2\.36 or newer; this machine has 2\.35/,
    );
  });

  test('a changed file is refused, whatever the glibc', () => {
    const changed = Buffer.from(original);
    changed[changed.length - 1]! ^= 1;
    for (const glibc of ['2.36', '2.41']) {
      const plan = planLibrary(changed, shipped.pin, glibc);
      assert.equal(plan.action, 'refuse');
      assert.match(
        plan.action === 'refuse' ? plan.reason : '',
        /not the file this version of Intaglio was tried with/,
      );
    }
  });

  test('a result other than the pinned one is refused', () => {
    const plan = planLibrary(original, { ...shipped.pin, retargeted: '0'.repeat(64) }, '2.36');
    assert.equal(plan.action, 'refuse');
  });

  test('what is no such library is not touched', () => {
    assert.throws(() => retarget(Buffer.from('#!/bin/sh\n'.repeat(20))), /not an ELF file/);
    const narrow = Buffer.from(original.subarray(0, 128));
    narrow[4] = 1;
    assert.throws(() => retarget(narrow), /not a 64-bit/);
  });

  test('the file is replaced whole, and nothing is left beside it', () => {
    const place = mkdtempSync(join(tmpdir(), 'intaglio-replace-'));
    try {
      const path = join(place, 'library.node');
      writeFileSync(path, 'old');
      replaceFile(path, Buffer.from('new'));
      assert.equal(readFileSync(path, 'utf8'), 'new');
      assert.throws(() => replaceFile(join(place, 'no', 'such', 'folder'), Buffer.from('new')));
      assert.deepEqual(readdirSync(place), ['library.node']);
    } finally {
      rmSync(place, { recursive: true });
    }
  });
});
