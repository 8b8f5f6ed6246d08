import assert from 'node:assert/strict';
import test from 'node:test';
import { batchStatuses } from '../../src/engine/batch.ts';
import { type Engine, keyTypes, schemes } from '../../src/engine/engine.ts';
import { aad, flipBit, signOne, tenant } from '../support/batches.ts';

const message = Buffer.from('sealed anew');
const { ok, keyUnusable } = batchStatuses;

/** What every engine owes to a rotation of the root key. */
export function resealTests(engine: Engine): void {
  const open = () => engine.openRoot({ kind: 'memory' });
  const made = (root: unknown) => engine.generate(root, keyTypes.ed25519, tenant, aad);
  const signs = (root: unknown, key: ReturnType<typeof made>) =>
    signOne(engine, root, schemes.ed25519, key, message).status;

  test('what is sealed anew opens under the new root alone, and has the same public key', () => {
    const [from, to] = [open(), open()];
    const key = made(from);
    const sealed = engine.reseal(from, to, tenant, aad, key.sealed);
    assert.ok(sealed !== undefined);
    assert.equal(sealed.length, key.sealed.length);
    assert.notDeepEqual(Buffer.from(sealed), Buffer.from(key.sealed));
    assert.equal(signs(to, { ...key, sealed }), ok);
    assert.equal(signs(from, { ...key, sealed }), keyUnusable);
    assert.equal(signs(to, key), keyUnusable);
  });

  test('what does not open under the old root is not sealed anew', () => {
    const [from, to] = [open(), open()];
    const { sealed } = made(from);
    const refused = [
      [to, tenant, aad, sealed],
      [from, `${tenant}x`, aad, sealed],
      [from, tenant, `${aad}x`, sealed],
      [from, tenant, aad, flipBit(sealed, 40)],
      [from, tenant, aad, sealed.subarray(0, 20)],
      [from, tenant, aad, new Uint8Array(0)],
    ] as const;
    for (const [root, ofTenant, bound, blob] of refused)
      assert.equal(engine.reseal(root, to, ofTenant, bound, blob), undefined);
    assert.throws(() => engine.reseal({}, to, tenant, aad, sealed), { code: 'BAD_ARGUMENT' });
    assert.throws(() => engine.reseal(from, to, 'x'.repeat(70_000), aad, sealed));
  });

  test('two roots as one open what either has sealed, and seal under the first', () => {
    const [current, before, other] = [open(), open(), open()];
    const joined = engine.joinRoots(current, before);
    const fresh = made(joined);
    assert.equal(signs(joined, made(before)), ok);
    assert.equal(signs(joined, made(current)), ok);
    assert.equal(signs(joined, made(other)), keyUnusable);
    assert.equal(signs(joined, fresh), ok);
    assert.equal(signs(current, fresh), ok);
    assert.equal(signs(before, fresh), keyUnusable);
    // Not for the next batch of the root alone.
    assert.equal(signs(current, made(before)), keyUnusable);
    engine.closeRoot(joined);
    assert.equal(signs(current, fresh), ok);
  });

  test('roots and MAC keys that are closed make room: there may be many rotations in a process', () => {
    const mac = (ref: unknown) => engine.macKey(ref as never).mac(Buffer.from('m'));
    for (let round = 0; round < 100; round++) {
      const [current, before] = [open(), open()];
      const joined = engine.joinRoots(current, before);
      const key = engine.rootMacKey(joined, 'a-use');
      assert.deepEqual(mac(key), mac(engine.rootMacKey(current, 'a-use')));
      for (const root of [joined, current, before]) engine.closeRoot(root);
      // One of this round stays open in the native engine until here.
      engine.closeMacKey(key);
      if (engine.description.name === 'native') {
        assert.throws(() => mac(key), { code: 'BAD_ARGUMENT' });
        assert.equal(
          signs(current, { sealed: new Uint8Array(60), publicKey: new Uint8Array(32) }),
          keyUnusable,
        );
        engine.closeMacKey((key as number) + 1);
      }
    }
  });
}
