import type { protos, v1 } from '@google-cloud/kms';
import { maxAnswerBytes } from '../cloud/answers.ts';
import { isOwnMachine } from '../cloud/endpoint.ts';
import type { CloudLimits } from '../cloud/limits.ts';
import { loadSdk } from '../cloud/sdk.ts';
import { CloudTrouble } from '../cloud/trouble.ts';
import type { Bound, CloudProvider, CloudTargetOf } from '../cloud/wrapping.ts';
import { crc32c } from './crc32c.ts';
import { gcpTrouble } from './errors.ts';

type Client = v1.KeyManagementServiceClient;
type ClientOptions = NonNullable<ConstructorParameters<typeof v1.KeyManagementServiceClient>[0]>;
/** The credentials of a test; a service has those that the SDK finds. */
export type GcpCredentials = NonNullable<ClientOptions['credentials']>;
type EncryptAnswer = protos.google.cloud.kms.v1.IEncryptResponse;
type DecryptAnswer = protos.google.cloud.kms.v1.IDecryptResponse;

/**
 * Encrypt and Decrypt of Google Cloud KMS with a symmetric key, over gRPC. Additional authenticated data bind what is wrapped to
 * root key, source and generation. Every field goes with its CRC32C, and no answer without its own is taken
 * (cloud.google.com/kms/docs/data-integrity-guidelines). At an address with plain HTTP, of this machine, no credential is sent.
 */
export function gcpProvider(limits: CloudLimits, credentials?: GcpCredentials): CloudProvider<'gcp'> {
  async function asking<T>(
    { endpoint }: CloudTargetOf<'gcp'>,
    opening: boolean,
    ask: (client: Client) => Promise<T>,
  ): Promise<T> {
    const { KeyManagementServiceClient } = await loadSdk(
      '@google-cloud/kms',
      () => import('@google-cloud/kms'),
    );
    const client = new KeyManagementServiceClient({
      ...{ fallback: false, 'grpc.max_receive_message_length': maxAnswerBytes },
      ...{ clientOptions: tokenOptions, ...(credentials && { credentials }) },
      ...(await addressOf(endpoint)),
    });
    try {
      // A call would do it by itself, and end the process where there are no credentials.
      await client.initialize();
      return await ask(client);
    } catch (cause) {
      throw gcpTrouble(cause, opening);
    } finally {
      // Without a connection there is none to close.
      await client.close().catch(() => {});
    }
  }

  /** UNAVAILABLE, DEADLINE_EXCEEDED and RESOURCE_EXHAUSTED; google-gax draws each pause between zero and its delay. */
  const callOptions = {
    timeout: limits.attemptMs,
    retry: {
      retryCodes: [14, 4, 8],
      backoffSettings: {
        ...{ initialRetryDelayMillis: 200, retryDelayMultiplier: 2, maxRetryDelayMillis: 4_000 },
        ...{ initialRpcTimeoutMillis: limits.attemptMs, maxRpcTimeoutMillis: limits.attemptMs },
        // It counts calls.
        ...{ rpcTimeoutMultiplier: 1, maxRetries: limits.attempts },
      },
    },
  };

  return {
    wrap: (target, secret, signal) =>
      asking(target, false, async (client) => {
        const additionalAuthenticatedData = dataOf(target);
        const request = {
          ...{ name: target.key, plaintext: secret, plaintextCrc32c: { value: crc32c(secret) } },
          additionalAuthenticatedData,
          additionalAuthenticatedDataCrc32c: { value: crc32c(additionalAuthenticatedData) },
        };
        const [answer] = await untilAborted(client.encrypt(request, callOptions), signal);
        return { ...target, ...readEncrypted(answer, target.key) };
      }),
    unwrap: (source, signal) =>
      asking(source, true, async (client) => {
        const ciphertext = Buffer.from(source.wrapped, 'base64');
        const additionalAuthenticatedData = dataOf(source);
        const request = {
          ...{ name: source.key, ciphertext, ciphertextCrc32c: { value: crc32c(ciphertext) } },
          additionalAuthenticatedData,
          additionalAuthenticatedDataCrc32c: { value: crc32c(additionalAuthenticatedData) },
        };
        const [answer] = await untilAborted(client.decrypt(request, callOptions), signal);
        return readDecrypted(answer);
      }),
  };
}

/** The parts have a closed set of characters without `/`. */
function dataOf({ root, id, generation }: Bound): Buffer {
  return Buffer.from(`intaglio-root-key/v1/${root}/${id}/${generation}`);
}

/** Of the services of tokens: a redirection would take what a token is asked for by elsewhere. `size`: see maxAnswerBytes. */
const tokenOptions = {
  transporterOptions: { size: maxAnswerBytes, redirect: 'error' },
} as unknown as NonNullable<ClientOptions['clientOptions']>;

async function addressOf(endpoint: string | undefined): Promise<ClientOptions> {
  if (endpoint === undefined) return {};
  const { protocol, hostname, port } = new URL(endpoint);
  const at = {
    ...{ apiEndpoint: hostname, ...(port === '' ? undefined : { port: Number(port) }) },
    // Else plain HTTP to this machine would go by a proxy.
    ...(isOwnMachine(hostname) && { 'grpc.enable_http_proxy': 0 }),
  };
  if (protocol === 'https:') return at;
  const { credentials } = await import('@grpc/grpc-js');
  return {
    ...{ ...at, port: Number(port || 80), sslCreds: credentials.createInsecure() },
    // The SDK asks it for this alone.
    auth: { getUniverseDomain: async () => 'googleapis.com' } as unknown as NonNullable<
      ClientOptions['auth']
    >,
  };
}

async function untilAborted<T>(call: Promise<T>, signal: AbortSignal): Promise<T> {
  const cancel = () => (call as Promise<T> & { cancel?: () => void }).cancel?.();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    return await call;
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}

function readEncrypted(answer: EncryptAnswer, key: string): { keyVersion: string; wrapped: string } {
  const { name, ciphertext, ciphertextCrc32c } = answer;
  const keyVersion = name?.startsWith(`${key}/cryptoKeyVersions/`)
    ? name.slice(key.length + '/cryptoKeyVersions/'.length)
    : '';
  if (!/^[1-9][0-9]{0,18}$/.test(keyVersion)) throw new CloudTrouble('lied', 'name');
  if (answer.verifiedPlaintextCrc32c !== true) throw new CloudTrouble('lied', 'verified_plaintext_crc32c');
  if (answer.verifiedAdditionalAuthenticatedDataCrc32c !== true)
    throw new CloudTrouble('lied', 'verified_additional_authenticated_data_crc32c');
  const bytes = bytesOf(ciphertext);
  requireChecksum(bytes, ciphertextCrc32c, 'ciphertext_crc32c');
  return { keyVersion, wrapped: Buffer.from(bytes).toString('base64') };
}

function readDecrypted({ plaintext, plaintextCrc32c }: DecryptAnswer): Uint8Array {
  const given = bytesOf(plaintext);
  const own = Uint8Array.from(given);
  given.fill(0);
  requireChecksum(own, plaintextCrc32c, 'plaintext_crc32c');
  return own;
}

function bytesOf(value: Uint8Array | string | null | undefined): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value, 'base64') : (value ?? new Uint8Array());
}

/** An Int64Value: a number, or an object or a string where it could be too large for one. */
function requireChecksum(
  bytes: Uint8Array,
  said: protos.google.protobuf.IInt64Value | null | undefined,
  field: string,
): void {
  const value = said?.value;
  if (value === undefined || value === null || Number(value) !== crc32c(bytes))
    throw new CloudTrouble('lied', field);
}
