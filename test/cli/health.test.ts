import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { intaglio } from './intaglio.ts';

async function answering(context: TestContext, answers: Readonly<Record<string, number>>): Promise<string> {
  const server = createServer(({ url = '' }, response) => {
    response.writeHead(answers[url] ?? 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ asked: url }));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  context.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('health says by its exit status whether a service is ready', async (context) => {
  const ready = await answering(context, { '/readyz': 200, '/healthz': 200 });
  const waiting = await answering(context, { '/readyz': 503, '/healthz': 200 });
  const other = await answering(context, {});
  const statuses = await Promise.all(
    [
      ['--url', ready],
      ['--url', `${ready}/`, '--live'],
      ['--url', waiting],
      ['--url', waiting, '--live'],
      ['--url', other],
      ['--url', 'http://127.0.0.1:1'],
      ['--url', 'file:///etc/passwd'],
    ].map(async (args) => (await intaglio(['health', ...args])).status),
  );
  assert.deepEqual(statuses, [0, 0, 3, 0, 1, 1, 1]);
});

test('health shows what is missing', async (context) => {
  const waiting = await answering(context, { '/readyz': 503 });
  const { stdout, stderr } = await intaglio(['health', '--url', waiting]);
  assert.deepEqual([stdout, stderr], ['', 'intaglio: not ready: {"asked":"/readyz"}\n']);
});
