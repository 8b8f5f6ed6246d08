import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import test, { afterEach, describe, type TestContext } from 'node:test';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import type { CloudLimits } from '../../../src/custody/root-key/cloud/limits.ts';
import { settleNetwork } from '../../../src/custody/root-key/cloud/network.ts';
import { CloudTrouble } from '../../../src/custody/root-key/cloud/trouble.ts';
import { saidOf } from '../../contracts/cloud-hostile.ts';
import { makeCertificate } from '../../support/certificates.ts';
import { hostileCredential, startHostile } from '../../support/cloud/hostile.ts';

// This file has a process of its own, and its environment.
delete process.env.GRPC_DEFAULT_SSL_ROOTS_FILE_PATH;
const names = ['HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY'].flatMap((name) => [name, name.toLowerCase()]);
const leftOut = '127.0.0.2';
const clear = () => {
  for (const name of [...names, 'grpc_proxy', 'no_grpc_proxy', 'no_proxy']) delete process.env[name];
  // Azure's SDK reads it once.
  process.env.NO_PROXY = `other.example, ${leftOut}`;
};

const authority = makeCertificate({ subject: [['CN', 'test authority']], isCa: true });
setDefaultCACertificates([...getCACertificates('default'), authority.cert]);
const limits: CloudLimits = { connectMs: 30_000, attemptMs: 30_000, attempts: 1, wholeMs: 60_000 };
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const gcpCredentials = {
  client_email: 'root@fake.example',
  private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
};

