import { createRequire } from 'node:module';
import * as grpc from '@grpc/grpc-js';
import { crc32c } from '../../../src/custody/root-key/gcp/crc32c.ts';
import { gcpProvider } from '../../../src/custody/root-key/gcp/index.ts';
import { type CloudKey, changedBy, FakeKeys, type FakeServer, type Fault } from './server.ts';

interface Asked {
  readonly name: string;
  readonly plaintext?: Buffer;
  readonly ciphertext?: Buffer;
  readonly additionalAuthenticatedData: Buffer;
  readonly plaintextCrc32c?: { readonly value: unknown };
  readonly ciphertextCrc32c?: { readonly value: unknown };
  readonly additionalAuthenticatedDataCrc32c?: { readonly value: unknown };
}

/** The messages of the SDK's own protos. */
function messages() {
  const load = createRequire(import.meta.url);
  const { protos } = load('@google-cloud/kms') as typeof import('@google-cloud/kms');
  return protos.google.cloud.kms.v1;
}

/** Google Cloud KMS as far as Encrypt and Decrypt, over gRPC without TLS on loopback, in the SDK's own protos. */
export async function startFakeGcp(): Promise<FakeServer<'gcp'>> {
  const keys = new FakeKeys();
  const { EncryptRequest, EncryptResponse, DecryptRequest, DecryptResponse } = messages();
  const method = (
    name: string,
    ask: typeof EncryptRequest | typeof DecryptRequest,
    say: typeof EncryptResponse,
  ) => ({
    ...{
      path: `/google.cloud.kms.v1.KeyManagementService/${name}`,
      requestStream: false,
      responseStream: false,
    },
    requestSerialize: () => Buffer.alloc(0),
    requestDeserialize: (bytes: Buffer) => ask.decode(bytes) as unknown as Asked,
    responseSerialize: (answer: object) => Buffer.from(say.encode(say.create(answer)).finish()),
    responseDeserialize: (bytes: Buffer) => bytes,
  });
  const answering = (name: 'Encrypt' | 'Decrypt') => (call: Call, done: Done) => {
    const answer = answerOf(keys, name, call.request);
    if (answer !== undefined) done(...answer);
  };
  const server = new grpc.Server();
  server.addService(
    {
      Encrypt: method('Encrypt', EncryptRequest, EncryptResponse),
      Decrypt: method('Decrypt', DecryptRequest, DecryptResponse as unknown as typeof EncryptResponse),
    },
    {
      Encrypt: answering('Encrypt'),
      Decrypt: answering('Decrypt'),
    },
  );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (failed, bound) =>
      failed === null ? resolve(bound) : reject(failed),
    ),
  );
  const ring = 'projects/fake/locations/europe-west3/keyRings/ring';
  let made = 0;
  const named = (): CloudKey<'gcp'> => ({
    ...{ kind: 'gcp', endpoint: `http://127.0.0.1:${port}`, algorithm: 'GOOGLE_SYMMETRIC_ENCRYPTION' },
    key: `${ring}/cryptoKeys/key-${++made}`,
  });
  return {
    ...{ kind: 'gcp', credential: 'fake-secret-of-gcp', seen: keys.seen },
    async newKey() {
      const key = named();
      keys.add(key.key);
      return key;
    },
    missingKey: named,
    disable: async ({ key }) => keys.set(key, 'disabled'),
    enable: async ({ key }) => keys.set(key, 'enabled'),
    scheduleDeletion: async ({ key }) => keys.set(key, 'deletion'),
    provider: (limits) => gcpProvider(limits),
    fault: ({ key }, fault, times) => keys.fault(key, fault, times),
    at: (key, origin) => ({ ...key, endpoint: origin }),
    close: async () => server.forceShutdown(),
  };
}

type Call = { readonly request: Asked };
type Refusal = { readonly code: number; readonly details: string };
type Answer = [failed: Refusal] | [failed: null, answer: object];
type Done = (...answer: Answer) => void;

const refusals: Partial<Record<Fault, number>> = {
  throttle: grpc.status.RESOURCE_EXHAUSTED,
  unavailable: grpc.status.UNAVAILABLE,
  cut: grpc.status.UNAVAILABLE,
  denied: grpc.status.PERMISSION_DENIED,
  'no-credentials': grpc.status.UNAUTHENTICATED,
};

/** Undefined: it never answers. */
function answerOf(keys: FakeKeys, call: 'Encrypt' | 'Decrypt', asked: Asked): Answer | undefined {
  const { name, additionalAuthenticatedData: aad } = asked;
  keys.seen.push({ call, key: name });
  const refuse = (code: number, details = 'of a test'): Answer => [{ code, details }];
  const fault = keys.takeFault(name);
  if (fault === 'hang') return undefined;
  const refusal = fault && refusals[fault];
  if (refusal !== undefined) return refuse(refusal);
  const state = keys.stateOf(name);
  if (state === undefined) return refuse(grpc.status.NOT_FOUND);
  if (state !== 'enabled') {
    const current = state === 'disabled' ? 'DISABLED' : 'DESTROY_SCHEDULED';
    return refuse(grpc.status.FAILED_PRECONDITION, `it is not enabled, current state is: ${current}.`);
  }
  const sent = call === 'Encrypt' ? asked.plaintext : asked.ciphertext;
  const sums = [
    asked[call === 'Encrypt' ? 'plaintextCrc32c' : 'ciphertextCrc32c'],
    asked.additionalAuthenticatedDataCrc32c,
  ];
  if (sent === undefined || [sent, aad].some((bytes, at) => Number(sums[at]?.value ?? -1) !== crc32c(bytes)))
    return refuse(grpc.status.INVALID_ARGUMENT, 'a checksum of the request is wrong');
  const wrongBy = fault === 'wrong-checksum' ? 1 : 0;
  if (call === 'Encrypt') {
    const ciphertext = keys.seal(name, sent, aad);
    return [
      null,
      {
        name: `${fault === 'other-key' ? `${name}x` : name}/cryptoKeyVersions/1`,
        ...{ ciphertext, ciphertextCrc32c: { value: crc32c(ciphertext) + wrongBy } },
        ...{
          verifiedPlaintextCrc32c: fault !== 'unverified',
          verifiedAdditionalAuthenticatedDataCrc32c: true,
        },
      },
    ];
  }
  const opened = keys.open(name, sent, aad);
  if (opened === undefined) return refuse(grpc.status.INVALID_ARGUMENT, 'Decryption failed');
  const plaintext = changedBy(fault, opened);
  return [null, { plaintext, plaintextCrc32c: { value: crc32c(plaintext) + wrongBy } }];
}
