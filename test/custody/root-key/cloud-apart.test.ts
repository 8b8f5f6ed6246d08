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

describe('a root key in a cloud KMS, by credentials that the SDK finds', { concurrency: true }, () => {
  const engine = createOpensslEngine({ reseedIntervalOps: 1, keyCacheBytes: 1 });
  for (const start of [startFakeAws, startFakeGcp, startFakeAzure])
    test(`it is opened by a process apart, and a refusal comes back in words (${start.name})`, async (t) => {
      const fake: FakeServer = (await start()) as FakeServer;
      t.after(() => fake.close());
      const key = await fake.newKey();
      Object.assign(process.env, environments[fake.kind](fake, key));
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

      // One of them: a process that loads an SDK costs most of a second.
      if (fake.kind !== 'aws') return;
      fake.fault(key, 'denied');
      await assert.rejects(rootKeyApart({ do: 'open', id: source.id }, around), (refusal: Error) => {
        assert.match(refusal.message, /the identity of this process is refused/);
        assert.ok(!refusal.message.includes(fake.credential));
        return true;
      });
    });
});
