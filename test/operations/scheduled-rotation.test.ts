import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { startScheduledRotation } from '../../src/assemble/rotation.ts';
import type { Config } from '../../src/config/load.ts';
import { refuse } from '../../src/core/result.ts';
import { dueAtMs, RotationSchedule } from '../../src/keys/rotation-schedule.ts';
import type { Logger } from '../../src/observe/log.ts';
import type { RotationMetrics } from '../../src/observe/series/rotation-metrics.ts';
import { codeOf, ed25519, makeKeyring, SetClock, until, unwrap } from '../support/keyring.ts';
import { acme, openOperations } from '../support/operations.ts';

const dayMs = 86_400_000;
const graceDays = 7;

function start(t: TestContext, more: Parameters<typeof openOperations>[1] = {}) {
  const bench = openOperations(t, more);
  const told: string[] = [];
  const logged: string[] = [];
  const log = {
    info: (_: unknown, text: string) => logged.push(text),
    warn: (_: unknown, text: string) => logged.push(text),
    error: (_: unknown, text: string) => logged.push(text),
  } as unknown as Logger;
  const metrics: RotationMetrics = { done: (...what) => told.push(what.join(' ')), scheduled: () => {} };
  const counted: string[] = [];
  const rotation = startScheduledRotation({
    settings: { now: { rotationGraceDays: graceDays } as Config },
    ...{ schedule: bench.schedule, keyring: bench.keyring, metrics, log, clock: bench.clock },
    operations: () => bench.operations,
    done: (...what) => counted.push(what.join(' ')),
  });
  t.after(() => rotation.close());
  const make = async (afterDays: number | undefined, keepVersions?: number) => {
    const rotates =
      afterDays === undefined ? {} : { rotation: { afterDays, ...(keepVersions ? { keepVersions } : {}) } };
    const { kid } = unwrap(
      await bench.keyring.create({
        tenant: 'acme',
        actor: 'x',
        purpose: 'p',
        algorithm: ed25519,
        ...rotates,
      }),
    );
    return kid.replace('#v1', '');
  };
  const versionOf = async (id: string) =>
    unwrap(await bench.keyring.describe('acme', id)).head.currentVersion;
  const statesOf = async (id: string) =>
    unwrap(await bench.keyring.describe('acme', id)).versions.map(({ state }) => state);
  return { ...bench, ...{ rotation, make, versionOf, statesOf, told, logged, counted } };
}

test('a key is rotated when its days are over, once, and then again', async (t) => {
  const { make, rotation, versionOf, clock, told, counted } = start(t);
  const id = await make(90);
  clock.nowMs += 80 * dayMs;
  await rotation.look();
  assert.equal(await versionOf(id), 1);
  clock.nowMs += 10 * dayMs;
  await rotation.look();
  await rotation.look();
  assert.equal(await versionOf(id), 2);
  clock.nowMs += 90 * dayMs;
  await rotation.look();
  assert.equal(await versionOf(id), 3);
  assert.deepEqual(told, ['rotated ok', 'rotated ok']);
  assert.deepEqual(counted, ['rotate ok', 'rotate ok']);
});

test('a key without a schedule is never rotated, and neither is one that was destroyed', async (t) => {
  const { make, rotation, versionOf, clock, operations, told } = start(t);
  const plain = await make(undefined);
  const gone = await make(1);
  unwrap(await operations.destroy.run({ kid: gone, version: undefined, name: undefined }, acme));
  clock.nowMs += 3_650 * dayMs;
  await rotation.look();
  assert.equal(await versionOf(plain), 1);
  assert.equal(await versionOf(gone), 1);
  assert.deepEqual(told, []);
});

test('who rotates a key by hand begins its days anew', async (t) => {
  const { make, rotation, versionOf, clock, operations } = start(t);
  const id = await make(30);
  clock.nowMs += 25 * dayMs;
  unwrap(await operations.rotate.run({ kid: id, name: undefined }, acme));
  clock.nowMs += 20 * dayMs;
  await rotation.look();
  assert.equal(await versionOf(id), 2);
});

test('the schedule is found again in the records: nothing else is kept', async (t) => {
  const { make, clock, inner, schedule } = start(t);
  const id = await make(30, 3);
  assert.equal(schedule.size, 1);
  const again = makeKeyring(t, {}, inner);
  await until(() => again.schedule.size === 1);
  assert.deepEqual(again.schedule.due(clock.nowMs + 30 * dayMs), [
    { ...schedule.due(clock.nowMs + 30 * dayMs)[0] },
  ]);
  assert.equal(again.schedule.due(clock.nowMs + 30 * dayMs)[0]?.id, id);
});

test('a rotation that is refused comes again later, and does not hold up the others', async (t) => {
  let fails = true;
  const { make, rotation, versionOf, clock, custody, logged, told } = start(t);
  const [first, second] = [await make(1), await make(1)];
  custody.beforeGenerate = async () => {
    custody.failing = fails && custody.asked.startsWith(first);
  };
  clock.nowMs += 2 * dayMs;
  await rotation.look();
  assert.equal(await versionOf(first), 1);
  assert.equal(await versionOf(second), 2);
  fails = false;
  await rotation.look();
  assert.equal(await versionOf(first), 1);
  clock.nowMs += 11 * 60_000;
  await rotation.look();
  assert.equal(await versionOf(first), 2);
  assert.ok(logged.includes('THE SCHEDULE OF A KEY IS NOT KEPT'));
  assert.ok(told.includes('rotated Internal'));
});

test('what policy refuses is not rotated by a schedule either', async (t) => {
  const { make, rotation, versionOf, clock, told } = start(t, { allowedAlgorithms: new Set() });
  const id = await make(1);
  clock.nowMs += 2 * dayMs;
  await rotation.look();
  assert.equal(await versionOf(id), 1);
  assert.match(told[0] ?? '', /rotated (PolicyViolation|Unsupported)/);
});

