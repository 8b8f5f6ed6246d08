import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import test, { type TestContext } from 'node:test';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import type { ClientCertificates } from '../../src/config/listen-kinds.ts';
import type { Peer } from '../../src/core/peer.ts';
import { StartError } from '../../src/core/start-error.ts';
import { countConnections } from '../../src/http/connections.ts';
import { Certificates } from '../../src/http/listeners/certificates.ts';
import { tlsListener } from '../../src/http/listeners/tls.ts';
import { makeCertificate, makeTestPki, type TestCertificate } from '../support/certificates.ts';
import { until } from '../support/keyring.ts';
import { certificateFiles, testPki } from '../support/listener-kinds.ts';
import { RawConnection } from '../support/requests.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const get = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

interface Started {
  readonly port: number;
  readonly peers: Peer[];
  readonly refusals: string[];
  readonly failures: () => number;
  readonly certificates: Certificates;
  readonly files: ReturnType<typeof certificateFiles>;
  /** Its answer, or how it was refused. */
  ask(options?: ConnectionOptions): Promise<string>;
  connect(options?: ConnectionOptions): TLSSocket;
}

async function start(t: TestContext, client: ClientCertificates, pki = testPki): Promise<Started> {
  const files = certificateFiles(pki, temporaryDirectory(t));
  const certificates = new Certificates(files, { groupAllowed: false });
  const peers: Peer[] = [];
  const refusals: string[] = [];
  let failures = 0;
  const listener = tlsListener({
    ...{
      at: { host: '127.0.0.1', port: 0 },
      client,
      certificates,
      maxBodyBytes: 1_000,
      bodyTimeoutMs: 1_000,
    },
    connections: countConnections({ total: 1_000, perAddress: 1_000 }),
    onHandshakeFailure: () => void failures++,
  });
  t.after(() => listener.close());
  const url = await listener.listen({
    onExchange(exchange) {
      peers.push(exchange.peer());
      exchange.respond({ status: 200, headers: [], body: 'hello' });
    },
    refused: () => ({ status: 400, headers: [], body: '' }),
    onRefusal: (reason) => void refusals.push(reason),
  });
  const port = Number(new URL(url).port);
  const dial = (options: ConnectionOptions = {}) => {
    const socket = connect({
      port,
      host: '127.0.0.1',
      servername: 'localhost',
      ca: pki.authority.cert,
      ...options,
    });
    t.after(() => socket.destroy());
    return socket;
  };
  const ask = async (options: ConnectionOptions = {}) => {
    const socket = dial(options);
    let problem = '';
    socket.on('error', (error: NodeJS.ErrnoException) => {
      problem = error.code ?? error.message;
    });
    const connection = new RawConnection(socket);
    connection.send(get);
    await connection.closed();
    return connection.received === '' ? `refused: ${problem}` : connection.received;
  };
  return { port, peers, refusals, failures: () => failures, certificates, files, ask, connect: dial };
}

const shown = ({ cert, key }: TestCertificate) => ({ cert, key });

const skip = spawnSync('openssl', ['version']).status !== 0 && 'there is no openssl command';

/** The openssl command as a client, with all that it says. */
async function openssl(port: number, ...args: string[]): Promise<string> {
  const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-ign_eof', ...args]);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += chunk));
  child.stdin.on('error', () => {});
  child.stdin.write(get);
  await once(child, 'close');
  return said;
}

test('openssl s_client: TLS 1.3 is served, TLS 1.2 and older are refused', { skip }, async (t) => {
  const { port, peers, failures } = await start(t, 'none');
  assert.match(await openssl(port, '-tls1_3'), /TLSv1\.3[\s\S]*hello/);
  for (const version of ['-tls1_2', '-tls1_1'])
    assert.match(await openssl(port, version), /protocol version|no protocols available/);
  assert.equal(peers.length, 1);
  assert.ok(failures() >= 1);
});

test('openssl s_client: without a certificate the mutual listener refuses, with one it serves', {
  skip,
}, async (t) => {
  const { port, peers, files } = await start(t, 'require');
  const said = await openssl(port, '-tls1_3');
  assert.match(said, /certificate required/);
  assert.doesNotMatch(said, /hello/);
  assert.deepEqual(peers, []);
  writeFileSync(`${files.certFile}.client`, testPki.client.cert + testPki.client.key);
  assert.match(await openssl(port, '-tls1_3', '-cert', `${files.certFile}.client`), /hello/);
  assert.equal(peers.length, 1);
});

