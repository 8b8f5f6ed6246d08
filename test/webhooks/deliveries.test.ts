import assert from 'node:assert/strict';
import { createHmac, hash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import type { EventHistory } from '../../src/audit/event-history.ts';
import { ok, refuse } from '../../src/core/result.ts';
import { type PublishedEvent, publishedTypes } from '../../src/events/published-events.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Store } from '../../src/store/store.ts';
import { type DeliveryParts, maxWebhooksOfTenant, WebhookDeliveries } from '../../src/webhooks/deliveries.ts';
import { WebhookStore } from '../../src/webhooks/webhook-store.ts';
import { SetClock, testMac, until, unwrap } from '../support/keyring.ts';

interface Received {
  readonly id: string;
  readonly signature: string;
  readonly timestamp: string;
  readonly body: string;
}

type Answer = (res: ServerResponse, req: IncomingMessage, received: number) => void;

/** A receiver on loopback. */
async function receiver(t: TestContext, answer: Answer = (res) => void res.writeHead(204).end()) {
  const received: Received[] = [];
  const server = createServer((req, res) => {
    let body = '';
    req.on('data', (chunk) => {
      body += chunk;
    });
    req.on('end', () => {
      const header = (name: string) => String(req.headers[name]);
      const [id, signature, timestamp] = ['id', 'signature', 'timestamp'].map((one) =>
        header(`webhook-${one}`),
      );
      received.push({ id, signature, timestamp, body } as Received);
      answer(res, req, received.length);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { received, url: `http://127.0.0.1:${port}/hook`, port };
}

/** A log in which one thing after another happens. */
class Log implements EventHistory {
  readonly events: (PublishedEvent | undefined)[] = [];
  origin = 'log/1';

  get end() {
    return this.events.length;
  }

  get size() {
    return this.events.length;
  }

  async page(tenant: string, from: number) {
    const next = Math.min(this.end, from + 2);
    const events = this.events
      .slice(from, next)
      .flatMap((event, n) => (event?.tenant_id === tenant ? [{ index: from + n, event }] : []));
    return ok({ events, next });
  }

  happens(more: Partial<PublishedEvent> = {}) {
    const n = this.events.length;
    this.events.push({
      ...{ event_id: `00000000-0000-8000-8000-00000000000${n}`, event_type: 'key_rotated' },
      ...{ ts: '2027-01-15T08:00:00.000Z', tenant_id: 'acme', environment: 'prod', plane: 'laptop' },
      ...{ source: 'M33', payload: { n }, ...more },
    });
  }
}

const times = { retryAfterMs: [1_000, 60_000], timeoutMs: 2_000, lookEveryMs: 5 };

async function openDeliveries(
  t: TestContext,
  log: Log,
  more: Partial<DeliveryParts> = {},
  store: Store = new MemoryStore(),
) {
  const clock = new SetClock();
  const attempts: string[] = [];
  const givenUp: string[] = [];
  const corrupt: string[] = [];
  const deliveries = unwrap(
    await WebhookDeliveries.open({
      ...{ history: log, origin: () => log.origin, rule: 'development', times, clock },
      store: new WebhookStore(store, testMac, (key) => corrupt.push(key)),
      secretOf: async ({ id }) => ok(Buffer.from(hash('sha256', id), 'hex')),
      resolve: async () => [{ address: '127.0.0.1', family: 4 }],
      observer: {
        attempted: (result) => attempts.push(result),
        gaveUp: (_, reason) => givenUp.push(reason),
      },
      ...more,
    }),
  );
  t.after(() => deliveries.close());
  const add = (url: string, wanted = {}) =>
    deliveries.add(
      { tenant: 'acme', environment: 'prod', plane: 'laptop', url, types: publishedTypes, ...wanted },
      async () => ok(undefined),
    );
  return { deliveries, clock, attempts, givenUp, corrupt, add, store };
}

const numbersOf = (received: readonly Received[]) => received.map(({ body }) => JSON.parse(body).payload.n);

test('events from now on are sent in their order, each signed with the secret that was told once', async (t) => {
  const { received, url } = await receiver(t);
  const log = new Log();
  log.happens();
  const { deliveries, add, attempts, clock } = await openDeliveries(t, log);
  const { secret, id } = unwrap(await add(url));
  for (let n = 0; n < 5; n++) log.happens();
  log.happens({ tenant_id: 'globex' });
  deliveries.start();
  await until(() => attempts.length === 5);
  assert.deepEqual(numbersOf(received), [1, 2, 3, 4, 5]);
  assert.deepEqual(attempts, Array(5).fill('ok'));
  const key = Buffer.from(secret.replace('whsec_', ''), 'base64');
  assert.equal(key.length, 32);
  for (const { id, timestamp, signature, body } of received) {
    assert.equal(id, JSON.parse(body).event_id);
    assert.equal(timestamp, String(clock.nowMs / 1_000));
    const mac = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64');
    assert.equal(signature, `v1,${mac}`);
  }
  const [view] = deliveries.list('acme');
  assert.equal(view?.id, id);
  assert.ok(!JSON.stringify(view).includes('whsec'));
  assert.deepEqual(deliveries.list('globex'), []);
});

test('only events of its types and its place are sent', async (t) => {
  const { received, url } = await receiver(t);
  const log = new Log();
  const { deliveries, add } = await openDeliveries(t, log);
  unwrap(await add(url, { types: ['key_rotated', 'key_revoked'] }));
  log.happens();
  log.happens({ event_type: 'signature_created' });
  log.happens({ environment: 'dev' });
  log.happens({ plane: 'shared' });
  log.happens({ environment: null, plane: null, event_type: 'key_revoked' });
  log.happens();
  deliveries.start();
  await until(() => received.length === 3);
  assert.deepEqual(numbersOf(received), [0, 4, 5]);
});

test('a receiver that fails gets the same event again, later and later, and the next one behind it', async (t) => {
  const { received, url } = await receiver(t, (res, _, n) => void res.writeHead(n < 3 ? 500 : 200).end());
  const log = new Log();
  const { deliveries, add, attempts, clock } = await openDeliveries(t, log);
  unwrap(await add(url));
  log.happens();
  log.happens();
  deliveries.start();
  await until(() => attempts.length === 1);
  assert.deepEqual(deliveries.list('acme')[0]?.state, { attempts: 1, givenUp: 0, disabled: false });
  clock.nowMs += 999;
  deliveries.look();
  assert.equal(received.length, 1);
  clock.nowMs += 200;
  await until(() => attempts.length === 2);
  clock.nowMs += 66_001;
  await until(() => attempts.length === 4);
  assert.deepEqual(numbersOf(received), [0, 0, 0, 1]);
  assert.equal(new Set(received.slice(0, 3).map(({ id }) => id)).size, 1, 'receivers know it by its id');
  assert.deepEqual(attempts, ['5xx', '5xx', 'ok', 'ok']);
});

test('an event is given up after all attempts, and the ones behind it are sent', async (t) => {
  const { received, url } = await receiver(t, (res, _, n) => void res.writeHead(n < 4 ? 404 : 200).end());
  const log = new Log();
  const { deliveries, add, attempts, clock, givenUp } = await openDeliveries(t, log);
  unwrap(await add(url));
  log.happens();
  log.happens();
  deliveries.start();
  for (let n = 1; n <= 3; n++) {
    await until(() => attempts.length >= n);
    clock.nowMs += 100_000;
  }
  await until(() => received.length === 4);
  assert.deepEqual(numbersOf(received), [0, 0, 0, 1]);
  assert.deepEqual(givenUp, ['attempts']);
  await until(() => deliveries.list('acme')[0]?.state.givenUp === 1);
});

test('a receiver that is gone for good gets nothing more', async (t) => {
  const { received, url } = await receiver(t, (res) => void res.writeHead(410).end());
  const log = new Log();
  const store = new MemoryStore();
  const { deliveries, add, givenUp } = await openDeliveries(t, log, {}, store);
  unwrap(await add(url));
  log.happens();
  log.happens();
  deliveries.start();
  await until(() => deliveries.list('acme')[0]?.state.disabled === true);
  deliveries.look();
  await deliveries.close();
  assert.deepEqual([received.length, givenUp], [1, ['gone']]);
  const again = await openDeliveries(t, log, {}, store);
  assert.equal(again.deliveries.list('acme')[0]?.state.disabled, true);
});

test('redirects are not followed, bodies not read, and a receiver that is slow is broken off', async (t) => {
  const other = await receiver(t);
  const answers: Answer[] = [
    (res) => void res.writeHead(302, { location: other.url }).end(),
    (res) => void res.writeHead(200).write('x'.repeat(1_000_000)),
    () => {},
    (res) => void res.writeHead(200, { 'x-large': 'x'.repeat(20_000) }).end(),
  ];
  const { received, url } = await receiver(t, (res, req, n) => answers[n - 1]?.(res, req, n));
  const log = new Log();
  const quick = { ...times, retryAfterMs: [], timeoutMs: 300 };
  const { deliveries, add, attempts } = await openDeliveries(t, log, { times: quick });
  unwrap(await add(url));
  for (let n = 0; n < 4; n++) log.happens();
  deliveries.start();
  await until(() => attempts.length === 4);
  assert.deepEqual(attempts, ['3xx', 'ok', 'timeout', 'hpe_header_overflow']);
  assert.deepEqual(numbersOf(received), [0, 1, 2, 3]);
  assert.equal(other.received.length, 0);
});

test('a name that comes to mean this machine is not connected to', async (t) => {
  const { received, port } = await receiver(t);
  const log = new Log();
  let address = '93.184.215.14';
  const { deliveries, add, attempts } = await openDeliveries(t, log, {
    rule: 'public',
    resolve: async () => [{ address, family: 4 }],
  });
  unwrap(await add(`https://rebinding.example:${port}/`));
  address = '127.0.0.1';
  log.happens();
  deliveries.start();
  await until(() => attempts.length === 1);
  assert.deepEqual([attempts, received.length], [['not_public'], 0]);
  const refused = await add('https://rebinding.example/');
  assert.equal(!refused.ok && refused.failure.code, 'BadRequest');
});

test('over a restart nothing is lost, and what was sent is not sent again', async (t) => {
  const { received, url } = await receiver(t, (res, _, n) => void res.writeHead(n === 3 ? 503 : 200).end());
  const log = new Log();
  const store = new MemoryStore();
  const first = await openDeliveries(t, log, {}, store);
  const { id } = unwrap(await first.add(url));
  for (let n = 0; n < 3; n++) log.happens();
  first.deliveries.start();
  await until(() => first.attempts.length === 3);
  await first.deliveries.close();
  log.happens();
  const second = await openDeliveries(t, log, {}, store);
  assert.deepEqual(second.deliveries.find('acme', id)?.state, { attempts: 1, givenUp: 0, disabled: false });
  second.deliveries.start();
  second.clock.nowMs += 5_000;
  await until(() => received.length === 5);
  assert.deepEqual(numbersOf(received), [0, 1, 2, 2, 3]);
  const [{ signature }] = received.slice(-1) as [Received];
  assert.match(signature, /^v1,/, 'with the same secret');
});

test('another log is read from its beginning', async (t) => {
  const { received, url } = await receiver(t);
  const log = new Log();
  for (let n = 0; n < 5; n++) log.happens();
  const { deliveries, add } = await openDeliveries(t, log);
  unwrap(await add(url));
  log.events.length = 0;
  log.origin = 'log/2';
  log.happens();
  deliveries.start();
  await until(() => received.length === 1);
});

test('a webhook that is removed gets nothing more, and its records are gone', async (t) => {
  const { received, url } = await receiver(t);
  const log = new Log();
  const { deliveries, add, store } = await openDeliveries(t, log);
  const { id } = unwrap(await add(url));
  const allow = async () => ok(undefined);
  assert.equal((await deliveries.remove('globex', id, allow)).ok, false);
  const refusal = refuse('NoCapability');
  assert.deepEqual(await deliveries.remove('acme', id, async () => refusal), refusal);
  assert.equal(deliveries.list('acme').length, 1);
  unwrap(await deliveries.remove('acme', id.toUpperCase(), allow));
  log.happens();
  deliveries.look();
  assert.deepEqual([received.length, deliveries.list('acme')], [0, []]);
  assert.deepEqual(unwrap(await store.list({ prefix: 'webhook', limit: 10 })), []);
});

test('a webhook is removed at once while its receiver does not answer', async (t) => {
  const log = new Log();
  const at = await receiver(t, () => {});
  const { deliveries, add, attempts } = await openDeliveries(t, log, {
    times: { ...times, timeoutMs: 3_600_000 },
  });
  const { id } = unwrap(await add(at.url));
  log.happens();
  deliveries.look();
  await until(() => at.received.length === 1);
  unwrap(await deliveries.remove('acme', id, async () => ok(undefined)));
  assert.deepEqual(deliveries.list('acme'), []);
  assert.deepEqual(attempts, []);
});

test('a tenant has so many webhooks at most, also where they are added at once', async (t) => {
  const { add } = await openDeliveries(t, new Log());
  const made = await Promise.all(
    Array.from({ length: maxWebhooksOfTenant + 3 }, () => add('http://127.0.0.1:1/')),
  );
  assert.equal(made.filter(({ ok }) => ok).length, maxWebhooksOfTenant);
  assert.ok(made.every((one) => one.ok || one.failure.code === 'Conflict'));
  assert.ok((await add('http://127.0.0.1:1/', { tenant: 'globex' })).ok);
});

test('what is not authentic in the store is told and sends nothing; a store that is away refuses the start', async (t) => {
  const log = new Log();
  const store = new MemoryStore();
  const { add, deliveries } = await openDeliveries(t, log, {}, store);
  unwrap(await add('http://127.0.0.1:1/'));
  await deliveries.close();
  const [entry] = unwrap(await store.list({ prefix: 'webhook/', limit: 1 }));
  const text = Buffer.from(entry!.value).toString('latin1').replace('127.0.0.1', '127.0.0.2');
  await store.commit([{ key: entry!.key, value: Buffer.from(text, 'latin1') }]);
  const again = await openDeliveries(t, log, {}, store);
  assert.deepEqual([again.corrupt, again.deliveries.list('acme')], [[entry!.key], []]);
});
