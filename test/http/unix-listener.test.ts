import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { dirname, join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Peer } from '../../src/core/peer.ts';
import { requireFreeSocket } from '../../src/core/sockets/unix-socket.ts';
import { StartError } from '../../src/core/start-error.ts';
import { countConnections } from '../../src/http/connections.ts';
import { UnixListener, type UnixOptions } from '../../src/http/listeners/unix.ts';
import { until } from '../support/keyring.ts';
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

/** With the changes that it told. */
async function startWatched(t: TestContext, path: string, more: Partial<UnixOptions> = {}) {
  const changes: (string | undefined)[] = [];
  const onSocketChange = (problem: string | undefined) => void changes.push(problem);
  return { changes, ...(await start(t, path, { lookEveryMs: 5, onSocketChange, ...more })) };
}

test('a socket that is removed while we listen is bound again with its mode, and open connections go on', async (t) => {
  const path = join(temporaryDirectory(t), 'run', 'kms.sock');
  const { listener, changes } = await startWatched(t, path, { mode: 0o660 });
  const open = new RawConnection(connect(path));
  t.after(() => open.socket.destroy());
  const answer = async (count: number) => {
    open.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.equal((await open.answers(count)).at(-1)?.body, 'hello');
  };
  await answer(1);
  for (const remove of [() => unlinkSync(path), () => rmSync(dirname(path), { recursive: true })]) {
    changes.length = 0;
    remove();
    await until(() => changes.length === 2);
    assert.deepEqual([changes, listener.reachable], [['it was removed', undefined], true]);
    assert.equal(modeOf(path), 0o660);
    assert.match(await ask(t, path), /hello$/);
  }
  await answer(2);
  listener.stopAccepting();
  assert.equal(existsSync(path), false);
  await answer(3);
});

test('a socket of another process in the place of ours is never taken while it answers, and ours comes back when it goes', async (t) => {
  const path = join(temporaryDirectory(t), 'kms.sock');
  const { listener, changes } = await startWatched(t, path);
  // Ours leads nowhere from the moment at which the other one has its name.
  const other = createServer((socket) => {
    // A look says nothing.
    socket.on('error', () => {}).once('data', () => socket.end('other'));
  }).listen(`${path}.other`);
  t.after(() => void other.close());
  await once(other, 'listening');
  renameSync(`${path}.other`, path);
  await until(() => changes.length === 2);
  assert.match(changes[1] ?? '', /another process has it \(answered\)/);
  assert.equal(listener.reachable, false);
  const { ino } = statSync(path);
  // Looks go on meanwhile.
  for (let n = 0; n < 20; n++) assert.equal(await ask(t, path), 'other');
  assert.deepEqual([statSync(path).ino, changes.length], [ino, 2]);
  other.close();
  await until(() => changes.length >= 3 && changes.at(-1) === undefined);
  assert.match(await ask(t, path), /hello$/);
  assert.equal(listener.reachable, true);
});

test('what is no socket in the place of ours stays there, and is told once; put aside and back, ours is ours', async (t) => {
  const path = join(temporaryDirectory(t), 'kms.sock');
  const { listener, changes } = await startWatched(t, path);
  renameSync(path, `${path}.ours`);
  mkdirSync(path);
  await until(() => changes.length === 2 && /no socket/.test(changes[1] ?? ''));
  rmdirSync(path);
  renameSync(`${path}.ours`, path);
  await until(() => changes.at(-1) === undefined);
  assert.match(await ask(t, path), /hello$/);
  listener.stopAccepting();
  assert.equal(existsSync(path), false);
});

test('after the end nothing is bound again, whatever stands there, and the directory may be gone', async (t) => {
  for (const remove of ['socket', 'directory', 'nothing'] as const) {
    const path = join(temporaryDirectory(t), 'run', 'kms.sock');
    const { listener, changes } = await startWatched(t, path);
    if (remove === 'socket') unlinkSync(path);
    if (remove === 'directory') {
      rmSync(dirname(path), { recursive: true });
      // A file in its place.
      writeFileSync(dirname(path), '');
    }
    listener.stopAccepting();
    listener.close();
    const told = changes.length;
    // Longer than many looks.
    await delay(50);
    assert.deepEqual([existsSync(path), changes.length], [false, told], remove);
  }
});

test('whether a socket can be had is asked without making anything', async (t) => {
  const directory = temporaryDirectory(t);
  const rule = { groupAllowed: false };
  const refusal = (path: string, says: RegExp) =>
    assert.rejects(
      requireFreeSocket(path, rule),
      (cause) => cause instanceof StartError && says.test(cause.message),
    );
  await requireFreeSocket(join(directory, 'a', 'b', 'kms.sock'), rule);
  assert.equal(existsSync(join(directory, 'a')), false);
  const live = join(directory, 'live.sock');
  await start(t, live);
  await refusal(live, /another process has it/);
  writeFileSync(join(directory, 'file'), '');
  await refusal(join(directory, 'file'), /no socket/);
  await refusal(join(directory, 'file', 'kms.sock'), /no directory/);
  await refusal(join(directory, 'file', 'below', 'kms.sock'), /no directory/);
  const open = join(directory, 'open');
  mkdirSync(open);
  chmodSync(open, 0o777);
  await refusal(join(open, 'kms.sock'), /may be written by others/);
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
