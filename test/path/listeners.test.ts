import assert from 'node:assert/strict';
import { mkdirSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type RequestOptions, request } from 'node:http';
import { request as requestTls } from 'node:https';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { makeCertificate } from '../support/certificates.ts';
import { certificateFiles, testPki } from '../support/listener-kinds.ts';
import { mintFor } from '../support/requests.ts';
import { type ServiceProcess, startService } from '../support/service.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

interface Answer {
  readonly status: number;
  readonly text: string;
}

function ask(options: RequestOptions & { ca?: string; cert?: string; key?: string }): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const send = options.ca === undefined ? request : requestTls;
    const sent = send({ agent: false, ...options }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () =>
        resolve({ status: incoming.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
      );
    });
    sent.once('error', reject);
    sent.end();
  });
}

interface Everything {
  readonly service: ServiceProcess;
  readonly files: ReturnType<typeof certificateFiles>;
  readonly http: { host: string; port: string };
  readonly https: { host: string; port: string; ca: string; cert: string; key: string };
  readonly unix: { socketPath: string };
}

const { cert, key } = testPki.client;

/** One of each kind, in a process. */
async function startEverything(t: TestContext, env: Record<string, string> = {}): Promise<Everything> {
  const directory = temporaryDirectory(t);
  const files = certificateFiles(testPki, directory);
  const socketPath = join(directory, 'run', 'kms.sock');
  const service = await startService({
    env: {
      KMS_LISTEN: `http://127.0.0.1:0,https://127.0.0.1:0?client=require,unix:${socketPath}`,
      ...{ KMS_TLS_CERT_FILE: files.certFile, KMS_TLS_KEY_FILE: files.keyFile },
      ...{ KMS_TLS_CLIENT_CA_FILE: files.clientCaFile, KMS_BACKEND: 'memory', ...env },
    },
  });
  t.after(() => service.kill());
  const line = JSON.parse(await service.logged((text) => text.includes('"listening"')));
  const { hostname: host, port } = new URL(line.others[0]);
  assert.equal(line.others[1], `unix:${socketPath}`);
  return {
    ...{ service, files, unix: { socketPath } },
    http: { host: '127.0.0.1', port: String(service.port) },
    https: { host, port, ca: testPki.authority.cert, cert, key },
  };
}

const keys = (token: string) => ({ path: '/v1/kms/keys', headers: { authorization: `Bearer ${token}` } });

test("capabilities bound to a listener's peer hold there and nowhere else", async (t) => {
  const { service, http, https, unix } = await startEverything(t);
  const bound = (caveat: string) =>
    keys(mintFor(service.dataDir, { tenant: 'acme', scopes: ['kms:read'], caveats: [caveat] }));
  for (const [caveat, statuses] of [
    ['address = 127.0.0.0/8', [200, 200, 401]],
    [`cert_sha256 = ${testPki.client.sha256}`, [401, 200, 401]],
    ['spiffe = spiffe://acme.test/app', [401, 200, 401]],
    ['dns = app2.test', [401, 200, 401]],
    ['subject = CN=app,O=Acme\\, Inc,C=DE', [401, 200, 401]],
    [`peer_uid = ${process.getuid?.()}`, [401, 401, 200]],
  ] as const) {
    const asked = bound(caveat);
    const answers = await Promise.all([http, https, unix].map((place) => ask({ ...place, ...asked })));
    const refused = (status: number) => (status === 200 ? 200 : 401);
    assert.deepEqual(
      answers.map(({ status }) => refused(status)),
      statuses,
      `${caveat}: ${answers.map(({ text }) => text)}`,
    );
  }
  assert.equal(await service.stop(), 0);
});

