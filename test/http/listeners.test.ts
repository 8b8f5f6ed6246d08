import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { listenUws } from '../../src/http/listeners/uws.ts';
import { RawConnection } from '../support/requests.ts';

const doubtful = ['Transfer-Encoding: chunked', 'Content-Length: 5\r\nContent-Length: 0'];

for (const line of doubtful) {
  test(`a client that reads none of its answers has nothing begun behind a refused request: ${line}`, async () => {
    const begun: string[] = [];
    let refused = 0;
    const connections = { total: 10, perAddress: 10 };
    const listener = await listenUws(
      { host: '127.0.0.1', port: 0, maxBodyBytes: 1_000, bodyTimeoutMs: 5_000, connections },
      {
        onExchange({ path, respond }) {
          begun.push(path);
          void respond({ status: 200, headers: [], body: 'x'.repeat(15_000) });
        },
        refused() {
          refused++;
          return { status: 400, headers: [], body: '{}', close: true };
        },
        onRefusal() {},
      },
    );
    const connection = new RawConnection(Number(new URL(listener.url).port));
    connection.socket.pause();
    // 30 MB of answers: several times what a system buffers for one connection whose client does not read.
    const unread = 2_000;
    const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
    connection.send(
      `${get('/').repeat(unread)}POST / HTTP/1.1\r\nHost: x\r\n${line}\r\n\r\n0\r\n\r\n${get('/behind')}`,
    );
    while (refused === 0) await delay(5);
    connection.socket.resume();
    await connection.closed();
    listener.close();
    assert.equal(begun.length, unread);
    assert.ok(!begun.includes('/behind'));
  });
}