test('X25519MLKEM768 is negotiated with a client that has it, and another group with one that has not', async (t) => {
  const { ask } = await start(t, 'none');
  // A client that offers one group has that one or no connection.
  for (const ecdhCurve of ['X25519MLKEM768', 'X25519', 'P-256'])
    assert.match(await ask({ ecdhCurve }), /hello$/, ecdhCurve);
  assert.match(await ask({ ecdhCurve: 'P-521' }), /^refused: /);
});

test('the certificate of a client is known with its names', async (t) => {
  const { ask, peers } = await start(t, 'require');
  await ask(shown(testPki.client));
  const [peer] = peers as [Peer];
  assert.deepEqual(
    [peer.listener, peer.address, peer.certificate],
    [
      'tls',
      '127.0.0.1',
      {
        sha256: testPki.client.sha256,
        subject: 'CN=app,O=Acme\\, Inc,C=DE',
        dns: ['app.test', 'app2.test'],
        spiffe: 'spiffe://acme.test/app',
        uris: ['spiffe://acme.test/app'],
      },
    ],
  );
});

const stranger = makeTestPki().client;
const expired = makeCertificate({
  ...{ subject: [['CN', 'late']], issuer: testPki.authority, notAfterMs: Date.now() - 1_000 },
});

for (const [client, certificate, admitted] of [
  ['none', undefined, true],
  ['none', testPki.client, true],
  ['request', undefined, true],
  ['request', testPki.client, true],
  ['request', stranger, false],
  ['request', expired, false],
  ['require', undefined, false],
  ['require', testPki.client, true],
  ['require', stranger, false],
  ['require', expired, false],
] as const) {
  const whose = new Map([
    [testPki.client, 'one that holds'],
    [stranger, 'one of another authority'],
    [expired, 'one that has expired'],
  ]);
  const what = certificate === undefined ? 'no certificate' : whose.get(certificate);
  test(`client=${client}: ${what} is ${admitted ? 'taken' : 'refused'}`, async (t) => {
    const { ask, peers } = await start(t, client);
    const answer = await ask(certificate === undefined ? {} : shown(certificate));
    assert.equal(/hello$/.test(answer), admitted, answer);
    const known = client !== 'none' && certificate !== undefined;
    assert.deepEqual(
      peers.map((peer) => peer.certificate?.sha256),
      admitted ? [known ? certificate.sha256 : undefined] : [],
    );
  });
}

test('a session of a client with a certificate cannot be resumed without it', async (t) => {
  for (const client of ['require', 'request'] as const) {
    const { connect: dial, ask, peers } = await start(t, client);
    const first = dial(shown(testPki.client));
    const sessions: Buffer[] = [];
    first.on('session', (session) => void sessions.push(session));
    first.write(get);
    first.resume();
    await once(first, 'close');
    for (const session of sessions) await ask({ session, servername: 'localhost' });
    const without = peers.slice(1).filter((peer) => peer.certificate !== undefined);
    assert.deepEqual(without, [], client);
    if (client === 'require') assert.equal(peers.length, 1);
  }
});

for (const kind of ['ml-dsa-65', 'ed25519'] as const) {
  test(`server, client and authority may have keys of ${kind}`, async (t) => {
    const pki = makeTestPki(kind);
    const { ask, peers } = await start(t, 'require', pki);
    assert.match(await ask(shown(pki.client)), /hello$/);
    assert.equal(peers[0]?.certificate?.sha256, pki.client.sha256);
    assert.match(await ask(), /^refused: /);
  });
}

test('plain HTTP, noise and a client that trusts nobody are counted as failed handshakes', async (t) => {
  const { port, failures, ask, peers } = await start(t, 'none');
  for (const bytes of [get, '\0'.repeat(100)]) {
    const before = failures();
    const connection = new RawConnection(port);
    connection.send(bytes);
    await connection.closed();
    await until(() => failures() > before);
  }
  assert.match(await ask({ ca: stranger.cert }), /^refused: /);
  assert.deepEqual(peers, []);
});

