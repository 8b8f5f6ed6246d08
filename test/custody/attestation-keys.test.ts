import assert from 'node:assert/strict';
import test from 'node:test';
import { schemes } from '../../src/algorithms/ids.ts';
import { StartError } from '../../src/core/start-error.ts';
import { type AttestationKey, AttestationKeyStore } from '../../src/custody/attestation-keys.ts';
import { batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { hex, runBatch, verifyOne } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import { FaultyStore } from '../support/faulty-store.ts';

const storeKey = 'meta/attestation-keys';
const engine = availableEngines()[0]!.create();
const root = engine.openRoot({ kind: 'memory' });
const announced = { origin: 'kms.example/audit/1', overlapEndsAtMs: 1_763_769_600_000 };

const anything = () => true;

async function opened(store = new FaultyStore(new MemoryStore())) {
  return { store, keys: await AttestationKeyStore.open(engine, root, store) };
}

/** The keys that the next process finds. */
const reopened = (store: FaultyStore) => AttestationKeyStore.open(engine, root, store);

function publicKeyOf({ publicKey }: AttestationKey): string {
  return hex(publicKey);
}

/** True if the sealed key is the one whose public key is told. */
function signs({ scheme, keyReference, publicKey }: AttestationKey): boolean {
  const message = Buffer.from('checkpoint');
  const [signed] = runBatch(engine, root, [
    { op: batchOps.sign, scheme, keyNumber: 0, key: keyReference, inputs: [message] },
  ]);
  if (signed?.status !== batchStatuses.ok) return false;
  const signature = Uint8Array.from(signed.outputs[0] as Uint8Array);
  return verifyOne(engine, root, scheme, publicKey, message, signature) === batchStatuses.ok;
}

test('every generation is sealed in the store and signs after a restart, until the next one has replaced it', async () => {
  const { store, keys } = await opened();
  const first = keys.current;
  assert.ok((await keys.begin('operator', anything)).ok);
  const begun = await reopened(store);
  assert.equal(publicKeyOf(begun.current.ed25519), publicKeyOf(first.ed25519));
  assert.equal(begun.next?.announced, undefined);
  assert.equal(begun.next?.actor, 'operator');
  const second = begun.next?.keys;
  assert.ok(second !== undefined && publicKeyOf(second.mlDsa44) !== publicKeyOf(first.mlDsa44));

  assert.ok((await begun.announced(announced)).ok);
  const both = await reopened(store);
  assert.deepEqual(both.next?.announced, announced);
  const generations = [both.current, both.next?.keys ?? both.current];
  assert.ok(generations.every(({ ed25519, mlDsa44 }) => signs(ed25519) && signs(mlDsa44)));

  assert.ok((await both.finish()).ok);
  const last = await reopened(store);
  assert.equal(last.next, undefined);
  assert.equal(publicKeyOf(last.current.mlDsa44), publicKeyOf(second.mlDsa44));
  assert.equal(last.current.ed25519.scheme, schemes.ed25519);
  assert.ok(signs(last.current.ed25519) && signs(last.current.mlDsa44));
  const entry = await store.get(storeKey);
  assert.ok(entry.ok && entry.value !== undefined);
  const { publicKey } = first.ed25519;
  assert.ok(
    !Buffer.from(entry.value.value).includes(Buffer.from(publicKey).toString('base64')),
    'the old are gone',
  );
  assert.ok((await last.begin('operator', anything)).ok, 'and so on');
});

test('steps come in their order only', async () => {
  const { keys } = await opened();
  for (const step of [() => keys.announced(announced), () => keys.finish()]) {
    const refused = await step();
    assert.ok(!refused.ok && refused.failure.code === 'Conflict');
  }
  assert.ok((await keys.begin('operator', anything)).ok);
  for (const step of [() => keys.begin('operator', anything), () => keys.finish()]) {
    const refused = await step();
    assert.ok(!refused.ok && refused.failure.code === 'Conflict');
  }
});

test('a store that refuses has changed nothing, or everything, and what it holds is what counts', async () => {
  for (const failing of ['commit', 'commit-after'] as const) {
    const { store, keys } = await opened();
    store.failing.add(failing);
    const refused = await keys.begin('operator', anything);
    assert.ok(!refused.ok && refused.failure.code === 'StoreUnavailable');
    store.failing.delete(failing);
    assert.equal(keys.next !== undefined, failing === 'commit-after');
    assert.equal((await reopened(store)).next !== undefined, failing === 'commit-after');
    if (failing === 'commit') assert.ok((await keys.begin('operator', anything)).ok);
    assert.ok((await keys.announced(announced)).ok);
  }
});

test('a store that was not heard after a change is asked again before the next one', async () => {
  const { store, keys } = await opened();
  store.failing.add('commit-after').add('get');
  assert.ok(!(await keys.begin('operator', anything)).ok);
  store.failing.clear();
  const actor = () => keys.next?.actor;
  assert.equal(actor(), undefined);
  const refused = await keys.begin('operator', anything);
  assert.ok(!refused.ok && refused.failure.code === 'Conflict');
  assert.equal(actor(), 'operator', 'what was begun before is known now');
});

test('keys that cannot be told apart from the old ones are made again, and not for ever', async () => {
  const { keys } = await opened();
  let tries = 0;
  assert.ok((await keys.begin('operator', () => ++tries === 2)).ok);
  assert.equal(tries, 2);
  const { keys: others } = await opened();
  assert.ok(!(await others.begin('operator', () => false)).ok);
  assert.equal(others.next, undefined);
});

test('the entry of a store from before there were generations is the first one', async () => {
  const { store, keys } = await opened();
  const entry = await store.get(storeKey);
  assert.ok(entry.ok && entry.value !== undefined);
  const { ed25519, mlDsa44 } = JSON.parse(Buffer.from(entry.value.value).toString());
  const before = Buffer.from(JSON.stringify({ v: 1, ed25519, mlDsa44 }));
  assert.ok((await store.commit([{ key: storeKey, value: before }])).ok);
  const read = await reopened(store);
  assert.equal(publicKeyOf(read.current.ed25519), publicKeyOf(keys.current.ed25519));
  assert.ok(signs(read.current.mlDsa44));
  assert.ok((await read.begin('operator', anything)).ok);
});

test('an entry that is damaged, or of a later version, stops the start', async () => {
  for (const value of ['{', '{"v":3}', '{"v":2,"generation":1}']) {
    const store = new FaultyStore(new MemoryStore());
    await store.commit([{ key: storeKey, value: Buffer.from(value) }]);
    await assert.rejects(reopened(store), StartError);
  }
});

test('a public key that was put into the entry is refused at the start, of both generations', async () => {
  const { store, keys } = await opened();
  assert.ok((await keys.begin('operator', anything)).ok);
  const entry = await store.get(storeKey);
  assert.ok(entry.ok && entry.value !== undefined);
  const text = Buffer.from(entry.value.value).toString();
  const others = await opened();
  for (const part of ['ed25519', 'mlDsa44'] as const) {
    for (const next of [false, true]) {
      const forged = JSON.parse(text);
      const theirs = Buffer.from(others.keys.current[part].publicKey).toString('base64');
      (next ? forged.next : forged)[part].publicKey = theirs;
      const value = Buffer.from(JSON.stringify(forged));
      assert.ok((await store.commit([{ key: storeKey, value }])).ok);
      await assert.rejects(reopened(store), StartError);
    }
  }
});
