import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { suite } from 'node:test';
import type { LoadPlan, LoadRequest, LoadStream, PartResult, StreamResult } from '../../bench/load/plan.ts';
import { askAll } from '../../bench/support/client.ts';
import {
  chooseGenerator,
  type Generator,
  nativeGenerator,
  nativeGeneratorProblem,
  nodeGenerator,
} from '../../bench/support/generator.ts';
import { runLoad } from '../../bench/support/load.ts';
import { temporaryDirectory } from '../support/service.ts';

async function withServer(
  listener: RequestListener,
  use: (port: number) => Promise<void>,
  path?: string,
): Promise<void> {
  const server = createServer(listener);
  path === undefined ? server.listen(0, '127.0.0.1') : server.listen(path);
  await once(server, 'listening');
  try {
    await use(path === undefined ? (server.address() as AddressInfo).port : 0);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const get = (path: string): LoadRequest => ({ method: 'GET', path, token: 'capability' });

const sendTwoKinds = [get('/ok'), get('/refused')];

function planOf(port: number, stream: Partial<LoadStream>): LoadPlan {
  const streams = [{ name: 'test', connections: 4, ratePerSecond: 0, requests: sendTwoKinds, ...stream }];
  return { host: '127.0.0.1', port, durationMs: 300, warmUpMs: 100, streams };
}

/** What both generators do alike. `npm test` does not build the native one. */
function behaves(generator: Generator, skip: string | false): void {
  const load = async (port: number, stream: Partial<LoadStream>) => {
    const result = await runLoad(planOf(port, stream), process.pid, generator);
    return { ...result, stream: result.streams[0] as StreamResult };
  };

  test('answers are counted by status, and those that succeed apart from the others', { skip }, async () => {
    await withServer(
      (request, response) => {
        response.statusCode = request.url === '/ok' ? 200 : 429;
        response.end('x'.repeat(100));
      },
      async (port) => {
        const { stream, server, serverCpuUsPerAnswer, generatorCpuShare, elapsedMs } = await load(port, {});
        const { statuses, latencyMs, refusalMs, okPerSecond, answeredPerSecond } = stream;
        assert.deepEqual(Object.keys(statuses).sort(), ['200', '429']);
        assert.equal(latencyMs.count, statuses['200']);
        assert.equal(refusalMs.count, statuses['429']);
        assert.ok(latencyMs.p50 > 0 && latencyMs.p50 <= latencyMs.p999 && latencyMs.p999 <= latencyMs.max);
        assert.ok(okPerSecond > 0 && okPerSecond < answeredPerSecond);
        assert.ok(server.answers > 0 && server.cpuUs > 0 && serverCpuUsPerAnswer > 0);
        assert.ok(server.mainThreadUs > 0 && server.mainThreadUs <= server.cpuUs);
        assert.ok(generatorCpuShare > 0 && elapsedMs >= 300);
      },
    );
  });

  test('a Unix socket carries the same', { skip }, async () => {
    const path = join(temporaryDirectory(), 'load.sock');
    await withServer(
      (_, response) => response.end('x'.repeat(100)),
      async (port) => {
        const plan = { ...planOf(port, { connections: 2 }), via: { path } };
        const { streams, server } = await runLoad(plan, process.pid, generator);
        const [{ statuses, latencyMs }] = streams as [StreamResult];
        assert.deepEqual(Object.keys(statuses), ['200']);
        assert.ok(latencyMs.count > 0 && server.answers > 0);
      },
      path,
    );
  });

  test('rates change when they are to, a caller gives up what it cannot send, and both are told in parts', {
    skip,
  }, async () => {
    await withServer(
      (request, response) => {
        // Only the first are answered.
        if (request.url === '/ok') response.end();
      },
      async (port) => {
        const laterRates = [{ fromMs: 200, ratePerSecond: 2_000 }];
        const { stream } = await load(port, { ratePerSecond: 100, laterRates, givesUp: true, windowMs: 20 });
        const { phases = [], windows = [], unsent, sent } = stream;
        assert.equal(phases.length, 2);
        const [before, after] = phases as [PartResult, PartResult];
        assert.deepEqual([before.fromMs, before.toMs, after.fromMs], [100, 200, 200]);
        assert.ok(before.sent + before.unsent < after.sent + after.unsent);
        assert.ok(unsent > 0 && unsent >= before.unsent + after.unsent && sent > 0);
        assert.ok(windows.length >= 10 && windows[1]?.fromMs === 120);
        const ok = (parts: readonly PartResult[]) => parts.reduce((sum, part) => sum + part.ok, 0);
        assert.equal(ok(windows), ok(phases));
      },
    );
  });

  test('in an open loop requests are sent whether or not earlier ones are answered, and wait from when they were due', {
    skip,
  }, async () => {
    await withServer(
      () => {
        // Never answers.
      },
      async (port) => {
        const { stream } = await load(port, { connections: 2, ratePerSecond: 200 });
        const { unanswered, answeredPerSecond, sent } = stream;
        assert.equal(answeredPerSecond, 0);
        assert.equal(sent, 2, 'as many as there are connections');
        assert.ok(unanswered > 2, 'what was due besides is not forgotten');
      },
    );
  });

  test('in an open loop what waits for a connection is sent in the end, timed from when it was due', {
    skip,
  }, async () => {
    await withServer(
      (_, response) => {
        setTimeout(() => response.end('ok'), 20);
      },
      async (port) => {
        // One connection brings at most 50 a second.
        const { stream } = await load(port, { connections: 1, ratePerSecond: 400 });
        assert.ok(stream.sent > 2);
        assert.ok(stream.unanswered > stream.sent);
        assert.ok(stream.latencyMs.max > 100, `the last waited for ${stream.latencyMs.max} ms`);
      },
    );
  });

  test('several streams send their requests in turn, each at its own pace', { skip }, async () => {
    const paths: string[] = [];
    await withServer(
      (request, response) => {
        paths.push(`${request.method} ${request.url} ${request.headers['x-kind']}`);
        request.resume().on('end', () => response.end('ok'));
      },
      async (port) => {
        const headers = { 'X-Kind': 'posted' };
        const post = (path: string): LoadRequest => ({
          ...get(path),
          method: 'POST',
          body: '{"é":1}',
          headers,
        });
        const streams = [
          {
            name: 'slow',
            connections: 2,
            ratePerSecond: 100,
            requests: [post('/1'), post('/2'), post('/3')],
          },
          { name: 'quick', connections: 1, ratePerSecond: 0, requests: [get('/4')] },
        ];
        const result = await runLoad({ ...planOf(port, {}), streams, niceness: 1 }, process.pid, generator);
        const [slow, quick] = result.streams as [StreamResult, StreamResult];
        assert.deepEqual([slow.name, quick.name], ['slow', 'quick']);
        assert.ok(slow.sent < quick.sent);
        assert.equal(slow.statuses['0'], undefined);
        const posted = paths.filter((path) => path.startsWith('POST'));
        const expected = ['POST /1 posted', 'POST /2 posted', 'POST /3 posted'];
        assert.deepEqual([...new Set(posted)].sort(), expected);
        assert.ok(posted.length <= slow.sent && posted.length >= slow.sent - 2, 'two may be under way');
      },
    );
  });

  test('a connection that breaks under a request counts as an answer with status 0, and is opened again', {
    skip,
  }, async () => {
    let requests = 0;
    await withServer(
      (_, response) => {
        requests++;
        if (requests % 2 === 1) response.socket?.destroy();
        else response.end('ok');
      },
      async (port) => {
        const { stream } = await load(port, { connections: 1 });
        assert.deepEqual(Object.keys(stream.statuses).sort(), ['0', '200']);
      },
    );
  });

  test('answers that come in pieces, and large ones, are counted once', { skip }, async () => {
    await withServer(
      (request, response) => {
        const body = 'y'.repeat(300_000);
        response.setHeader('content-length', body.length);
        response.flushHeaders();
        setImmediate(() => response.write(body.slice(0, 50_000)));
        setTimeout(() => response.end(body.slice(50_000)), 1);
        request.resume();
      },
      async (port) => {
        const { stream } = await load(port, { connections: 2 });
        assert.deepEqual(Object.keys(stream.statuses), ['200']);
        assert.ok(stream.latencyMs.count > 2);
      },
    );
  });

  test('it ends by itself when nobody listens any more', { skip }, async () => {
    let port = 0;
    await withServer(
      () => {},
      async (open) => {
        port = open;
      },
    );
    for (const ratePerSecond of [0, 500]) {
      const { stream } = await load(port, { ratePerSecond });
      assert.deepEqual(Object.keys(stream.statuses), ['0']);
      assert.equal(stream.okPerSecond, 0);
    }
  });
}

suite('the generator in Node', () => behaves(nodeGenerator, false));

suite('the native generator', () => {
  const skip = nativeGeneratorProblem() ?? false;
  behaves(nativeGenerator, skip);

  test('it loads nothing but the loopback interface', { skip }, async () => {
    const plan = { ...planOf(1, {}), host: '192.0.2.1' as '127.0.0.1' };
    await assert.rejects(runLoad(plan, process.pid, nativeGenerator), /without an answer/);
  });

  test('it sleeps while nothing is due', { skip }, async () => {
    await withServer(
      (_, response) => response.end('ok'),
      async (port) => {
        const plan = planOf(port, { connections: 1, ratePerSecond: 50 });
        const { generatorCpuShare } = await runLoad(plan, process.pid, nativeGenerator);
        assert.ok(generatorCpuShare < 0.5, `it took ${generatorCpuShare} of a core`);
      },
    );
  });
});

test('a choice of generator that there is not is refused', async () => {
  assert.equal(await chooseGenerator('node'), nodeGenerator);
  await assert.rejects(chooseGenerator('fast'), /auto, native, node/);
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
