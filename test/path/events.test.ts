import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { ok, refuse } from '../../src/core/result.ts';
import type { AnyEndpoint, Dialect } from '../../src/http/dialect.ts';
import type { Operations } from '../../src/operations/operations.ts';
import type { EventFeed } from '../../src/operations/receipts/event-feeds.ts';
import { startInProcess } from '../support/in-process.ts';
import { until } from '../support/keyring.ts';
import { placedCredentials } from '../support/kms-v1.ts';
import { RawConnection } from '../support/requests.ts';
import { call, helloWorldB3, temporaryDirectory } from '../support/service.ts';

/** Feeds and webhooks, with requests as the operations take them. */
function eventsDialect({ receipts }: Operations): Dialect {
  const json = { present: (body: unknown) => ({ status: 200, body }) };
  const parse: AnyEndpoint['parse'] = ({ body }) => ok(JSON.parse(Buffer.from(body).toString() || '{}'));
  const endpoints: Readonly<Record<string, AnyEndpoint>> = {
    events: {
      operation: receipts.events,
      parse: ({ query }) => ok({ types: undefined, lastEventId: query === '' ? undefined : query }),
      present: (feed: EventFeed) => ({
        ...{ status: 200, contentType: 'text/event-stream' },
        stream: (to) => feed.open(to),
      }),
    },
    add: { ...json, operation: receipts.add_webhook, parse },
    list: { ...json, operation: receipts.list_webhooks, parse },
    remove: { ...json, operation: receipts.remove_webhook, parse },
  };
  return {
    owns: (path) => path.startsWith('/told/'),
    credentials: placedCredentials,
    find(_method, path) {
      const endpoint = endpoints[path.slice('/told/'.length)];
      return endpoint === undefined ? refuse('NotFound') : ok({ endpoint, named: undefined });
    },
    presentFailure: ({ code, hint }) => ({ status: 400, body: { code, hint } }),
  };
}

const dialects = (operations: Operations) => [eventsDialect(operations)];

test('a feed over HTTP tells of keys and signatures, and goes on from the log after a restart', async () => {
  const dataDir = temporaryDirectory();
  const start = () => startInProcess({ dataDir, dialects, listen: true });
  let service = await start();
  const token = await service.mint('acme');
  const post = (path: string, body: unknown) => call(service, token, 'POST', `/v1/kms${path}`, body);
  const listen = (query = '') => {
    const connection = new RawConnection(service.port);
    connection.send(`GET /told/events${query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`);
    const events = () =>
      [...connection.received.matchAll(/id: (\S+)\nevent: (\w+)\n/g)].map(([, ...of]) => of);
    return { connection, events };
  };
  const first = listen();
  await first.connection.until(() => first.connection.received.includes('retry: 3000'));
  assert.match(first.connection.received, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(first.connection.received, /\r\ncontent-type: text\/event-stream\r\n/);
  assert.match(first.connection.received, /\r\ncache-control: no-store\r\n/);
  assert.match(first.connection.received, /\r\nx-receipt-id: [0-9a-f-]{36}\r\n/);
  const { kid } = (await post('/keys', { purpose: 'p', alg: 'ed25519' })).body;
  await post('/sign', { kid, payload_b3: helloWorldB3 });
  await first.connection.until(() => first.events().length === 2);
  const [made, signed] = first.events() as [string[], string[]];
  assert.deepEqual([made[1], signed[1]], ['key_generated', 'signature_created']);
  first.connection.socket.destroy();
  assert.ok((await post(`/keys/${encodeURIComponent(kid.split('#')[0])}/rotate`, {})).status < 300);
  assert.equal(await service.stop(), 0);
  service = await start();
  const again = listen(`?${signed[0]}`);
  await again.connection.until(() => again.events().length === 1);
  assert.equal(again.events()[0]?.[1], 'key_rotated');
  const id = again.events()[0]?.[0] as string;
  await post('/sign', { kid: kid.split('#')[0], payload_b3: helloWorldB3 });
  await again.connection.until(() => again.events().length === 2);
  assert.match(id, /^-\d+$/);
  again.connection.socket.destroy();
  assert.equal(await service.stop(), 0);
});

test('a webhook needs an approval, tells its secret once, and gets what happened while its receiver was away', async (t) => {
  const dataDir = temporaryDirectory();
  const env = {
    ...{ KMS_M33: 'true', KMS_ENVIRONMENT: 'development', KMS_WEBHOOK_TARGETS: 'development' },
    ...{ KMS_M33_DEV_IDENTITY: 'true', KMS_M33_DEV_APPROVALS: 'yes' },
  };
  const start = () => startInProcess({ dataDir, dialects, env });
  let service = await start();
  const token = await service.mint('acme', 'kms:admin,kms:create,kms:audit');
  const ask = (what: string, body: unknown = {}, by = token) =>
    call(service, by, 'POST', `/told/${what}`, body);
  const received: string[] = [];
  const receiver = createServer((req, res) => {
    req.on('data', (chunk) => received.push(JSON.parse(String(chunk)).event_type));
    req.on('end', () => res.writeHead(204).end());
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  t.after(() => receiver.close());
  const { port } = receiver.address() as AddressInfo;
  const wanted = {
    ...{ tenant: 'acme', environment: 'prod', plane: 'laptop', url: `http://127.0.0.1:${port}/s3cret` },
    requestSha256: '0'.repeat(64),
  };
  assert.equal((await ask('add', wanted)).body.code, 'NoCapability');
  assert.equal((await ask('add', { ...wanted, approval: 'no' })).body.code, 'NoCapability');
  assert.equal(
    (await ask('add', { ...wanted, tenant: 'globex', approval: 'yes' })).body.code,
    'NoCapability',
  );
  const added = await ask('add', { ...wanted, approval: 'yes' });
  assert.match(added.body.secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
  assert.ok(added.headers.get('x-receipt-id'));
  const { body: listed } = await ask('list');
  assert.deepEqual([listed.length, listed[0].id, listed[0].secret], [1, added.body.id, undefined]);
  const other = await service.mint('globex', 'kms:admin');
  assert.deepEqual((await ask('list', {}, other)).body, []);
  const make = () => call(service, token, 'POST', '/v1/kms/keys', { purpose: 'p', alg: 'ed25519' });
  assert.equal((await make()).status, 201);
  await until(() => received.length === 1);
  assert.equal(await service.stop(), 0);
  receiver.closeAllConnections();
  service = await start();
  assert.equal((await make()).status, 201);
  await until(() => received.length === 2);
  assert.deepEqual(received, ['key_generated', 'key_generated']);
  const { records } = (await call(service, token, 'GET', '/v1/kms/audit/records?limit=1000')).body;
  const kept = JSON.stringify(records);
  assert.ok(kept.includes('"webhook.added"') && !kept.includes('s3cret') && !kept.includes('whsec_'));
  const id = { webhookId: added.body.id };
  assert.equal((await ask('remove', { ...id, approval: 'yes' }, other)).body.code, 'NotFound');
  assert.equal((await ask('remove', { ...id, approval: 'yes' })).status, 200);
  assert.deepEqual((await ask('list')).body, []);
  assert.equal(await service.stop(), 0);
});
