import assert from 'node:assert/strict';
import { chmodSync, chownSync } from 'node:fs';
import { connect } from 'node:net';
import test, { describe } from 'node:test';
import { ConnectionCount, countByAddress } from '../../src/http/connections.ts';
import { affordableConnections, requireDescriptors } from '../../src/http/descriptors.ts';
import { metric, RawConnection } from '../support/requests.ts';
import { call, helloWorldB3, startService, temporaryDirectory } from '../support/service.ts';

const a = Uint8Array.of(10, 0, 0, 1);
const b = Uint8Array.of(10, 0, 0, 2);

describe('counting connections', () => {
  function counting(total: number, perAddress: number, table?: () => Map<string, number> | undefined) {
    let nowMs = 0;
    const connections = new ConnectionCount({
      limits: { total, perAddress },
      nowMs: () => nowMs,
      count: table ?? (() => undefined),
    });
    const later = (ms: number) => {
      nowMs += ms;
    };
    return { connections, later };
  }

  test('an address has its share and others have the rest', () => {
    const { connections } = counting(4, 2, () => new Map([['0a000001', 3]]));
    assert.deepEqual(
      [a, a, a, b].map((address) => connections.opened(address)),
      [undefined, undefined, 'too_many_of_address', undefined],
    );
  });

  test('connections that have ended do not count: the table is read before one is refused, ten times a second', () => {
    let reads = 0;
    let inTable = 1;
    const { connections, later } = counting(100, 2, () => {
      reads++;
      return new Map([['0a000001', inTable]]);
    });
    // Four of others.
    for (let n = 3; n < 7; n++) connections.opened(Uint8Array.of(10, 0, 0, n));
    for (let n = 0; n < 2; n++) {
      connections.opened(a);
      connections.closed();
    }
    assert.equal(connections.opened(a), undefined);
    assert.equal(reads, 1);
    inTable = 3;
    assert.equal(connections.opened(a), undefined);
    assert.equal(connections.opened(a), 'too_many_of_address');
    assert.equal(reads, 1);
    later(100);
    assert.equal(connections.opened(a), 'too_many_of_address');
    assert.equal(reads, 2);
  });

  test('those that wait to be accepted, and those that were refused, are not counted', () => {
    const { connections, later } = counting(100, 2, () => new Map([['0a000001', 50]]));
    for (let n = 0; n < 2; n++) assert.equal(connections.opened(a), undefined);
    for (let n = 0; n < 10; n++) {
      later(50);
      assert.equal(connections.opened(a), 'too_many_of_address');
      connections.closed();
    }
    assert.equal(connections.opened(b), undefined);
  });

  test('sixteen places are left for addresses with at most two', () => {
    const { connections } = counting(10, 10, () => new Map([['0a000001', 11]]));
    for (let n = 0; n < 10; n++) assert.equal(connections.opened(a), undefined);
    assert.equal(connections.opened(a), 'too_many_connections');
    connections.closed();
    assert.equal(connections.opened(b), undefined);
    assert.equal(connections.opened(b), undefined);
    assert.equal(connections.opened(b), 'too_many_connections');
  });

  test('without a table only the whole is limited', () => {
    const { connections, later } = counting(3, 1);
    for (let n = 0; n < 3; n++) {
      assert.equal(connections.opened(a), undefined);
      later(100);
    }
    for (let n = 0; n < 20; n++) connections.opened(a);
    assert.equal(connections.opened(a), 'too_many_connections');
  });

  test('where the limit of open files leaves no connection, the start is refused', () => {
    assert.throws(() => affordableConnections(10, 90), /limit of open files is 90/);
    assert.equal(affordableConnections(10, 1_000_000), 10);
    assert.equal(affordableConnections(10, undefined), 10);
    // Before it opens the service, which takes some.
    const [disk, memory] = [
      { backend: 'lmdb', workers: 2 },
      { backend: 'memory', workers: 2 },
    ] as const;
    for (const config of [disk, memory]) {
      assert.throws(() => requireDescriptors(config, 90), /limit of open files is 90/);
      requireDescriptors(config, 1_000_000);
      requireDescriptors(config, undefined);
    }
    assert.throws(() => requireDescriptors({ ...disk, workers: 1_000 }, 2_000), /limit of open files/);
  });
});

const root = process.getuid?.() === 0;
const onLinux = process.platform === 'linux';

test('more idle connections than descriptors stop neither signing nor health', {
  skip: !onLinux,
  timeout: 120_000,
}, async () => {
  const dataDir = temporaryDirectory();
  // As a user other than root, whose own files in /proc are not its own once it is undumpable.
  if (root) {
    chownSync(dataDir, 65_534, 65_534);
    chmodSync(dataDir, 0o700);
  }
  const service = await startService({
    dataDir,
    openFiles: 256,
    ...(root ? { user: { uid: 65_534, gid: 65_534 } } : {}),
  });
  const idle: RawConnection[] = [];
  try {
    const lowered = service.log.map((line) => JSON.parse(line)).find((entry) => entry.wanted === 1_024);
    assert.ok(lowered.connections > 20 && lowered.connections < 176, JSON.stringify(lowered));
    const kid = (await call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'p', alg: 'ed25519' }))
      .body.kid;
    for (let n = 0; n < 300; n++) idle.push(new RawConnection(service.port));
    await idle.at(-1)?.closed();
    const refused = await metric(service, 'kms_reject_total', 'reason="too_many_of_address"');
    assert.ok(refused >= 300 - lowered.connections / 2, `${refused}`);
    assert.equal(
      countByAddress(new Set([service.port]))?.get('7f000001'),
      Math.ceil(lowered.connections / 2),
    );
    // From another address, with connections of its own.
    assert.match(await from('127.0.0.2', service.port, 'GET /readyz HTTP/1.1\r\nHost: x\r\n'), / 200 OK/);
    const body = JSON.stringify({ kid, payload_b3: helloWorldB3 });
    const head = `POST /v1/kms/sign HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${service.token}\r\n`;
    for (let n = 0; n < 20; n++) {
      const answer = await from('127.0.0.3', service.port, `${head}Content-Length: ${body.length}\r\n`, body);
      assert.match(answer, /^HTTP\/1\.1 200 OK/);
    }
  } finally {
    for (const connection of idle) connection.socket.destroy();
    await service.stop();
  }
});

/** One request, with `Connection: close`. */
function from(localAddress: string, port: number, head: string, body = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = '';
    const socket = connect({ host: '127.0.0.1', port, localAddress });
    socket.on('data', (chunk) => {
      received += chunk;
    });
    socket.on('error', reject).on('close', () => resolve(received));
    socket.write(`${head}Connection: close\r\n\r\n${body}`);
  });
}
