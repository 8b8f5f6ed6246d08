import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readSync } from 'node:fs';
import test, { describe } from 'node:test';
import { makeSource } from '../../../src/cli/root/new-source.ts';
import { rootKeyApart } from '../../../src/custody/root-key/apart.ts';
import { openCloudWrapping } from '../../../src/custody/root-key/cloud/providers.ts';
import { nameOfBytes } from '../../../src/custody/root-key/renew.ts';
import { writeRootSources } from '../../../src/custody/root-key/sources-file.ts';
import { createOpensslEngine } from '../../../src/engine/openssl/index.ts';
import { startFakeAws } from '../../support/cloud/fake-aws.ts';
import { startFakeAzure } from '../../support/cloud/fake-azure.ts';
import { startFakeGcp } from '../../support/cloud/fake-gcp.ts';
import type { CloudKey, FakeServer } from '../../support/cloud/server.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';

/** Ways in which whoever looks for a fault has the SDKs say all that they do. */
const loud = {
  GRPC_TRACE: 'all',
  GRPC_VERBOSITY: 'DEBUG',
  GOOGLE_SDK_NODE_LOGGING: '*',
  AZURE_LOG_LEVEL: 'verbose',
  NODE_DEBUG: 'http,https',
  DEBUG: '*',
};

/** Nobody listens there: plain HTTP to this machine, of tokens too, must go by no proxy. */
const proxies = { HTTPS_PROXY: 'http://127.0.0.1:1', HTTP_PROXY: 'http://127.0.0.1:1', NO_PROXY: '' };

/** Where each SDK looks for credentials by itself. This file has a process of its own, and its environment. */
const environments = {
  aws: ({ credential }: FakeServer) => ({
    ...{ AWS_ACCESS_KEY_ID: 'AKIAFAKE', AWS_SECRET_ACCESS_KEY: credential },
    ...{ AWS_CONFIG_FILE: '/dev/null', AWS_SHARED_CREDENTIALS_FILE: '/dev/null' },
  }),
  // Nothing is asked for at an address of plain HTTP.
  gcp: () => ({}),
  azure: ({ credential }: FakeServer, { key }: CloudKey) => ({
    ...{ IDENTITY_ENDPOINT: `${new URL(key).origin}/msi/token`, IDENTITY_HEADER: credential },
    AZURE_TOKEN_CREDENTIALS: 'ManagedIdentityCredential',
  }),
};

describe('a root key in a cloud KMS, by credentials that the SDK finds', () => {
  const engine = createOpensslEngine({ reseedIntervalOps: 1, keyCacheBytes: 1 });
  for (const start of [startFakeAws, startFakeGcp, startFakeAzure])
    test(`it is opened by a process apart, and a refusal comes back in words (${start.name})`, async (t) => {
      const fake: FakeServer = (await start()) as FakeServer;
      t.after(() => fake.close());
      const key = await fake.newKey();
      // The fake has loaded its SDK without them.
      t.after(() => {
        for (const name of Object.keys({ ...loud, ...proxies })) delete process.env[name];
      });
      const write = t.mock.method(process.stderr, 'write', () => true);
      Object.assign(process.env, environments[fake.kind](fake, key), loud, proxies);
      const dataDir = temporaryDirectory(t);
      const around = { dataDir, rule: { groupAllowed: false }, credentials: undefined };
      const secret = randomBytes(32);
      const of = { root: nameOfBytes(engine, secret), generation: 1, listed: [], id: undefined };
      const reading = { ...around, cloud: openCloudWrapping(engine) };
      const { source, proof } = await makeSource(key as never, secret, of, reading);
      assert.equal(proof, 'opened as a start does it');
      assert.equal(source.id, fake.kind);
      writeRootSources(dataDir, [source]);
      const opened = await rootKeyApart({ do: 'open', id: source.id }, around);
      assert.ok(opened.kind === 'descriptor');
      const bytes = Buffer.alloc(33);
      assert.equal(readSync(opened.descriptor, bytes, 0, 33, 0), 32);
      assert.deepEqual(bytes.subarray(0, 32), secret);

      const written = write.mock.calls.map(({ arguments: [text] }) => String(text)).join('');
      const forms = [secret.toString('base64'), secret.toString('base64url'), secret.toString('hex')];
      for (const form of [
        ...forms,
        [...secret].join(),
        JSON.stringify(new Uint8Array(secret)),
        fake.credential,
      ])
        assert.ok(!written.includes(form), `it is in what the SDK writes: ${written.slice(0, 500)}`);

      // Two of them: a process that loads an SDK costs most of a second.
      if (fake.kind === 'aws') return;
      fake.fault(key, 'denied');
      // An SDK that was loaded here had them taken out.
      Object.assign(process.env, loud);
      await assert.rejects(rootKeyApart({ do: 'open', id: source.id }, around), (refusal: Error) => {
        // All that the process wrote, in which the SDK would have been loud.
        assert.match(
          refusal.message,
          /^(gcp|azure) \((Google|Azure) [^\n]*: the identity of this process is refused[^\n]*$/,
        );
        return true;
      });
    });

  test('where the SDK finds no credentials, that is said (a process apart for each)', async (t) => {
    const azure = (await startFakeAzure()) as FakeServer;
    t.after(() => azure.close());
    const nothing = {
      ...{ AWS_EC2_METADATA_DISABLED: 'true', METADATA_SERVER_DETECTION: 'none' },
      ...{ AWS_CONFIG_FILE: '/dev/null', AWS_SHARED_CREDENTIALS_FILE: '/dev/null' },
      ...{ AZURE_TOKEN_CREDENTIALS: 'EnvironmentCredential', CLOUDSDK_CONFIG: '/nonexistent' },
    };
    delete process.env.AWS_ACCESS_KEY_ID;
    delete process.env.GOOGLE_APPLICATION_CREDENTIALS;
    Object.assign(process.env, nothing);
    const dataDir = temporaryDirectory(t);
    const around = { dataDir, rule: { groupAllowed: false }, credentials: undefined };
    const common = { createdAtMs: 1, generation: 1, root: '0123456789abcdef', wrapped: 'AAAA' };
    const { key } = await azure.newKey();
    writeRootSources(dataDir, [
      {
        ...{ ...common, id: 'aws', kind: 'aws', algorithm: 'SYMMETRIC_DEFAULT' },
        key: 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd',
      },
      {
        ...{ ...common, id: 'gcp', kind: 'gcp', algorithm: 'GOOGLE_SYMMETRIC_ENCRYPTION', keyVersion: '1' },
        key: 'projects/p/locations/l/keyRings/r/cryptoKeys/k',
      },
      { ...common, id: 'azure', kind: 'azure', algorithm: 'RSA-OAEP-256', key },
    ]);
    const says = /^(aws|gcp|azure) \([^\n]*: no credentials were found that it takes[^\n]*$/;
    const opening = ['aws', 'gcp', 'azure'].map((id) =>
      assert.rejects(rootKeyApart({ do: 'open', id }, around), { message: says }),
    );
    await Promise.all(opening);
  });
});
