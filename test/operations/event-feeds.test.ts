import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { EventHistory } from '../../src/audit/event-history.ts';
import { ok } from '../../src/core/result.ts';
import type { Caller } from '../../src/core/scope.ts';
import { keptEvents, type NewEvent, ServiceEvents } from '../../src/events/event-source.ts';
import { publishedEventOf } from '../../src/events/published-events.ts';
import { EventFeeds, type FeedSink, maxFeeds } from '../../src/operations/receipts/event-feeds.ts';
import { acme } from '../support/operations.ts';

const clock = { utcMs: () => 1_800_000_000_000 };
const opId = '0192f7c1-5b1e-4c3a-9d2e-1f2a3b4c5d6e';

const event = (index: number, more: Partial<NewEvent> = {}): NewEvent => ({
  ...{ index, kind: 'key.rotated', tenant: 'acme', keyId: 'acme/p/ed25519/x', version: 2, alg: 'ed25519' },
  ...{ operation: 'rotate', result: 'ok', actor: 'cap:1', opId, data: {}, ...more },
});

/** A client that takes everything, unless it is told to stop. */
class Client implements FeedSink {
  text = '';
  ended = false;
  reads = true;
  #caughtUp: (() => void)[] = [];
  #onEnd: () => void = () => {};

  send(text: string) {
    this.text += text;
    return this.reads ? undefined : new Promise<void>((resolve) => this.#caughtUp.push(resolve));
  }

  goOn() {
    this.reads = true;
    for (const caughtUp of this.#caughtUp.splice(0)) caughtUp();
  }

  end() {
    this.ended = true;
    this.#onEnd();
  }

  onEnd(listener: () => void) {
    this.#onEnd = listener;
  }

  get events() {
    return [...this.text.matchAll(/^id: (.*)\nevent: (.*)\ndata: (.*)$/gm)].map(([, id, type, data]) => ({
      id,
      type,
      data: JSON.parse(data as string),
    }));
  }
}

function feedsOf(events: ServiceEvents, history?: EventHistory) {
  const feeds = new EventFeeds({ events, history });
  const open = (more: { types?: ['key_rotated']; lastEventId?: string } = {}, caller: Caller = acme) => {
    const client = new Client();
    const feed = feeds.request({ types: more.types, lastEventId: more.lastEventId }, caller);
    assert.ok(feed.ok, JSON.stringify(feed));
    feed.value.open(client);
    return client;
  };
  return { feeds, open };
}

async function settled(): Promise<void> {
  for (let n = 0; n < 300; n++) await turn();
}

test('a feed has the events of its tenant, environments and planes, with envelope and payload', async () => {
  const events = new ServiceEvents(clock);
  const { open, feeds } = feedsOf(events);
  const placement = { environments: ['prod'], planes: 'all' as const, module: 'm' };
  const everywhere = { ...placement, environments: 'all' as const };
  const [all, prod] = [everywhere, placement].map((own) => open({}, { ...acme, placement: own })) as [
    Client,
    Client,
  ];
  const nowhere = open();
  events.publish(event(5, { tenant: 'globex' }));
  events.publish(event(6, { kind: 'config.reloaded' }));
  const place = (environment: string) => ({ environment, plane: 'laptop', key_id: 'k' });
  events.publish(event(7, { kind: 'key.created', operation: 'create', version: 1, data: place('dev') }));
  events.publish(event(8, { data: place('prod') }));
  const verified = { kind: 'key.used', operation: 'verify', result: 'invalid' };
  events.publish(event(9, verified));
  events.publish(event(10, { kind: 'key.used', operation: 'sign', result: 'error:Internal' }));
  events.publish(event(11, { kind: 'trust.anchor.added', keyId: undefined, alg: 'none', version: 0 }));
  await settled();
  const types = ['key_generated', 'key_rotated', 'signature_verified', 'trust_anchor_updated'];
  assert.deepEqual(
    all.events.map(({ type }) => type),
    types,
  );
  assert.deepEqual(
    prod.events.map(({ type }) => type),
    types.slice(1),
  );
  assert.deepEqual(
    nowhere.events.map(({ type }) => type),
    types.slice(2),
    'what has no place',
  );
  assert.match(all.text, /^retry: 3000\n\n/);
  const [generated, , checked] = all.events;
  assert.equal(generated?.id, '7-7');
  assert.deepEqual(generated?.data, {
    event_id: '00000000-0007-8c3a-9d2e-1f2a3b4c5d6e',
    ...{ event_type: 'key_generated', ts: '2027-01-15T08:00:00.000Z', tenant_id: 'acme' },
    ...{ environment: 'dev', plane: 'laptop', source: 'M33' },
    payload: {
      ...{
        key_id: 'k',
        kid: 'acme/p/ed25519/x#v1',
        algorithm: 'ed25519',
        operation: 'create',
        audit_index: 7,
      },
    },
  });
  assert.equal(checked?.data.payload.valid, false);
  feeds.close();
  assert.ok(all.ended && prod.ended);
  assert.equal(feeds.count, 0);
});

test('uses of keys cost nothing while nobody asks for their types', () => {
  const events = new ServiceEvents(clock);
  const { feeds, open } = feedsOf(events);
  open({ types: ['key_rotated'] });
  assert.equal(events.wantsUses, false);
  const all = open();
  assert.equal(events.wantsUses, true);
  all.end();
  assert.equal(events.wantsUses, false);
  feeds.close();
});

test('a client that comes back goes on after the event that it saw last', async () => {
  const events = new ServiceEvents(clock);
  const { feeds, open } = feedsOf(events);
  for (let n = 10; n < 20; n++) events.publish(event(n));
  const client = open({ lastEventId: '14-14' });
  await settled();
  assert.deepEqual(
    client.events.map(({ id }) => id),
    ['15-15', '16-16', '17-17', '18-18', '19-19'],
  );
  for (const lastEventId of ['', 'x', '-', '1-2-3', '9'.repeat(20)])
    assert.equal(feeds.request({ types: undefined, lastEventId }, acme).ok, false, lastEventId);
  feeds.close();
});

test('one that was away over a restart gets from the log what it missed, once, and then what happens now', async () => {
  const events = new ServiceEvents(clock);
  let end = 3;
  const asked: number[] = [];
  const history: EventHistory = {
    get end() {
      return end;
    },
    size: 6,
    async page(_tenant, from) {
      asked.push(from);
      const next = Math.min(end, from + 2);
      const indexes = Array.from({ length: next - from }, (_, n) => from + n);
      const told = (index: number) =>
        publishedEventOf({ ...event(index), atMs: 0, index }, index) as NonNullable<
          ReturnType<typeof publishedEventOf>
        >;
      return ok({ events: indexes.map((index) => ({ index, event: told(index) })), next });
    },
  };
  const { feeds, open } = feedsOf(events, history);
  const client = open({ lastEventId: '7-1' });
  // On the log already, and told by both.
  events.publish(event(5));
  events.publish(event(7));
  await settled();
  assert.deepEqual(
    client.events.map(({ id }) => id),
    ['-2'],
    'what is under no checkpoint yet is waited for',
  );
  end = 6;
  while (client.events.length < 5) await new Promise((resolve) => setTimeout(resolve, 10));
  await settled();
  assert.deepEqual(
    client.events.map(({ id }) => id),
    ['-2', '-3', '-4', '-5', '6-7'],
  );
  assert.equal(open({ lastEventId: '-5' }).ended, false);
  feeds.close();
});

test('there are 64 feeds at most, and room again when one has ended', () => {
  const { feeds, open } = feedsOf(new ServiceEvents(clock));
  const clients = Array.from({ length: maxFeeds }, () => open());
  const refused = feeds.request({ types: undefined, lastEventId: undefined }, acme);
  assert.equal(!refused.ok && refused.failure.code, 'Backpressure');
  clients[3]?.end();
  open();
  assert.equal(feeds.count, maxFeeds);
  feeds.close();
});

test('no tenant keeps others out: where all feeds are taken, the one with most makes room', () => {
  const { feeds, open } = feedsOf(new ServiceEvents(clock));
  const globex: Caller = { ...acme, tenant: 'globex' };
  const clients = Array.from({ length: maxFeeds }, () => open());
  const others = Array.from({ length: maxFeeds / 2 }, () => open({}, globex));
  assert.equal(feeds.count, maxFeeds);
  assert.ok(clients.slice(0, maxFeeds / 2).every(({ ended }) => !ended));
  assert.ok(clients.slice(maxFeeds / 2).every(({ ended }) => ended));
  assert.ok(others.every(({ ended }) => !ended));
  for (const caller of [acme, globex]) {
    const refused = feeds.request({ types: undefined, lastEventId: undefined }, caller);
    assert.equal(!refused.ok && refused.failure.code, 'Backpressure');
  }
  feeds.close();
});

test('a client that does not read holds up nobody and is dropped once it is a whole buffer behind', async () => {
  const events = new ServiceEvents(clock);
  const { feeds, open } = feedsOf(events);
  const [slow, quick] = [open(), open()];
  slow.reads = false;
  for (let n = 0; n < 100; n++) events.publish(event(n));
  await settled();
  assert.equal(slow.events.length, 1);
  assert.equal(quick.events.length, 100);
  for (let n = 0; n < keptEvents + 10; n++) {
    events.publish(event(100 + n));
    if (n % 1_000 === 0) await settled();
  }
  await settled();
  assert.ok(!slow.ended, 'nobody looks while it takes nothing');
  slow.goOn();
  await settled();
  assert.ok(slow.ended);
  assert.equal(feeds.count, 1);
  assert.ok(!quick.ended);
  feeds.close();
});

test('a client that reads nothing for two heartbeats is dropped; others get a comment', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const { feeds, open } = feedsOf(new ServiceEvents(clock));
  const [slow, quick] = [open(), open()];
  slow.reads = false;
  t.mock.timers.tick(15_000);
  assert.ok(quick.text.endsWith('\n\n:\n\n'));
  t.mock.timers.tick(15_000);
  t.mock.timers.tick(15_000);
  assert.deepEqual([slow.ended, quick.ended], [true, false]);
  feeds.close();
});
