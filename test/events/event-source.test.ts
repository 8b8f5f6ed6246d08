import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { AuditEvent, AuditRecorder } from '../../src/audit/audit-log.ts';
import { keepsNothing, publishing } from '../../src/audit/publishing.ts';
import { ok, refuse } from '../../src/core/result.ts';
import {
  keptEvents,
  type NewEvent,
  ServiceEvents,
  type Subscription,
} from '../../src/events/event-source.ts';

const clock = { utcMs: () => 1_800_000_000_000 };

const event = (index: number | undefined, kind = 'key.rotated', tenant = 'acme'): NewEvent => ({
  ...{ index, kind, tenant, keyId: 'acme/p/ed25519/x', version: 2, alg: 'ed25519', operation: 'rotate' },
  ...{ result: 'ok', actor: 'cap:1', opId: 'op', data: {} },
});

function subscribed(subscription: Subscription | 'gone' | 'full'): Subscription {
  assert.ok(typeof subscription !== 'string', String(subscription));
  return subscription;
}

async function settled(): Promise<void> {
  for (let n = 0; n < 300; n++) await turn();
}

test('listeners get events in their order, after the call that made them', async () => {
  const events = new ServiceEvents(clock);
  const seen: (number | undefined)[] = [];
  subscribed(events.subscribe(({ index }) => void seen.push(index)));
  for (let n = 5; n < 200; n++) events.publish(event(n));
  assert.deepEqual(seen, []);
  await settled();
  assert.deepEqual(
    seen,
    Array.from({ length: 195 }, (_, n) => n + 5),
  );
});

test('a listener goes on after the cursor that it saw last; an older or unknown one is gone', async () => {
  const events = new ServiceEvents(clock);
  assert.equal(
    events.subscribe(() => {}, { after: 3 }),
    'gone',
  );
  for (let n = 0; n < 10; n++) events.publish(event(100 + 3 * n));
  const seen: number[] = [];
  subscribed(events.subscribe(({ cursor }) => void seen.push(cursor), { after: 104 }));
  await settled();
  assert.deepEqual(seen, [105, 106, 107, 108, 109]);
  assert.equal(events.newest, 109);
  for (const after of [98, 110, -1])
    assert.equal(
      events.subscribe(() => {}, { after }),
      'gone',
      String(after),
    );
  subscribed(events.subscribe(() => {}, { after: 99 }));
  for (let n = 0; n < keptEvents; n++) events.publish(event(1_000 + n));
  assert.equal(
    events.subscribe(() => {}, { after: 108 }),
    'gone',
  );
});

test('cursors of a log that goes on are beyond those before', () => {
  const before = new ServiceEvents(clock);
  for (const index of [7, 9, 30]) before.publish(event(index));
  const after = new ServiceEvents(clock);
  after.publish(event(31));
  assert.ok((after.newest as number) > (before.newest as number));
});

test('one that throws, or rejects, ends alone', async () => {
  const events = new ServiceEvents(clock);
  const ends: string[] = [];
  const onEnd = (why: string) => void ends.push(why);
  let good = 0;
  const thrower = () => {
    throw new Error('a bug');
  };
  subscribed(events.subscribe(thrower, { onEnd }));
  subscribed(events.subscribe(() => Promise.reject(new Error('a bug')), { onEnd }));
  subscribed(events.subscribe(() => void good++));
  for (let n = 0; n < 3; n++) events.publish(event(n));
  await settled();
  assert.deepEqual(ends, ['failed', 'failed']);
  assert.equal(good, 3);
});

test('a slow one keeps nobody waiting, and ends where it has fallen too far behind', async () => {
  const events = new ServiceEvents(clock);
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const ends: string[] = [];
  let [slow, quick] = [0, 0];
  subscribed(
    events.subscribe(
      async () => {
        slow++;
        await held;
      },
      { onEnd: (why) => void ends.push(why) },
    ),
  );
  subscribed(events.subscribe(() => void quick++));
  for (let n = 0; n < keptEvents + 10; n++) {
    events.publish(event(n));
    if (n % 64 === 0) await turn();
  }
  await settled();
  assert.equal(quick, keptEvents + 10);
  assert.equal(slow, 1);
  release();
  await settled();
  assert.deepEqual(ends, ['behind']);
});