test('versions that are no longer kept are destroyed after the grace, and asked about once', async (t) => {
  const { make, rotation, statesOf, clock, store } = start(t);
  const id = await make(10, 2);
  for (let n = 0; n < 3; n++) {
    clock.nowMs += 10 * dayMs;
    await rotation.look();
  }
  assert.deepEqual(await statesOf(id), ['active', 'active', 'active', 'active']);
  clock.nowMs += graceDays * dayMs;
  await rotation.look();
  assert.deepEqual(await statesOf(id), ['active', 'active', 'destroyed', 'destroyed']);
  const { list, get } = { ...store.calls };
  await rotation.look();
  assert.deepEqual({ list: store.calls.list, get: store.calls.get }, { list, get });
});

test('a schedule and an end at the same time: what is under way is waited for, and nothing begins after', async (t) => {
  const { make, rotation, versionOf, clock, custody } = start(t);
  const ids = [await make(1), await make(1), await make(1)];
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  custody.beforeGenerate = () => held;
  clock.nowMs += 2 * dayMs;
  const looking = rotation.look();
  const closing = rotation.close();
  release();
  await Promise.all([looking, closing]);
  const versions = await Promise.all(ids.map(versionOf));
  assert.equal(versions.filter((version) => version === 2).length, 1);
});

test('keys that were made together are due at different moments, none later than its days', () => {
  const sinceMs = 1_800_000_000_000;
  const moments = Array.from({ length: 200 }, (_, n) =>
    dueAtMs(`acme/p/ed25519/${n}`, { afterDays: 90, sinceMs }),
  );
  assert.ok(new Set(moments).size > 190);
  for (const moment of moments) {
    assert.ok(moment <= sinceMs + 90 * dayMs);
    assert.ok(moment > sinceMs + 89 * dayMs);
  }
  assert.equal(dueAtMs('a', { afterDays: 1, sinceMs }), dueAtMs('a', { afterDays: 1, sinceMs }));
});

test('an old head that a scan brings late does not undo what a change said', async (t) => {
  const { make, keyring, clock, schedule } = start(t);
  const id = await make(1);
  const before = unwrap(await keyring.describe('acme', id)).head;
  unwrap(await keyring.rotate({ tenant: 'acme', actor: 'x', kid: id }));
  schedule.heard(before);
  assert.equal(schedule.due(clock.nowMs + dayMs)[0]?.version, 2);
  assert.equal(new RotationSchedule().size, 0);
});

test('refusals of a store are told by their code', async (t) => {
  const { make, rotation, clock, store, told } = start(t);
  await make(1);
  clock.nowMs += 2 * dayMs;
  store.failing.add('commit');
  await rotation.look();
  assert.deepEqual(told, [`rotated ${codeOf(refuse('StoreUnavailable'))}`]);
  assert.ok(new SetClock().nowMs > 0);
});

test('keys with a placement are rotated too, until they are archived, revoked or past their end', async (t) => {
  const { keyring, rotation, clock, versionOf, told } = start(t);
  const placement = { environment: 'prod', plane: 'laptop' } as const;
  const make = async (more: object = {}) => {
    const asked = { tenant: 'acme', actor: 'x', purpose: 'p', algorithm: ed25519, placement };
    const made = unwrap(await keyring.create({ ...asked, rotation: { afterDays: 10 }, ...more }));
    return made.kid.replace('#v1', '');
  };
  const [rotated, archived, revoked] = [await make(), await make(), await make()];
  const ended = await make({ validUntilMs: clock.nowMs + 9 * dayMs });
  const by = { tenant: 'acme', actor: 'x' };
  unwrap(await keyring.archive({ ...by, kid: `${archived}#v1` }));
  unwrap(await keyring.revoke({ ...by, kid: `${revoked}#v1`, reason: 'retired' }));
  clock.nowMs += 10 * dayMs;
  await rotation.look();
  const versions = await Promise.all([rotated, archived, revoked, ended].map(versionOf));
  assert.deepEqual(versions, [2, 1, 1, 1]);
  assert.deepEqual(told, ['rotated ok']);
  const { versions: both } = unwrap(await keyring.describe('acme', rotated));
  assert.ok(both.every(({ keyId }) => keyId !== undefined));
});

test('a clock that is 400 days ahead for a while destroys nothing early, and the keys of that time are named', async (t) => {
  const { make, rotation, versionOf, statesOf, keyring, clock, logged } = start(t);
  const hourMs = dayMs / 24;
  let aheadMs = 0;
  clock.utcMs = () => clock.nowMs + aheadMs;
  const [keeping, due] = [await make(730, 1), await make(90)];
  unwrap(await keyring.rotate({ tenant: 'acme', actor: 'x', kid: keeping }));
  clock.nowMs += 2 * hourMs;
  await rotation.look();
  aheadMs = 400 * dayMs;
  await rotation.look();
  assert.deepEqual(await statesOf(keeping), ['active', 'active'], 'its grace has 7 days');
  assert.equal(await versionOf(due), 2);
  aheadMs = 0;
  for (let look = 0; look < 2; look++) {
    clock.nowMs += 2 * hourMs;
    await rotation.look();
  }
  assert.equal(await versionOf(due), 2, 'not rotated again and again');
  assert.equal(logged.filter((text) => text.startsWith('THE DAYS OF A KEY BEGIN IN THE FUTURE')).length, 1);
  clock.nowMs += 8 * dayMs;
  await rotation.look();
  assert.deepEqual(await statesOf(keeping), ['active', 'destroyed'], 'when it is over the old one goes');
});
