import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import test from 'node:test';
import type { LoadRequest, LoadStream, StreamResult } from '../../bench/load/plan.ts';
import { askAll } from '../../bench/support/client.ts';
import { runLoad } from '../../bench/support/load.ts';

async function withServer(listener: RequestListener, use: (port: number) => Promise<void>): Promise<void> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await use((server.address() as AddressInfo).port);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const get = (path: string): LoadRequest => ({ method: 'GET', path, token: 'capability' });

async function load(port: number, stream: Partial<LoadStream>) {
  const streams = [
    { name: 'test', connections: 4, ratePerSecond: 0, requests: [get('/ok'), get('/refused')], ...stream },
  ];
  return runLoad({ host: '127.0.0.1', port, durationMs: 300, warmUpMs: 100, streams }, process.pid);
}

test('answers are counted by status, and those that succeed apart from the others', async () => {
  await withServer(
    (request, response) => {
      response.statusCode = request.url === '/ok' ? 200 : 429;
      response.end('x'.repeat(100));
    },
    async (port) => {
      const { streams, server, serverCpuUsPerAnswer } = await load(port, {});
      const { statuses, latencyMs, refusalMs, okPerSecond, answeredPerSecond } = streams[0] as StreamResult;
      assert.deepEqual(Object.keys(statuses).sort(), ['200', '429']);
      assert.equal(latencyMs.count, statuses['200']);
      assert.equal(refusalMs.count, statuses['429']);
      assert.ok(okPerSecond > 0 && okPerSecond < answeredPerSecond);
      assert.ok(server.answers > 0 && server.cpuUs > 0 && serverCpuUsPerAnswer > 0);
    },
  );
});

test('in an open loop requests are sent whether or not earlier ones are answered, and wait from when they were due', async () => {
  await withServer(
    () => {
      // Never answers.
    },
    async (port) => {
      const { streams } = await load(port, { connections: 2, ratePerSecond: 200 });
      const { unanswered, answeredPerSecond, sent } = streams[0] as StreamResult;
      assert.equal(answeredPerSecond, 0);
      assert.equal(sent, 2, 'as many as there are connections');
      assert.ok(unanswered > 2, 'what was due besides is not forgotten');
    },
  );
});

test('a connection that breaks under a request counts as an answer with status 0, and is opened again', async () => {
  let requests = 0;
  await withServer(
    (_, response) => {
      requests++;
      if (requests % 2 === 1) response.socket?.destroy();
      else response.end('ok');
    },
    async (port) => {
      const { streams } = await load(port, { connections: 1 });
      const { statuses } = streams[0] as StreamResult;
      assert.deepEqual(Object.keys(statuses).sort(), ['0', '200']);
    },
  );
});

test('bodies that come in pieces are whole, and in the order of their requests', async () => {
  await withServer(
    (request, response) => {
      const body = JSON.stringify({ path: request.url, fill: 'y'.repeat(200_000) });
      response.setHeader('content-length', body.length);
      response.write(body.slice(0, 50_000));
      setImmediate(() => response.end(body.slice(50_000)));
    },
    async (port) => {
      const requests = Array.from({ length: 50 }, (_, n) => get(`/${n}`));
      const answers = (await askAll(port, requests)) as { path: string; fill: string }[];
      assert.deepEqual(
        answers.map(({ path }) => path),
        requests.map(({ path }) => path),
      );
      assert.ok(answers.every(({ fill }) => fill.length === 200_000));
    },
  );
});

test('preparing a scenario fails with the first answer that is no success', async () => {
  await withServer(
    (_, response) => {
      response.statusCode = 404;
      response.end('{"error":{}}');
    },
    async (port) => {
      await assert.rejects(askAll(port, [get('/missing')]), /answered 404/);
    },
  );
});