test('uses of keys and other tenants’ events are for who asks', async () => {
  const events = new ServiceEvents(clock);
  const [all, some]: [string[], string[]] = [[], []];
  const uses = subscribed(events.subscribe(({ kind }) => void all.push(kind), { uses: true }));
  subscribed(events.subscribe(({ tenant }) => void some.push(tenant), { tenant: 'acme' }));
  assert.equal(events.wantsUses, true);
  events.publish(event(1, 'key.used'));
  events.publish(event(2, 'key.rotated', 'other'));
  events.publish(event(3));
  await settled();
  assert.deepEqual(all, ['key.used', 'key.rotated', 'key.rotated']);
  assert.deepEqual(some, ['acme']);
  uses.end();
  uses.end();
  assert.equal(events.wantsUses, false);
});

test('so many may listen and no more, and all end with the service', async () => {
  const events = new ServiceEvents(clock);
  const ends: string[] = [];
  const all = Array.from({ length: 256 }, () =>
    subscribed(events.subscribe(() => {}, { onEnd: (why) => void ends.push(why) })),
  );
  assert.equal(
    events.subscribe(() => {}),
    'full',
  );
  all[0]?.end();
  subscribed(events.subscribe(() => {}));
  events.close();
  assert.equal(ends.length, 255);
  assert.equal(
    events.subscribe(() => {}),
    'gone',
  );
  events.publish(event(1));
});

const change = (type: string, more: Partial<AuditEvent> = {}): AuditEvent => ({
  ...{ actor: 'cap:1', alg: 'ed25519', inputDigest: undefined, keyId: 'acme/p/ed25519/x', keyVersion: 1 },
  ...{ opId: 'op', purpose: 'create', result: 'ok', tenant: 'acme', type, ...more },
});

test('a change of a key is told when it is in the store, and never where it did not happen', async () => {
  const events = new ServiceEvents(clock);
  const seen: string[] = [];
  subscribed(events.subscribe(({ kind }) => void seen.push(kind)));
  const recorder = publishing(keepsNothing, events);
  await recorder.append(change('key.create'), 'synced');
  await settled();
  assert.deepEqual(seen, []);
  recorder.changeCommitted('acme/p/ed25519/x');
  await recorder.append(change('key.rotate'), 'synced');
  await recorder.append(change('key.rotate', { result: 'error:Conflict' }), 'written');
  recorder.changeCommitted('acme/p/ed25519/x');
  await recorder.append(change('key.create', { data: { source: 'derived', derived_from: 'y' } }), 'synced');
  recorder.changeCommitted('acme/p/ed25519/x');
  await recorder.append(change('token.mint', { keyId: 'acme/-' }), 'synced');
  await settled();
  assert.deepEqual(seen, ['key.created', 'key.derived', 'token.mint']);
});

test('so is a change of a trust anchor', async () => {
  const events = new ServiceEvents(clock);
  const seen: string[] = [];
  subscribed(events.subscribe(({ kind, data }) => void seen.push(`${kind} ${data.change}`)));
  const recorder = publishing(keepsNothing, events);
  const of = (word: string, more: Partial<AuditEvent> = {}) =>
    change('trust_anchor.updated', { keyId: 'acme/-', data: { change: word }, ...more });
  await recorder.append(of('added'), 'synced');
  await recorder.append(of('added', { result: 'error:Conflict' }), 'written');
  await recorder.append(of('removed'), 'synced');
  await settled();
  assert.deepEqual(seen, []);
  recorder.changeCommitted('acme/-');
  await settled();
  assert.deepEqual(seen, ['trust_anchor.updated removed']);
});

test('what the log did not take is not told', async () => {
  const events = new ServiceEvents(clock);
  let told = 0;
  subscribed(events.subscribe(() => void told++));
  const full: AuditRecorder = { ...keepsNothing, append: async () => refuse('AuditUnavailable') };
  const recorder = publishing(full, events);
  assert.equal((await recorder.append(change('token.mint'), 'synced')).ok, false);
  await settled();
  assert.equal(told, 0);
});

test('a use of a key goes straight to the log while nobody asks for uses', async () => {
  const events = new ServiceEvents(clock);
  const appended = Promise.resolve(ok({ index: 4, seq: 1 }));
  const recorder = publishing({ ...keepsNothing, append: () => appended }, events);
  const { type: _, ...use } = change('');
  assert.equal(recorder.append(use, 'written'), appended);
  const seen: (number | undefined)[] = [];
  subscribed(events.subscribe(({ index }) => void seen.push(index), { uses: true }));
  await recorder.append(use, 'written');
  await settled();
  assert.deepEqual(seen, [4]);
});