test('new connections have the new certificate, open ones go on, and what is broken is not taken', async (t) => {
  const { files, certificates, ask, connect: dial } = await start(t, 'none');
  const agedMs = certificates.notAfterMs;
  const open = new RawConnection(dial());
  const keepAlive = get.replace('Connection: close\r\n', '');
  open.send(keepAlive);
  await open.answers(1);
  const next = makeCertificate({
    ...{ subject: [['CN', 'localhost']], issuer: testPki.authority, dns: ['localhost'], ip: [127, 0, 0, 1] },
    notAfterMs: Date.now() + 200 * 86_400_000,
  });
  const fingerprint = async () => {
    const socket = dial();
    await once(socket, 'secureConnect');
    return socket.getPeerX509Certificate()?.fingerprint256.replaceAll(':', '').toLowerCase();
  };
  // The key does not belong to it yet.
  writeFileSync(files.certFile, next.cert);
  assert.throws(() => certificates.reload(), StartError);
  assert.equal(await fingerprint(), testPki.server.sha256);
  writeFileSync(files.keyFile, next.key);
  certificates.reload();
  assert.equal(await fingerprint(), next.sha256);
  assert.ok(certificates.notAfterMs > agedMs);
  for (const broken of ['', 'no PEM', next.cert.slice(0, 200)]) {
    writeFileSync(files.certFile, broken);
    assert.throws(() => certificates.reload(), StartError);
  }
  assert.equal(await fingerprint(), next.sha256);
  assert.match(await ask(), /hello$/);
  open.send(keepAlive);
  assert.equal((await open.answers(2)).length, 2);
});

test('an authority that is taken away admits no client any more', async (t) => {
  const { files, certificates, ask } = await start(t, 'require');
  assert.match(await ask(shown(testPki.client)), /hello$/);
  writeFileSync(files.clientCaFile, makeTestPki().authority.cert);
  certificates.reload();
  assert.match(await ask(shown(testPki.client)), /^refused: /);
});

test('files that are half written are not taken, whole certificates in them or not', async (t) => {
  const { files, certificates, ask } = await start(t, 'require');
  const other = makeTestPki().authority.cert;
  const { cert: own } = testPki.authority;
  for (const half of [`${other}${own.slice(0, own.length / 2)}`, `${other}-----BEGIN CERTIFICATE-----\n`]) {
    writeFileSync(files.clientCaFile, half);
    assert.throws(() => certificates.reload(), StartError);
    assert.match(await ask(shown(testPki.client)), /hello$/);
  }
  writeFileSync(files.clientCaFile, own);
  const { cert } = testPki.server;
  writeFileSync(files.certFile, `${cert}${own.slice(0, own.length / 2)}`);
  assert.throws(() => certificates.reload(), StartError);
  writeFileSync(files.certFile, cert);
  certificates.reload();
  assert.match(await ask(shown(testPki.client)), /hello$/);
});

test('a change of the files is noticed', async (t) => {
  const { files, certificates } = await start(t, 'none');
  let changes = 0;
  certificates.watch(() => void changes++, 20);
  t.after(() => certificates.stopWatching());
  for (const file of [files.certFile, files.keyFile]) {
    const before = changes;
    // Until the first look has been, a change is none.
    await until(() => {
      writeFileSync(file, '#', { flag: 'a' });
      return changes > before;
    });
  }
});

test('a reload of the certificate under load loses no request', async (t) => {
  const { port, certificates } = await start(t, 'none');
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  t.after(() => agent.destroy());
  let answered = 0;
  const one = (own: boolean) =>
    new Promise<void>((resolve, reject) => {
      const options = { port, host: '127.0.0.1', servername: 'localhost', ca: testPki.authority.cert };
      const sent = request({ ...options, ...(own ? { agent: false } : { agent }) }, (answer) => {
        answer.resume().once('end', () => {
          answered++;
          resolve();
        });
      });
      sent.once('error', reject);
      sent.end();
    });
  let over = false;
  const clients = Array.from({ length: 8 }, async (_, n) => {
    while (!over) await one(n % 2 === 0);
  });
  for (let reloads = 1; reloads <= 20; reloads++) {
    certificates.reload();
    await until(() => answered >= reloads * 10);
  }
  over = true;
  await Promise.all(clients);
});

test('a key that others may read is refused, and so are files that are missing or hold nothing', (t) => {
  const files = certificateFiles(testPki, temporaryDirectory(t));
  const rule = { groupAllowed: false };
  new Certificates(files, rule);
  // Which would hold up the thread that reads it.
  const pipe = `${files.certFile}.pipe`;
  assert.equal(spawnSync('mkfifo', ['-m', '600', pipe]).status, 0);
  for (const broken of [
    { ...files, certFile: pipe },
    { ...files, keyFile: pipe },
    { ...files, clientCaFile: pipe },
    { ...files, certFile: `${files.certFile}.none` },
    { ...files, keyFile: files.certFile },
    { ...files, clientCaFile: files.keyFile },
  ])
    assert.throws(() => new Certificates(broken, rule), StartError);
  writeFileSync(`${files.keyFile}.open`, testPki.server.key, { mode: 0o644 });
  assert.throws(
    () => new Certificates({ ...files, keyFile: `${files.keyFile}.open` }, rule),
    /read or written/,
  );
});
