import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { environments, planes } from '../../src/core/scope.ts';
import { authenticated, openAuthenticated } from '../../src/keys/authenticity.ts';
import {
  decodeHead,
  decodeVersion,
  encodeHead,
  encodeVersion,
  headKey,
  versionKey,
} from '../../src/keys/codec.ts';
import { parseKid } from '../../src/keys/kid.ts';
import { type KeyHead, type KeyVersion, revocationReasons } from '../../src/keys/record.ts';
import { testMac } from '../support/keyring.ts';

const id = 'acme/p/ed25519/11111111-2222-4333-8444-555555555555';
const kid = parseKid(id)!;
const times = fc.integer({ min: 0, max: 2 ** 45 });
const names = fc.stringMatching(/^[A-Za-z0-9._:/@+-]{1,128}$/);
const modules = fc.uniqueArray(fc.stringMatching(/^[a-z0-9-]{1,20}$/), { minLength: 1, maxLength: 8 });

const plainHead: KeyHead = {
  ...{ id, tenant: 'acme', purpose: 'p', alg: 'ed25519', state: 'active', currentVersion: 1 },
  ...{ createdAtMs: 1, revision: 1, backend: 'software' },
};
const plainVersion: KeyVersion = {
  ...{ id, version: 1, state: 'active', createdAtMs: 1, revision: 1 },
  parts: [{ publicKey: Uint8Array.of(1), sealed: Uint8Array.of(2) }],
};

const placements = fc.record(
  {
    placement: fc.record({
      environment: fc.constantFrom(...environments),
      plane: fc.constantFrom(...planes),
    }),
    alias: names,
    validUntilMs: times,
    access: fc
      .record(
        {
          allowedModules: modules,
          requiresApproval: fc.constant(true as const),
          maxUsagePerDay: fc.integer({ min: 1, max: 1e9 }),
        },
        { requiredKeys: [] },
      )
      .filter((access) => Object.keys(access).length > 0),
  },
  { requiredKeys: ['placement'] },
);
const lifecycles = fc.record(
  {
    keyId: fc.uuid(),
    replacedAtMs: times,
    archivedAtMs: times,
    revoked: fc.record({ reason: fc.constantFrom(...revocationReasons), atMs: times }),
  },
  { requiredKeys: ['keyId'] },
);

test('heads and versions of keys with a placement survive being stored', () => {
  fc.assert(
    fc.property(placements, lifecycles, (placed, lifecycle) => {
      const head: KeyHead = { ...plainHead, ...placed };
      assert.deepEqual(
        structuredClone(decodeHead(headKey(id), encodeHead(head, testMac), testMac)),
        structuredClone(head),
      );
      const version: KeyVersion = { ...plainVersion, ...lifecycle };
      const stored = encodeVersion(version, testMac);
      assert.deepEqual(
        structuredClone(decodeVersion(versionKey(id, 1), kid, stored, testMac)),
        structuredClone(version),
      );
    }),
  );
});

test('keys without a placement have not a byte more than before', () => {
  const text = (storeKey: string, value: Uint8Array) =>
    Buffer.from(openAuthenticated(storeKey, value, testMac)!.text).toString();
  assert.equal(
    text(headKey(id), encodeHead(plainHead, testMac)),
    `{"v":2,"rev":1,"id":"${id}","state":"active","current":1,"created":1,"backend":"software"}`,
  );
  assert.equal(
    text(versionKey(id, 1), encodeVersion(plainVersion, testMac)),
    `{"v":2,"rev":1,"id":"${id}","version":1,"state":"active","created":1,"pub":["AQ=="]}`,
  );
});

test('a head that contradicts itself, or names what there is not, is not read', () => {
  const place = { env: 'dev', plane: 'laptop' };
  for (const more of [
    { alias: 'a' },
    { until: 5 },
    { access: { per_day: 1 } },
    { usages: ['sign', 'sign'] },
    { place: { env: 'qa', plane: 'laptop' } },
    { place: { env: 'dev', plane: 'moon' } },
    { place: { ...place, more: 1 } },
    { place, alias: 'two words' },
    { place, alias: '' },
    { place, access: {} },
    { place, access: { modules: [] } },
    { place, access: { modules: ['a', 'a'] } },
    { place, access: { modules: ['a b'] } },
    { place, access: { approval: false } },
    { place, access: { per_day: 0 } },
    { place, until: -1 },
  ]) {
    const text = JSON.stringify({ v: 2, rev: 1, id, state: 'active', current: 1, created: 1, ...more });
    const value = authenticated(headKey(id), text, testMac);
    assert.equal(decodeHead(headKey(id), value, testMac), undefined, JSON.stringify(more));
  }
});

test('a version that contradicts itself is not read', () => {
  const key_id = '11111111-2222-4333-8444-555555555555';
  for (const more of [
    { archived: 5 },
    { replaced: 5 },
    { revoked: { reason: 'retired', at: 5 } },
    { key_id: 'no uuid' },
    { key_id, revoked: { reason: 'bored', at: 5 } },
    { key_id, revoked: { reason: 'retired' } },
    { key_id, archived: -1 },
  ]) {
    const text = JSON.stringify({
      ...{ v: 2, rev: 1, id, version: 1, state: 'active', created: 1, pub: ['AQ=='], ...more },
    });
    const value = authenticated(versionKey(id, 1), text, testMac, JSON.stringify(['Ag==']));
    assert.equal(decodeVersion(versionKey(id, 1), kid, value, testMac), undefined, JSON.stringify(more));
  }
});
