import assert from 'node:assert/strict';
import test, { suite } from 'node:test';
import { staleReason } from '../../scripts/setup/packages.js';

const wanted = {
  packages: {
    '': { version: '0.1.0' },
    'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' },
    'node_modules/tool': { version: '2.0.0', integrity: 'sha512-tool', dev: true },
    'node_modules/other-platform': { version: '3.0.0', integrity: 'sha512-other', optional: true },
  },
};
const { a, tool } = { a: wanted.packages['node_modules/a'], tool: wanted.packages['node_modules/tool'] };
const complete = { packages: { 'node_modules/a': a, 'node_modules/tool': tool } };

suite('whether the packages are installed', () => {
  test('without a finished installation they are not', () => {
    assert.match(staleReason(wanted, undefined, { dev: false })!, /not installed/);
    assert.match(staleReason(wanted, {}, { dev: false })!, /node_modules\/a is missing/);
  });

  test('a complete tree is left alone, without the packages of other platforms', () => {
    assert.equal(staleReason(wanted, complete, { dev: true }), undefined);
  });

  test('packages beyond the lock file do no harm', () => {
    const more = { packages: { ...complete.packages, 'node_modules/mine': { version: '1.0.0' } } };
    assert.equal(staleReason(wanted, more, { dev: true }), undefined);
  });

  test('development packages are asked for only where they are needed', () => {
    const production = { packages: { 'node_modules/a': a } };
    assert.equal(staleReason(wanted, production, { dev: false }), undefined);
    assert.match(staleReason(wanted, production, { dev: true })!, /node_modules\/tool is missing/);
  });

  test('another version, or another content of the same version, is not what is locked', () => {
    for (const changed of [
      { ...a, version: '1.0.1' },
      { ...a, integrity: 'sha512-b' },
    ]) {
      const other = { packages: { ...complete.packages, 'node_modules/a': changed } };
      assert.match(staleReason(wanted, other, { dev: true })!, /node_modules\/a is not the locked version/);
    }
  });
});
