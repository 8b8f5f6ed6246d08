import assert from 'node:assert/strict';
import test from 'node:test';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { ok, refuse } from '../../src/core/result.ts';
import { WrappingKeys, wrappingKeyLivesMs } from '../../src/operations/sealing/wrapping-keys.ts';
import { codeOf, NamedParts, SetClock, unwrap } from '../support/keyring.ts';

const xWing = findAlgorithm('x25519+ml-kem-768')!;
const rsa = findAlgorithm('rsa-4096')!;
const opens = async () => ok('opened');
const material = (n: number) => Buffer.from(`material ${n}`);

function bench() {
  const custody = new NamedParts();
  const clock = new SetClock();
  return { custody, clock, keys: new WrappingKeys(custody, clock) };
}

test('a wrapping key is the tenant’s own, and one of each algorithm at a time', async () => {
  const { custody, keys } = bench();
  const one = unwrap(await keys.current('acme', xWing));
  assert.equal(unwrap(await keys.current('acme', xWing)).id, one.id);
  assert.notEqual(unwrap(await keys.current('acme', rsa)).id, one.id);
  const theirs = unwrap(await keys.current('globex', xWing));
  assert.notEqual(theirs.id, one.id);
  assert.equal(custody.made, 3);
  assert.equal(codeOf(keys.find('acme', theirs.id)), 'NotFound');
  assert.equal(codeOf(keys.find('globex', theirs.id.toUpperCase())), 'ok');
  assert.match(Buffer.from(one.reference).toString(), /^reference 0 acme wrapping-key\/[0-9a-f-]{36} /);
});

test('those who ask at the same time wait for one key', async () => {
  const { custody, keys } = bench();
  const asked = await Promise.all([1, 2, 3].map(() => keys.current('acme', rsa)));
  assert.equal(new Set(asked.map((key) => unwrap(key).id)).size, 1);
  assert.equal(custody.made, 1);
});

test('a key that could not be made is tried again', async () => {
  const { custody, keys } = bench();
  custody.failing = true;
  assert.equal(codeOf(await keys.current('acme', rsa)), 'Internal');
  custody.failing = false;
  assert.equal(codeOf(await keys.current('acme', rsa)), 'ok');
});

test('it lives an hour, and who asks in its second half gets another', async () => {
  const { clock, keys } = bench();
  const first = unwrap(await keys.current('acme', xWing));
  assert.equal(first.expiresAtMs, clock.nowMs + wrappingKeyLivesMs);
  clock.nowMs += wrappingKeyLivesMs / 2 + 1;
  const second = unwrap(await keys.current('acme', xWing));
  assert.notEqual(second.id, first.id);
  assert.equal(codeOf(await keys.bring('acme', first.id, material(1), opens)), 'ok');
  clock.nowMs = first.expiresAtMs;
  assert.equal(codeOf(await keys.bring('acme', first.id, material(2), opens)), 'NotFound');
  assert.equal(codeOf(await keys.bring('acme', second.id, material(2), opens)), 'ok');
});

test('a material is opened once; what failed elsewhere may come again', async () => {
  const { keys } = bench();
  const { id } = unwrap(await keys.current('acme', xWing));
  const unavailable = async () => refuse('StoreUnavailable');
  assert.equal(codeOf(await keys.bring('acme', id, material(1), unavailable)), 'StoreUnavailable');
  assert.equal(codeOf(await keys.bring('acme', id, material(1), opens)), 'ok');
  assert.equal(codeOf(await keys.bring('acme', id, material(1), opens)), 'Conflict');
  const both = await Promise.all([1, 2].map(() => keys.bring('acme', id, material(2), opens)));
  assert.deepEqual(both.map(codeOf).toSorted(), ['Conflict', 'ok']);
});

test('sixteen materials that do not open end it, and a thousand that do are as many as it takes', async () => {
  const { keys } = bench();
  const first = unwrap(await keys.current('acme', xWing));
  for (let n = 0; n < 16; n++)
    assert.equal(
      codeOf(await keys.bring('acme', first.id, material(n), async () => refuse('BadRequest'))),
      'BadRequest',
    );
  assert.equal(codeOf(keys.find('acme', first.id)), 'NotFound');
  const second = unwrap(await keys.current('acme', xWing));
  for (let n = 0; n < 1_000; n++)
    assert.equal(codeOf(await keys.bring('acme', second.id, material(n), opens)), 'ok');
  assert.equal(codeOf(await keys.bring('acme', second.id, material(1_000), opens)), 'NotFound');
  assert.notEqual(unwrap(await keys.current('acme', xWing)).id, second.id);
});

test('their number is bounded, and those that expired make room', async () => {
  const { clock, keys } = bench();
  for (let n = 0; n < 1_024; n++) assert.equal(codeOf(await keys.current(`t${n}`, xWing)), 'ok');
  assert.equal(codeOf(await keys.current('late', xWing)), 'Backpressure');
  assert.equal(codeOf(await keys.current('t7', xWing)), 'ok');
  clock.nowMs += wrappingKeyLivesMs;
  assert.equal(codeOf(await keys.current('late', xWing)), 'ok');
});

test('a clock that was set back lets no key outlive its hour behind an older one', async () => {
  const { clock, keys } = bench();
  const older = unwrap(await keys.current('acme', xWing));
  clock.nowMs -= wrappingKeyLivesMs;
  const younger = unwrap(await keys.current('globex', xWing));
  clock.nowMs = younger.expiresAtMs;
  assert.equal(codeOf(keys.find('globex', younger.id)), 'NotFound');
  assert.equal(codeOf(keys.find('acme', older.id)), 'ok');
});

test('a material that was opened for a change that did not happen may come again', async () => {
  const { keys } = bench();
  const { id } = unwrap(await keys.current('acme', xWing));
  assert.equal(codeOf(await keys.bring('acme', id, material(1), opens)), 'ok');
  keys.takeBack('globex', id, material(1));
  assert.equal(codeOf(await keys.bring('acme', id, material(1), opens)), 'Conflict');
  keys.takeBack('acme', id, material(1));
  assert.equal(codeOf(await keys.bring('acme', id, material(1), opens)), 'ok');
});