/** A proxy that takes every connection to this port, or refuses all. */
async function startProxy(t: TestContext, to: { port: number } | { refuses: number }) {
  const asked: string[] = [];
  let through = '';
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.writeHead(502).end();
  });
  server.on('connect', (request, client: Socket) => {
    asked.push(`${request.method} ${request.url}`);
    sockets.add(client);
    client.on('error', () => {});
    if ('refuses' in to) {
      client.end(`HTTP/1.1 ${to.refuses} No\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    const target = connect(to.port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      client.pipe(target).pipe(client);
    });
    client.on('data', (bytes) => {
      through += bytes.toString('latin1');
    });
    sockets.add(target);
    target.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { asked, through: () => through, address: `http://user:fake-password@127.0.0.1:${port}` };
}

const hosts = { aws: 'kms.fake.example', gcp: 'kms.fake.googleapis.com', azure: 'fake.vault.azure.net' };

describe('a cloud KMS behind a proxy', () => {
  afterEach(clear);

  for (const kind of ['aws', 'gcp', 'azure'] as const) {
    const host = hosts[kind];
    const tls = makeCertificate({ subject: [['CN', host]], issuer: authority, dns: [host] });

    for (const name of ['HTTPS_PROXY', 'https_proxy'])
      test(`${name} takes TLS to ${kind}, and sees nothing in it`, async (t) => {
        clear();
        const kms = await startHostile(kind, {}, { tls, host, gcpCredentials });
        t.after(() => kms.close());
        const proxy = await startProxy(t, kms);
        process.env[name] = proxy.address;
        assert.match(await saidOf(kms, limits), /its answer is not believed/);
        assert.ok(kms.asked.length > 0);
        assert.deepEqual([...new Set(proxy.asked)], [`CONNECT ${host}:${kms.port}`]);
        for (const hidden of [hostileCredential, 'Bearer', 'unwrap', 'Decrypt', 'AKIA'])
          assert.ok(!proxy.through().includes(hidden), hidden);
      });

    test(`a proxy that refuses is not taken for ${kind}, and its password is in no message`, async (t) => {
      for (const refuses of [403, 407]) {
        clear();
        const kms = await startHostile(kind, {}, { tls, host, gcpCredentials });
        t.after(() => kms.close());
        const proxy = await startProxy(t, { refuses });
        process.env.HTTPS_PROXY = proxy.address;
        const said = await saidOf(kms, limits);
        assert.match(said, /does not answer|its answer is not believed/);
        assert.ok(!said.includes('fake-password'), said);
        assert.deepEqual(kms.asked, []);
      }
    });

    test(`plain HTTP to this machine goes by no proxy (${kind})`, async (t) => {
      clear();
      const kms = await startHostile(kind, {});
      t.after(() => kms.close());
      const proxy = await startProxy(t, kms);
      for (const name of [...names, 'grpc_proxy']) if (!/no/i.test(name)) process.env[name] = proxy.address;
      assert.match(await saidOf(kms, limits), /its answer is not believed/);
      assert.ok(kms.asked.length > 0);
      assert.deepEqual(proxy.asked, []);
    });

    test(`a proxy that not all SDKs take is refused, and is not left out (${kind})`, async (t) => {
      clear();
      const kms = await startHostile(kind, {});
      t.after(() => kms.close());
      for (const address of [
        'https://user:fake-password@proxy.example',
        'socks5://proxy.example',
        'proxy:3128',
      ]) {
        process.env.HTTPS_PROXY = address;
        const said = await saidOf(kms, limits);
        assert.match(said, /HTTPS_PROXY is not an address that begins with http:/);
        assert.ok(!said.includes('fake-password') && !said.includes('proxy.example'));
      }
      assert.deepEqual(kms.asked, []);
    });
  }

  // Google's hosts have names that are not of this machine.
  for (const kind of ['aws', 'azure'] as const)
    test(`NO_PROXY leaves a host out (${kind})`, async (t) => {
      clear();
      const host = leftOut;
      const tls = makeCertificate({ subject: [['CN', host]], issuer: authority, ip: [127, 0, 0, 2] });
      const kms = await startHostile(kind, {}, { tls, host, listensAt: host });
      t.after(() => kms.close());
      const proxy = await startProxy(t, kms);
      process.env.HTTPS_PROXY = proxy.address;
      assert.match(await saidOf(kms, limits), /its answer is not believed/);
      assert.ok(kms.asked.length > 0);
      assert.deepEqual(proxy.asked, []);
    });
});

test('proxies of Node itself, which would see tokens in the clear, are refused where Node has begun with them', () => {
  for (const [env, ...flags] of [
    [{ NODE_USE_ENV_PROXY: '1', HTTPS_PROXY: 'http://proxy.example:3128' }, '--no-warnings'],
    [{}, '--use-env-proxy'],
  ] as [NodeJS.ProcessEnv, ...string[]][])
    assert.throws(() => settleNetwork(env, flags), CloudTrouble);
  settleNetwork({ NODE_USE_ENV_PROXY: '1' }, ['--no-use-env-proxy']);
});

test('one rule of proxies stands in the environment, and the services of tokens of a machine are left out', () => {
  const env: NodeJS.ProcessEnv = {
    ...{ HTTPS_PROXY: 'http://proxy.example:3128', no_proxy: ' .acme.example ,kms.example,' },
    ...{ HTTP_PROXY: 'http://a', http_proxy: 'http://b', ALL_PROXY: 'http://c', all_proxy: 'http://d' },
    ...{ grpc_proxy: 'http://e', no_grpc_proxy: '*', NODE_TLS_REJECT_UNAUTHORIZED: '0', AWS_REGION: 'x' },
  };
  settleNetwork(env);
  assert.equal(env.NO_PROXY, env.no_proxy);
  const none = env.NO_PROXY?.split(',') ?? [];
  for (const host of [
    '.acme.example',
    'kms.example',
    '169.254.169.254',
    'metadata.google.internal',
    'localhost',
  ])
    assert.ok(none.includes(host), host);
  const { NO_PROXY, no_proxy, ...others } = env;
  const proxy = 'http://proxy.example:3128';
  assert.deepEqual(others, { HTTPS_PROXY: proxy, https_proxy: proxy, AWS_REGION: 'x' });
  const before = { ...env };
  settleNetwork(env);
  assert.deepEqual(env, before);
});
