import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { ok, refuse } from '../../src/core/result.ts';
import { decodeVersion, encodeVersion, versionKey } from '../../src/keys/codec.ts';
import type { GivenVersion } from '../../src/keys/keyring.ts';
import { parseKid } from '../../src/keys/kid.ts';
import type { KeySource, KeyVersion } from '../../src/keys/record.ts';
import { codeOf, ed25519, makeKeyring, testMac, unwrap } from '../support/keyring.ts';

const uuid = '3f0c2b1e-8a4d-8c55-9b57-5d1f3f6f0a11';
const parent = `acme/p/hkdf-sha256/${uuid}#v3`;
const derived: KeySource = { kind: 'derived', from: parent };
const imported: KeySource = { kind: 'imported', publicOnly: false };
const publicOnly: KeySource = { kind: 'imported', publicOnly: true };
const asker = { tenant: 'acme', actor: 'tester' };
const create = { ...asker, purpose: 'p', algorithm: ed25519 };

const given = (source: KeySource, asked: string[] = []): GivenVersion => ({
  source,
  async make(kid) {
    asked.push(kid);
    const part = { publicKey: Buffer.from(`given ${kid}`) };
    const isHere = source.kind === 'derived' || !source.publicOnly;
    return ok([isHere ? { ...part, sealed: Buffer.from(`sealed ${kid}`) } : part]);
  },
});

test('a version keeps its source in its authenticated record, and a record with another form of it is refused', () => {
  const kid = parseKid(`acme/p/ed25519/${uuid}`)!;
  const storeKey = versionKey(kid.id, 1);
  const sources = fc.constantFrom(undefined, derived, imported, publicOnly);
  const states = fc.constantFrom('active' as const, 'destroyed' as const);
  fc.assert(
    fc.property(sources, states, (source, state) => {
      const sealed = state === 'active' && source !== publicOnly ? { sealed: Uint8Array.of(7) } : {};
      const version: KeyVersion = {
        ...{ id: kid.id, version: 1, state, createdAtMs: 5, revision: 1 },
        ...(source && { source }),
        parts: [{ publicKey: Uint8Array.of(1, 2), ...sealed }],
      };
      const decoded = decodeVersion(storeKey, kid, encodeVersion(version, testMac), testMac);
      assert.deepEqual(structuredClone(decoded), version);
    }),
  );
  const bad = (source: unknown, part: object) =>
    encodeVersion(
      {
        ...{ id: kid.id, version: 1, state: 'active', createdAtMs: 5, revision: 1 },
        source: source as KeySource,
        parts: [{ publicKey: Uint8Array.of(1), ...part }],
      },
      testMac,
    );
  const sealed = { sealed: Uint8Array.of(7) };
  for (const bytes of [
    bad(publicOnly, sealed),
    bad(imported, {}),
    bad(derived, {}),
    bad({ kind: 'derived', from: 'nothing' }, sealed),
    bad({ kind: 'derived', from: parent.replace('#v3', '') }, sealed),
  ]) {
    assert.equal(decodeVersion(storeKey, kid, bytes, testMac), undefined);
  }
});

test('a key with a given uuid is made once, however often and at the same time it is asked for', async (t) => {
  const { keyring } = makeKeyring(t);
  const asked: string[] = [];
  const request = { ...create, uuid, given: given(derived, asked) };
  const made = (await Promise.all([1, 2, 3, 4].map(() => keyring.create(request)))).map(unwrap);
  const kid = `acme/p/ed25519/${uuid}#v1`;
  assert.deepEqual(
    made.map(({ kid: made, replayed }) => [made, replayed]),
    [[kid, false], ...[1, 2, 3].map(() => [kid, true])],
  );
  assert.deepEqual(asked, [kid]);
  assert.deepEqual(
    made.map(({ publicKeys }) => String(publicKeys[0])),
    Array(4).fill(`given ${kid}`),
  );
  const found = unwrap(await keyring.find('acme', kid));
  assert.deepEqual([found.version.source, found.current], [derived, true]);
  assert.deepEqual(unwrap(await keyring.describe('acme', kid)).versions[0]!.source, derived);
  unwrap(await keyring.destroy({ ...asker, kid: kid.replace('#v1', '') }));
  assert.equal(codeOf(await keyring.create(request)), 'Conflict', 'what was destroyed stays so');
  assert.equal(asked.length, 1);
});

test('parts that cannot be made make no key, and the next call may', async (t) => {
  const { keyring } = makeKeyring(t);
  const failing: GivenVersion = { source: derived, make: async () => refuse('Unsupported') };
  assert.equal(codeOf(await keyring.create({ ...create, uuid, given: failing })), 'Unsupported');
  assert.equal(codeOf(await keyring.find('acme', `acme/p/ed25519/${uuid}`)), 'NotFound');
  assert.equal(codeOf(await keyring.create({ ...create, uuid, given: given(derived) })), 'ok');
});

test('a repeated op_id gives the first answer, and nothing is made a second time', async (t) => {
  const { keyring } = makeKeyring(t);
  const asked: string[] = [];
  const operation = { id: '00000000-0000-4000-8000-000000000001', body: { material: 1 } };
  const first = unwrap(await keyring.create({ ...create, given: given(imported, asked), operation }));
  const again = unwrap(await keyring.create({ ...create, given: given(imported, asked), operation }));
  assert.deepEqual([again.kid, again.replayed, asked.length], [first.kid, true, 1]);
});

test('a derived key has one version; public keys follow public keys, and private ones private ones', async (t) => {
  const { keyring, custody } = makeKeyring(t);
  const idOf = async (source?: KeySource) => {
    const { kid } = unwrap(await keyring.create({ ...create, ...(source && { given: given(source) }) }));
    return kid.replace('#v1', '');
  };
  const rotate = async (kid: string, source?: KeySource) =>
    codeOf(await keyring.rotate({ ...asker, kid, ...(source && { given: given(source) }) }));
  const ofParent = await idOf(derived);
  const ofPublic = await idOf(publicOnly);
  const ofImported = await idOf(imported);
  const own = await idOf();
  const table: [string, KeySource | undefined, string][] = [
    ...[undefined, imported, publicOnly].map((next): (typeof table)[0] => [ofParent, next, 'Conflict']),
    [ofPublic, undefined, 'Conflict'],
    [ofPublic, imported, 'Conflict'],
    [ofPublic, publicOnly, 'ok'],
    [ofImported, publicOnly, 'Conflict'],
    [ofImported, imported, 'ok'],
    [ofImported, undefined, 'ok'],
    [own, publicOnly, 'Conflict'],
    [own, imported, 'ok'],
  ];
  for (const [kid, next, code] of table) {
    assert.equal(await rotate(kid, next), code, `${kid} ${JSON.stringify(next)}`);
  }
  const destroyed = custody.destroyed.length;
  unwrap(await keyring.destroy({ ...asker, kid: ofPublic }));
  assert.equal(custody.destroyed.length, destroyed, 'no home has its private parts');
  assert.equal(codeOf(await keyring.find('acme', `${ofPublic}#v1`)), 'ok');
});