test('a first capability is had for a certificate over TLS, for a user over the socket, and for nothing over TCP', async (t) => {
  const policy = join(temporaryDirectory(t), 'policy.yaml');
  const grant = '{ tenant: acme, scopes: ["kms:read"], ttl_s: 60 }';
  const lines = [
    'identities:',
    `  - { name: app, when: { spiffe: "spiffe://acme.test/app" }, grant: ${grant} }`,
    `  - { name: local, when: { uid: ${process.getuid?.()} }, grant: ${grant} }`,
  ];
  writeFileSync(policy, lines.join('\n'));
  const { service, http, https, unix } = await startEverything(t, { KMS_POLICY_FILE: policy });
  const exchange = { path: '/v1/kms/token', method: 'POST', headers: { 'content-length': '0' } };
  for (const [place, status] of [
    [http, 401],
    [https, 201],
    [unix, 201],
  ] as const) {
    const answer = await ask({ ...place, ...exchange });
    assert.equal(answer.status, status, answer.text);
    if (status === 201) {
      // A proxy's own certificate or user is not that of whom it asks for, whether it is trusted or not.
      for (const name of ['x-forwarded-for', 'forwarded']) {
        const headers = { ...exchange.headers, [name]: 'for=192.0.2.7' };
        const forwarded = await ask({ ...place, ...exchange, headers });
        assert.equal(forwarded.status, 401, forwarded.text);
      }
      // It is bound to nothing that its identity's caveats do not name.
      assert.equal((await ask({ ...http, ...keys(JSON.parse(answer.text).token) })).status, 200);
    }
  }
  assert.equal(await service.stop(), 0);
});

test('a Unix socket that is lost is told by /readyz while it cannot be bound again', async (t) => {
  const { service, http, unix } = await startEverything(t);
  const isDegraded = async () =>
    JSON.parse((await ask({ ...http, path: '/readyz' })).text).degraded.includes('unix_socket');
  assert.equal(await isDegraded(), false);
  rmSync(unix.socketPath);
  mkdirSync(unix.socketPath);
  await service.logged((line) => line.includes('there is something that is no socket'));
  assert.equal(await isDegraded(), true);
  rmdirSync(unix.socketPath);
  await service.logged((line) => line.includes('the Unix socket is bound again'));
  assert.equal(await isDegraded(), false);
  assert.equal((await ask({ ...unix, path: '/healthz' })).status, 200);
  assert.equal(await service.stop(), 0);
});

test('a certificate is read again on SIGHUP and when its file changes, and its end is told', async (t) => {
  const { service, files, http, https } = await startEverything(t);
  const readiness = async () => JSON.parse((await ask({ ...http, path: '/readyz' })).text);
  assert.deepEqual((await readiness()).degraded.includes('certificate_expiry'), false);
  const renewed = (days: number) => {
    const next = makeCertificate({
      ...{ subject: [['CN', 'localhost']], issuer: testPki.authority, ip: [127, 0, 0, 1] as const },
      notAfterMs: Date.now() + days * 86_400_000,
    });
    writeFileSync(files.certFile, next.cert);
    writeFileSync(files.keyFile, next.key);
  };
  renewed(13);
  process.kill(service.pid, 'SIGHUP');
  const taken = () =>
    service.log.filter((line) => line.includes('is in use') && line.includes('not_after')).length;
  await service.logged(() => taken() >= 2);
  const { degraded, ready } = await readiness();
  assert.deepEqual([ready, degraded.includes('certificate_expiry')], [true, true]);
  assert.equal((await ask({ ...https, path: '/healthz' })).status, 200);
  const seen = taken();
  renewed(15);
  // Nobody is told; the files are looked at every two seconds.
  await service.logged(() => taken() > seen);
  assert.equal((await readiness()).degraded.includes('certificate_expiry'), false);
  const { text: metrics } = await ask({ ...http, path: '/metrics' });
  const notAfter = Number(/^tls_certificate_not_after_seconds(?:\{[^}]*\})? (\S+)$/m.exec(metrics)?.[1]);
  assert.ok(Math.abs(notAfter - Date.now() / 1_000 - 15 * 86_400) < 3_600, metrics);
  // A key of another certificate keeps all of a reload out.
  writeFileSync(files.keyFile, testPki.authority.key);
  process.kill(service.pid, 'SIGHUP');
  await service.logged((line) => line.includes('the reload is NOT TAKEN'));
  assert.deepEqual((await readiness()).missing, ['config']);
});

