import assert from 'node:assert/strict';
import { existsSync, unlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { listenOn } from '../../src/core/sockets/listen-on.ts';
import { UnixSocketFile } from '../../src/core/sockets/unix-socket.ts';
import { StartError } from '../../src/core/start-error.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

test('a server that cannot listen, however often it is tried, has no listeners left of it, and listens later', async (t) => {
  const directory = temporaryDirectory(t);
  const server = createServer();
  t.after(() => server.close());
  const counts = () => ['listening', 'error'].map((name) => server.listenerCount(name));
  const before = counts();
  for (let tries = 0; tries < 20; tries++)
    await assert.rejects(listenOn(server, { path: join(directory, 'missing', 'a.sock') }), StartError);
  assert.deepEqual(counts(), before);
  await listenOn(server, { path: join(directory, 'a.sock') });
  assert.deepEqual(counts(), before);
});

test('a stop at the moment at which a socket is bound again leaves none behind', async (t) => {
  const path = join(temporaryDirectory(t), 'run', 'a.sock');
  const server = createServer();
  const leave = () => file.leave(() => server.close());
  let times = 0;
  const left = Promise.withResolvers<void>();
  const file = new UnixSocketFile(
    { path, mode: 0o600, rule: { groupAllowed: false }, lookEveryMs: 5 },
    {
      listen() {
        const listening = listenOn(server, { path });
        if (++times === 2) {
          // The socket is bound, and nobody has been told yet.
          assert.ok(existsSync(path));
          queueMicrotask(() => {
            leave();
            left.resolve();
          });
        }
        return listening;
      },
      stopListening: () => void server.close(),
    },
  );
  t.after(leave);
  await file.bind();
  unlinkSync(path);
  await left.promise;
  assert.equal(existsSync(path), false);
});
