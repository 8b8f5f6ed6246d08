import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import type { Peer } from '../../src/core/peer.ts';
import { StartError } from '../../src/core/start-error.ts';
import { countConnections } from '../../src/http/connections.ts';
import { UnixListener, type UnixOptions } from '../../src/http/listeners/unix.ts';
import { RawConnection } from '../support/requests.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const uid = process.getuid?.() as number;
const gid = process.getgid?.() as number;
const modeOf = (path: string) => statSync(path).mode & 0o777;
const get = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

interface Started {
  readonly peers: Peer[];
  readonly refusals: string[];
  readonly listener: UnixListener;
}

async function start(t: TestContext, path: string, more: Partial<UnixOptions> = {}): Promise<Started> {
  const peers: Peer[] = [];
  const refusals: string[] = [];
  const listener = new UnixListener({
    ...{ path, mode: 0o600, allowedUids: 'any', maxBodyBytes: 1_000, bodyTimeoutMs: 1_000 },
    connections: countConnections({ total: 100, perAddress: 100 }),
    ...more,
  });
  t.after(() => listener.close());
  await listener.listen({
    onExchange(exchange) {
      peers.push(exchange.peer());
      exchange.respond({ status: 200, headers: [], body: 'hello' });
    },
    refused: () => ({ status: 400, headers: [], body: '' }),
    onRefusal: (reason) => void refusals.push(reason),
  });
  return { peers, refusals, listener };
}

async function ask(t: TestContext, path: string): Promise<string> {
  const connection = new RawConnection(connect(path));
  t.after(() => connection.socket.destroy());
  connection.send(get);
  return connection.closed();
}

test('a missing directory is made 0700, and the socket 0600', async (t) => {
  const path = join(temporaryDirectory(t), 'run', 'intaglio', 'kms.sock');
  await start(t, path);
  assert.deepEqual([modeOf(join(path, '..')), modeOf(path)], [0o700, 0o600]);
  assert.match(await ask(t, path), /hello$/);
});

test('the socket has the permissions that are asked for, and goes with the listener', async (t) => {
  const path = join(temporaryDirectory(t), 'kms.sock');
  const { listener } = await start(t, path, { mode: 0o660 });
  assert.equal(modeOf(path), 0o660);
  listener.stopAccepting();
  assert.equal(existsSync(path), false);
});

for (const mode of [0o720, 0o702, 0o1777]) {
  test(`a directory that others may write to is refused: ${mode.toString(8)}`, async (t) => {
    const directory = join(temporaryDirectory(t), 'run');
    mkdirSync(directory);
    chmodSync(directory, mode);
    await assert.rejects(start(t, join(directory, 'kms.sock')), StartError);
  });
}

test('a socket on which somebody answers is left alone, and so is what is no socket', async (t) => {
  const directory = temporaryDirectory(t);
  const live = join(directory, 'live.sock');
  await start(t, live);
  await assert.rejects(start(t, live), /another process has it/);
  assert.match(await ask(t, live), /hello$/);
  const file = join(directory, 'file');
  writeFileSync(file, '');
  await assert.rejects(start(t, file), /no socket/);
});

test('a socket on which nobody answers is replaced', async (t) => {
  const path = join(temporaryDirectory(t), 'kms.sock');
  const dead = createServer().listen(`${path}.first`);
  await once(dead, 'listening');
  // The second name stays behind when the server goes.
  linkSync(`${path}.first`, path);
  dead.close();
  await start(t, path);
  assert.match(await ask(t, path), /hello$/);
});

test('a socket that took the place of ours stays where it is when we go', async (t) => {
  for (const end of ['stopAccepting', 'close'] as const) {
    const path = join(temporaryDirectory(t), 'kms.sock');
    const { listener } = await start(t, path);
    unlinkSync(path);
    await start(t, path);
    const { ino } = statSync(path);
    listener[end]();
    assert.equal(statSync(path).ino, ino);
    assert.match(await ask(t, path), /hello$/);
    listener.close();
    assert.match(await ask(t, path), /hello$/);
  }
});

test('a link in the place of the socket is refused, and a directory behind a link is judged where it is', async (t) => {
  const directory = temporaryDirectory(t);
  const live = join(directory, 'live.sock');
  await start(t, live);
  symlinkSync(live, join(directory, 'link.sock'));
  await assert.rejects(start(t, join(directory, 'link.sock')), /no socket/);
  const [open, link] = [join(directory, 'open'), join(directory, 'link')];
  mkdirSync(open);
  chmodSync(open, 0o777);
  symlinkSync(open, link);
  await assert.rejects(start(t, join(link, 'kms.sock')), StartError);
});

test('the peer has the uid and gid of its process', async (t) => {
  const path = join(temporaryDirectory(t), 'kms.sock');
  const { peers } = await start(t, path, { allowedUids: [uid] });
  await ask(t, path);
  assert.deepEqual(peers, [
    { listener: 'unix', address: undefined, port: undefined, certificate: undefined, uid, gid },
  ]);
});

test('another user is known as such, and refused where only some are allowed', {
  skip: uid !== 0,
}, async (t) => {
  const directory = temporaryDirectory(t);
  chmodSync(directory, 0o711);
  const asked = async (path: string) => {
    const program = `
      const socket = require('node:net').connect(${JSON.stringify(path)});
      socket.on('error', () => {}).pipe(process.stdout);
      socket.write(${JSON.stringify(get)});`;
    const child = spawn(process.execPath, ['-e', program], { uid: 65_534, gid: 65_533, cwd: '/' });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(child, 'close');
    return Buffer.concat(chunks).toString();
  };
  const open = join(directory, 'open.sock');
  const { peers } = await start(t, open, { mode: 0o666 });
  assert.match(await asked(open), /hello$/);
  assert.deepEqual([peers[0]?.uid, peers[0]?.gid], [65_534, 65_533]);
  const listed = join(directory, 'listed.sock');
  const refused: Peer[] = [];
  const { refusals } = await start(t, listed, {
    ...{ mode: 0o666, allowedUids: [0] },
    onRefused: (peer) => void refused.push(peer),
  });
  assert.equal(await asked(listed), '');
  assert.deepEqual([refusals, refused[0]?.uid], [['peer_not_allowed'], 65_534]);
  const closed = join(directory, 'closed.sock');
  await start(t, closed);
  assert.equal(await asked(closed), '');
});

test('where the kernel does not say who it is, nobody is let in by a list, and caveats know nobody', async (t) => {
  const directory = temporaryDirectory(t);
  for (const openCredentials of [async () => undefined, async () => () => undefined]) {
    const listed = join(directory, 'listed.sock');
    const { refusals, listener } = await start(t, listed, { openCredentials, allowedUids: [uid] });
    assert.equal(await ask(t, listed), '');
    assert.deepEqual(refusals, ['peer_not_allowed']);
    listener.close();
    const any = join(directory, 'any.sock');
    const open = await start(t, any, { openCredentials });
    assert.match(await ask(t, any), /hello$/);
    assert.deepEqual([open.peers[0]?.uid, open.peers[0]?.gid], [undefined, undefined]);
    open.listener.close();
  }
});
