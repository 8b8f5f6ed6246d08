import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { rootKeyApart } from '../../../src/custody/root-key/apart.ts';
import type { CloudSource } from '../../../src/custody/root-key/cloud/wrapping.ts';
import { writeRootSources } from '../../../src/custody/root-key/sources-file.ts';
import { makeCertificate } from '../../support/certificates.ts';
import { endless, type Hostile, hostileCredential, startHostile } from '../../support/cloud/hostile.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';

// A process apart has the environment of this one, which is a process of its own.
delete process.env.GRPC_DEFAULT_SSL_ROOTS_FILE_PATH;

const wrapped = Buffer.alloc(60, 7).toString('base64');

/** A directory whose list has these servers as sources, each named by its kind. */
function directoryOf(t: TestContext, ...servers: readonly Hostile[]) {
  const dataDir = temporaryDirectory(t);
  const sources = servers.map(({ key }) => ({
    ...{ id: key.kind, createdAtMs: 1, generation: 1, root: '0123456789abcdef', wrapped },
    ...{ ...key, ...(key.kind === 'gcp' && { keyVersion: '1' }) },
  }));
  writeRootSources(dataDir, sources as CloudSource[]);
  return { dataDir, rule: { groupAllowed: false }, credentials: undefined };
}

/** Removed when the test ends. */
function setVariables(t: TestContext, variables: Record<string, string>): void {
  const before = { ...process.env };
  Object.assign(process.env, variables);
  t.after(() => {
    for (const name of Object.keys(variables)) delete process.env[name];
    Object.assign(process.env, before);
  });
}

const awsCredentials = {
  ...{ AWS_ACCESS_KEY_ID: 'AKIAFAKE', AWS_SECRET_ACCESS_KEY: hostileCredential },
  ...{ AWS_CONFIG_FILE: '/dev/null', AWS_SHARED_CREDENTIALS_FILE: '/dev/null' },
};

async function saidBy(opening: Promise<unknown>): Promise<string> {
  return opening.then(
    () => assert.fail('it was not refused'),
    ({ message }: Error) => message,
  );
}

test('an authority of NODE_EXTRA_CA_CERTS is known to the process that opens a source, of all providers', async (t) => {
  const authority = makeCertificate({ subject: [['CN', 'test authority']], isCa: true });
  const tls = makeCertificate({ subject: [['CN', 'localhost']], issuer: authority, dns: ['localhost'] });
  const servers: Hostile[] = [];
  for (const kind of ['aws', 'gcp', 'azure'] as const) {
    const server = await startHostile(kind, {}, { tls });
    t.after(() => server.close());
    servers.push(server);
  }
  const around = directoryOf(t, ...servers);
  const [caFile, keyFile] = [join(around.dataDir, 'ca.pem'), join(around.dataDir, 'service-account.json')];
  writeFileSync(caFile, authority.cert);
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const private_key = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const account = { type: 'service_account', client_email: 'root@fake.example', private_key };
  writeFileSync(keyFile, JSON.stringify(account));
  // Node's switch turns nothing off.
  setVariables(t, { ...awsCredentials, NODE_TLS_REJECT_UNAUTHORIZED: '0' });
  const unknown = await saidBy(rootKeyApart({ do: 'open', id: 'aws' }, around));
  assert.match(unknown, /^aws \(.*its TLS connection is not taken \(\w+\), and nothing was sent/);
  assert.ok(servers.every(({ asked }) => asked.length === 0));
  setVariables(t, {
    // With the last one a process of Node sends plain HTTP by a proxy: this one is begun without.
    ...{ NODE_EXTRA_CA_CERTS: caFile, GOOGLE_APPLICATION_CREDENTIALS: keyFile, NODE_USE_ENV_PROXY: '1' },
    // Its credentials would be asked for elsewhere; the challenge is seen.
    AZURE_TOKEN_CREDENTIALS: 'EnvironmentCredential',
  });
  const opening = ['aws', 'gcp', 'azure'].map((id) => saidBy(rootKeyApart({ do: 'open', id }, around)));
  const [aws = '', gcp = '', azure = ''] = await Promise.all(opening);
  for (const said of [aws, gcp]) assert.match(said, /its answer is not believed/);
  assert.match(azure, /no credentials were found/);
  assert.ok(servers.every(({ asked }) => asked.length > 0));
});

test('an answer without an end, of a service of tokens, ends the process that asks, and nothing else grows', async (t) => {
  const tokens = await startHostile('aws', { body: endless(Buffer.from('{"a":"'), () => {}) });
  t.after(() => tokens.close());
  const around = directoryOf(t, tokens);
  setVariables(t, {
    ...{ AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://127.0.0.1:${tokens.port}/`, AWS_ACCESS_KEY_ID: '' },
    ...{ AWS_CONTAINER_AUTHORIZATION_TOKEN: hostileCredential, AWS_CONFIG_FILE: '/dev/null' },
    ...{ AWS_SHARED_CREDENTIALS_FILE: '/dev/null', AWS_SECRET_ACCESS_KEY: '' },
  });
  const said = await saidBy(rootKeyApart({ do: 'open', id: 'aws' }, around));
  assert.match(said, /^aws \(AWS KMS, arn:[^\n]*\): an answer without an end was left[^\n]*$/);
  assert.ok(!said.includes(hostileCredential));
});

test('a process that opens a source ends when its time is over, whatever holds it up', async (t) => {
  const kms = await startHostile('aws', {});
  t.after(() => kms.close());
  setVariables(t, awsCredentials);
  const opening = rootKeyApart({ do: 'open', id: 'aws' }, directoryOf(t, kms), [], 1);
  assert.match(await saidBy(opening), /could not be opened in time/);
});
