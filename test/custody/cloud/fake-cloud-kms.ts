/**
 * `FAKE_CLOUD_KMS=/path/to/fake-cloud-kms npm run gcp:emulator`: an emulator of Google Cloud KMS that others wrote in Go
 * (github.com/winor30/fake-cloud-kms) holds the contract of a cloud KMS. `npm test` has a fake of our own, which has faults and
 * states of keys that it lacks. How to build it: docs/cloud-roots.md.
 */
import { randomUUID } from 'node:crypto';
import { KeyManagementServiceClient } from '@google-cloud/kms';
import * as grpc from '@grpc/grpc-js';
import { gcpProvider } from '../../../src/custody/root-key/gcp/index.ts';
import { cloudRootContract } from '../../contracts/cloud-root.ts';
import type { CloudKey, CloudServer } from '../../support/cloud/server.ts';
import { startEmulator } from './emulator.ts';

const program = process.env.FAKE_CLOUD_KMS;

async function start(): Promise<CloudServer<'gcp'>> {
  const emulator = await startEmulator(program ?? '', (port) => ['--grpc-listen-addr', `127.0.0.1:${port}`]);
  const { hostname, port } = new URL(emulator.endpoint);
  const client = new KeyManagementServiceClient({
    ...{ apiEndpoint: hostname, port: Number(port), fallback: false },
    sslCreds: grpc.credentials.createInsecure(),
    auth: { getUniverseDomain: async () => 'googleapis.com' } as never,
  });
  const parent = 'projects/test/locations/global';
  await client.createKeyRing({ parent, keyRingId: 'ring' });
  const named = (id: string): CloudKey<'gcp'> => ({
    ...{ kind: 'gcp', endpoint: emulator.endpoint, algorithm: 'GOOGLE_SYMMETRIC_ENCRYPTION' },
    key: `${parent}/keyRings/ring/cryptoKeys/${id}`,
  });
  const lacking = async () => {
    throw new Error('this emulator has no states of keys');
  };
  return {
    ...{ kind: 'gcp', disable: lacking, enable: lacking, scheduleDeletion: lacking },
    async newKey() {
      const cryptoKeyId = randomUUID();
      const cryptoKey = { purpose: 'ENCRYPT_DECRYPT' as const };
      await client.createCryptoKey({ parent: `${parent}/keyRings/ring`, cryptoKeyId, cryptoKey });
      return named(cryptoKeyId);
    },
    missingKey: () => named('missing'),
    provider: (limits) => gcpProvider(limits),
    async close() {
      await client.close();
      await emulator.stop();
    },
  };
}

if (program !== undefined) cloudRootContract('fake-cloud-kms', start, { lacksStates: true });
else {
  process.stderr.write('FAKE_CLOUD_KMS names no program: docs/cloud-roots.md says how it is built\n');
  process.exitCode = 1;
}
