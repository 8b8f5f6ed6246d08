import assert from 'node:assert/strict';
import test from 'node:test';
import { authenticated, openAuthenticated } from '../../src/keys/authenticity.ts';
import { headKey, versionKey } from '../../src/keys/codec.ts';
import type { Store, StoreEntry } from '../../src/store/store.ts';
import { type Bench, codeOf, ed25519, makeKeyring, testMac, unwrap } from '../support/keyring.ts';

const tenant = 'acme';
const actor = 'a-test';

/** A key with two versions, and nothing of it in any cache: another keyring over the same store. */
async function storedKey(t: test.TestContext): Promise<{ bench: Bench; store: Store; id: string }> {
  const { keyring, inner: store } = makeKeyring(t);
  const made = unwrap(await keyring.create({ tenant, actor, purpose: 'p', algorithm: ed25519 }));
  const id = made.kid.slice(0, made.kid.indexOf('#'));
  unwrap(await keyring.rotate({ tenant, actor, kid: id }));
  return { bench: makeKeyring(t, {}, store), store, id };
}

async function entryOf(store: Store, key: string): Promise<StoreEntry> {
  const entry = unwrap(await store.get(key));
  assert.ok(entry !== undefined);
  return entry;
}

/** What a value says, and how it is written again by somebody who has the store and not the root key. */
function textOf(value: Uint8Array): string {
  return Buffer.from(value.subarray(37, 37 + Buffer.from(value).readUInt32LE(33))).toString();
}

function withText(value: Uint8Array, text: string): Uint8Array {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(Buffer.byteLength(text));
  const rest = value.subarray(37 + Buffer.byteLength(textOf(value)));
  return Buffer.concat([value.subarray(0, 33), length, Buffer.from(text), rest]);
}

async function forge(store: Store, key: string, change: (text: string) => string): Promise<void> {
  const { value } = await entryOf(store, key);
  const text = change(textOf(value));
  assert.notEqual(text, textOf(value));
  unwrap(await store.commit([{ key, value: withText(value, text) }]));
}

async function refusedEverywhere({ bench }: { bench: Bench }, kid: string, storeKey: string): Promise<void> {
  assert.equal(codeOf(await bench.keyring.find(tenant, kid)), 'Internal');
  assert.equal(codeOf(await bench.keyring.describe(tenant, kid)), 'Internal');
  assert.ok(bench.corrupt.includes(storeKey));
}

const otherKey = Buffer.from('a public key of somebody else').toString('base64');

test('a public key that was put into a version record is refused, whether the version is current or old', async (t) => {
  for (const number of [1, 2]) {
    const key = await storedKey(t);
    const storeKey = versionKey(key.id, number);
    await forge(key.store, storeKey, (text) => text.replace(/"pub":\["[^"]*"/, `"pub":["${otherKey}"`));
    await refusedEverywhere(key, `${key.id}#v${number}`, storeKey);
    assert.equal(
      codeOf(await key.bench.keyring.find(tenant, `${key.id}#v${3 - number}`)),
      number === 1 ? 'ok' : 'Internal',
    );
  }
});

test('a state, a revision or a time that was changed in a record is refused', async (t) => {
  const changes: ((text: string) => string)[] = [
    (text) => text.replace('"state":"active"', '"state":"destroyed"'),
    (text) => text.replace(/"rev":\d+/, '"rev":9'),
    (text) => text.replace(/"created":\d+/, '"created":1'),
    (text) => `${text} `,
  ];
  for (const change of changes) {
    const key = await storedKey(t);
    const storeKey = versionKey(key.id, 1);
    await forge(key.store, storeKey, change);
    await refusedEverywhere(key, `${key.id}#v1`, storeKey);
  }
});

test('a head that was set back to an earlier version is refused: what was replaced does not sign again', async (t) => {
  const key = await storedKey(t);
  await forge(key.store, headKey(key.id), (text) => text.replace('"current":2', '"current":1'));
  await refusedEverywhere(key, key.id, headKey(key.id));
  assert.deepEqual(unwrap(await key.bench.keyring.list({ tenant })).keys, []);
});

test('a record of another version or key does not pass for this one', async (t) => {
  const key = await storedKey(t);
  const { value } = await entryOf(key.store, versionKey(key.id, 1));
  const text = textOf(value);
  unwrap(await key.store.commit([{ key: versionKey(key.id, 2), value }]));
  await refusedEverywhere(key, `${key.id}#v2`, versionKey(key.id, 2));
  // Even where the text says what the place asks for.
  const renamed = withText(value, text.replace('"version":1', '"version":2'));
  unwrap(await key.store.commit([{ key: versionKey(key.id, 2), value: renamed }]));
  await refusedEverywhere(key, `${key.id}#v2`, versionKey(key.id, 2));
});

test('a record in the form that was not authenticated is refused', async (t) => {
  const key = await storedKey(t);
  const storeKey = versionKey(key.id, 1);
  const { value } = await entryOf(key.store, storeKey);
  const { rev: _, pub, ...old } = JSON.parse(textOf(value));
  old.parts = [{ pub: pub[0], sealed: 'AAAA' }];
  unwrap(await key.store.commit([{ key: storeKey, value: Buffer.from(JSON.stringify({ ...old, v: 1 })) }]));
  await refusedEverywhere(key, `${key.id}#v1`, storeKey);
});

test('each writing of a record has a revision of its own', async (t) => {
  const { store, bench, id } = await storedKey(t);
  const revisionOf = async (key: string) => JSON.parse(textOf((await entryOf(store, key)).value)).rev;
  assert.equal(await revisionOf(headKey(id)), 2);
  assert.equal(await revisionOf(versionKey(id, 1)), 1);
  unwrap(await bench.keyring.destroy({ tenant, actor, kid: id, version: 1 }));
  assert.equal(await revisionOf(versionKey(id, 1)), 2);
  unwrap(await bench.keyring.destroy({ tenant, actor, kid: id }));
  assert.equal(await revisionOf(versionKey(id, 1)), 3);
  assert.equal(await revisionOf(headKey(id)), 3);
});

test('no bit of an authenticated value can be changed, and none of it cut off', () => {
  const value = authenticated('key/a', '{"some":"text"}', testMac);
  assert.equal(
    Buffer.from(openAuthenticated('key/a', value, testMac)?.text ?? []).toString(),
    '{"some":"text"}',
  );
  for (let bit = 0; bit < value.length * 8; bit++) {
    const changed = Uint8Array.from(value);
    changed[bit >> 3]! ^= 1 << (bit & 7);
    assert.equal(openAuthenticated('key/a', changed, testMac), undefined, `bit ${bit}`);
  }
  for (let length = 0; length < value.length; length++) {
    assert.equal(openAuthenticated('key/a', value.subarray(0, length), testMac), undefined);
  }
  assert.equal(openAuthenticated('key/b', value, testMac), undefined);
});