test('handshakes that fail are counted, and the mutual listener refuses who has no certificate', async (t) => {
  const { http, https } = await startEverything(t);
  const { ca, host, port } = https;
  await assert.rejects(ask({ host, port, ca, path: '/healthz' }));
  const { text: metrics } = await ask({ ...http, path: '/metrics' });
  assert.match(metrics, /^tls_handshake_failures_total(?:\{[^}]*\})? [1-9]/m);
});

test('users who are not allowed are refused at the socket, and the log says who it was', async (t) => {
  const own = process.getuid?.() as number;
  const { unix, service } = await startEverything(t, { KMS_UNIX_ALLOWED_UIDS: String(own + 1) });
  await assert.rejects(ask({ ...unix, path: '/healthz' }));
  const line = JSON.parse(await service.logged((text) => text.includes('KMS_UNIX_ALLOWED_UIDS')));
  assert.deepEqual([line.peer.uid, line.peer.gid], [own, process.getgid?.()]);
  assert.equal(statSync(unix.socketPath).mode & 0o777, 0o600);
});

test('who connects is in the log at the level debug', async (t) => {
  const { unix, https, service } = await startEverything(t, { KMS_LOG_LEVEL: 'debug' });
  await ask({ ...https, path: '/healthz' });
  const line = JSON.parse(await service.logged((text) => text.includes('spiffe')));
  assert.equal(line.peer.certificate.sha256, testPki.client.sha256);
  await ask({ ...unix, path: '/healthz' });
  await service.logged((text) => text.includes('"listener":"unix"') && text.includes('"uid":'));
});

test('addresses are those of forwarded clients only behind a trusted proxy', async (t) => {
  const token = (dataDir: string) =>
    mintFor(dataDir, { tenant: 'acme', scopes: ['kms:read'], caveats: ['address = 192.0.2.7'] });
  for (const [trusted, throughTcp, throughUnix] of [
    ['192.0.2.1', false, false],
    ['unix', false, true],
    ['127.0.0.0/8,unix,10.0.0.0/8', true, true],
  ] as const) {
    const { service, http, https, unix } = await startEverything(t, { KMS_TRUSTED_PROXIES: trusted });
    const asked = keys(token(service.dataDir));
    for (const [place, believed] of [
      [http, throughTcp],
      [https, throughTcp],
      [unix, throughUnix],
    ] as const) {
      const through = async (headers: Record<string, string>) =>
        (await ask({ ...place, ...asked, headers: { ...asked.headers, ...headers } })).status;
      const inOrder = { 'x-forwarded-for': '198.51.100.1, 192.0.2.7' };
      assert.equal((await through(inOrder)) === 200, believed, `${trusted} ${Object.keys(place)}`);
      assert.equal((await through({ forwarded: 'for=192.0.2.7;proto=https' })) === 200, believed);
      assert.notEqual(await through({ 'x-forwarded-for': '192.0.2.7, 198.51.100.1' }), 200);
      assert.notEqual(await through({}), 200);
      for (const malformed of [
        { 'x-forwarded-for': 'nonsense' },
        { forwarded: 'by=1.2.3.4' },
        { 'x-forwarded-for': '192.0.2.7', forwarded: 'for=192.0.2.7' },
      ])
        assert.equal((await through(malformed)) === 400, believed, JSON.stringify(malformed));
    }
    await service.kill();
  }
});

test('KMS_BIND beyond loopback serves on, with a line that shows the form to come', async (t) => {
  const service = await startService({ env: { KMS_BIND: '0.0.0.0:0', KMS_BACKEND: 'memory' } });
  t.after(() => service.kill());
  const line = JSON.parse(await service.logged((text) => text.includes('KMS_BIND')));
  assert.deepEqual([line.level, line.KMS_LISTEN], ['warn', 'http://0.0.0.0:0?insecure']);
  assert.equal((await ask({ host: '127.0.0.1', port: service.port, path: '/healthz' })).status, 200);
});
