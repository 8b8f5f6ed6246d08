import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { registry } from '../../src/algorithms/registry.ts';
import { usages } from '../../src/algorithms/work-kinds.ts';
import {
  decodeHead,
  decodeOperation,
  decodeVersion,
  encodeHead,
  encodeOperation,
  encodeVersion,
  headKey,
  versionKey,
} from '../../src/keys/codec.ts';
import { formatId, maxVersion, parseKid } from '../../src/keys/kid.ts';
import type { KeyHead, KeyVersion } from '../../src/keys/record.ts';
import { testMac } from '../support/keyring.ts';

const kids = fc
  .tuple(fc.constantFrom(...registry), fc.uuid())
  .map(([algorithm, uuid]) => parseKid(formatId('acme', 'p', algorithm, uuid))!);
const versions = fc.integer({ min: 1, max: maxVersion });
const times = fc.integer({ min: 0, max: 2 ** 45 });
const blobs = fc.uint8Array({ maxLength: 3_000 });
const states = fc.constantFrom('active' as const, 'destroyed' as const);

/** A Buffer becomes the Uint8Array that it is. */
function plain<T>(value: T): T {
  return structuredClone(value);
}

const policies = fc.option(
  fc.oneof(
    fc.string({ minLength: 1 }).map((label) => ({ adopt: { label } })),
    fc.constantFrom('00', 'ab01').map((idHex) => ({ adopt: { idHex } })),
  ),
  { nil: undefined },
);
const schedules = fc.option(
  fc.record(
    { afterDays: fc.integer({ min: 1, max: 3_650 }), keepVersions: versions, sinceMs: times },
    { requiredKeys: ['afterDays', 'sinceMs'] },
  ),
  { nil: undefined },
);
const limits = fc.option(fc.subarray([...usages], { minLength: 1 }), { nil: undefined });

test('heads, versions and operations survive being stored', () => {
  fc.assert(
    fc.property(kids, versions, times, states, fc.array(blobs), limits, policies, schedules, (...any) => {
      const [kid, number, time, state, material, limited, policy, schedule] = any;
      const head: KeyHead = {
        id: kid.id,
        tenant: kid.tenant,
        purpose: kid.purpose,
        alg: kid.algorithm.name,
        state,
        currentVersion: number,
        createdAtMs: time,
        revision: number,
        backend: 'software',
        ...(limited === undefined ? {} : { usages: limited }),
        ...(policy === undefined ? {} : { policy: plain(policy) }),
        ...(schedule === undefined ? {} : { rotation: plain(schedule) }),
      };
      assert.deepEqual(decodeHead(headKey(kid.id), encodeHead(head, testMac), testMac), head);
      const version: KeyVersion = {
        id: kid.id,
        version: number,
        state,
        createdAtMs: time,
        revision: number,
        parts: kid.algorithm.components.map((_, index) => ({
          publicKey: material[index] ?? Uint8Array.of(index),
          ...(state === 'active' ? { sealed: material[index + 1] ?? new Uint8Array() } : {}),
        })),
      };
      const storeKey = versionKey(kid.id, number);
      assert.deepEqual(
        plain(decodeVersion(storeKey, kid, encodeVersion(version, testMac), testMac)),
        plain(version),
      );
      const operation = {
        atMs: time,
        digest: new Uint8Array(32).fill(number % 256),
        id: kid.id,
        version: number,
      };
      assert.deepEqual(plain(decodeOperation(encodeOperation(operation))), plain(operation));
    }),
  );
});

test('the order of version names is the order of versions', () => {
  fc.assert(
    fc.property(kids, versions, versions, (kid, one, two) => {
      assert.equal(versionKey(kid.id, one) < versionKey(kid.id, two), one < two);
    }),
  );
});

test('bytes that are no record, or a record in another place, are refused and never throw', () => {
  fc.assert(
    fc.property(
      kids,
      fc.oneof(
        blobs,
        fc.json().map((text) => Buffer.from(text)),
      ),
      (kid, bytes) => {
        assert.equal(decodeHead(headKey(kid.id), bytes, testMac), undefined);
        assert.equal(decodeVersion(versionKey(kid.id, 1), kid, bytes, testMac), undefined);
        assert.equal(decodeOperation(bytes), undefined);
      },
    ),
  );
  fc.assert(
    fc.property(kids, kids, versions, (kid, other, number) => {
      fc.pre(kid.id !== other.id && number > 1);
      const parts = kid.algorithm.components.map(() => ({ publicKey: Uint8Array.of(1) }));
      const of = { id: kid.id, version: number, createdAtMs: 0, revision: 1 };
      const bytes = encodeVersion({ ...of, state: 'destroyed', parts }, testMac);
      assert.equal(decodeVersion(versionKey(other.id, number), other, bytes, testMac), undefined);
      assert.equal(decodeVersion(versionKey(kid.id, number), other, bytes, testMac), undefined);
      assert.equal(decodeVersion(versionKey(kid.id, number - 1), kid, bytes, testMac), undefined);
    }),
  );
});
