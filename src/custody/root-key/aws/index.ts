import { Agent } from 'node:https';
import type { Readable } from 'node:stream';
import type * as Kms from '@aws-sdk/client-kms';
import { boundedBody } from '../cloud/answers.ts';
import { isOwnMachine } from '../cloud/endpoint.ts';
import type { CloudLimits } from '../cloud/limits.ts';
import { loadSdk } from '../cloud/sdk.ts';
import { CloudTrouble } from '../cloud/trouble.ts';
import type { Bound, CloudProvider, CloudTargetOf } from '../cloud/wrapping.ts';
import { awsTrouble } from './errors.ts';

/** The credentials of a test; a service has those that the SDK finds. */
export type AwsCredentials = NonNullable<Kms.KMSClientConfig['credentials']>;

/**
 * Encrypt and Decrypt of AWS KMS with a symmetric key. The encryption context binds what is wrapped to root key, source and
 * generation, and stands in CloudTrail. Retries are the SDK's standard ones: exponential pauses with full jitter, from 50 ms and,
 * where KMS throttles, from 1 s.
 */
export function awsProvider(limits: CloudLimits, credentials?: AwsCredentials): CloudProvider<'aws'> {
  async function asking<T>(
    { key, endpoint }: CloudTargetOf<'aws'>,
    ask: (client: Kms.KMSClient, sdk: typeof Kms) => Promise<T>,
  ): Promise<T> {
    const sdk = await loadSdk('@aws-sdk/client-kms', () => import('@aws-sdk/client-kms'));
    const client = new sdk.KMSClient({
      ...{ region: regionOf(key), maxAttempts: limits.attempts, retryMode: 'standard' },
      requestHandler: {
        connectionTimeout: limits.connectMs,
        requestTimeout: limits.attemptMs,
        // Without it the SDK writes a warning and waits on.
        throwOnRequestTimeout: true,
        // The SDK has no proxies of its own; Node's agent has, for TLS alone. See settleNetwork.
        httpsAgent: new Agent({ keepAlive: true, proxyEnv: proxyVariables() }),
      },
      ...(endpoint === undefined ? undefined : { endpoint }),
      ...(credentials === undefined ? undefined : { credentials }),
    });
    requireTls(client);
    boundAnswers(client, limits.attemptMs);
    try {
      return await ask(client, sdk);
    } catch (cause) {
      throw awsTrouble(cause);
    } finally {
      client.destroy();
    }
  }

  return {
    wrap: (target, secret, signal) =>
      asking(target, async (client, { EncryptCommand }) => {
        const { key: KeyId, algorithm: EncryptionAlgorithm } = target;
        const EncryptionContext = contextOf(target);
        const command = new EncryptCommand({
          ...{ KeyId, EncryptionAlgorithm, EncryptionContext },
          Plaintext: secret,
        });
        const answer = await client.send(command, { abortSignal: signal });
        requireKey(answer, KeyId);
        if (answer.CiphertextBlob === undefined) throw new CloudTrouble('lied', 'CiphertextBlob');
        return { ...target, wrapped: Buffer.from(answer.CiphertextBlob).toString('base64') };
      }),
    unwrap: (source, signal) =>
      asking(source, async (client, { DecryptCommand }) => {
        const { key: KeyId, algorithm: EncryptionAlgorithm } = source;
        const EncryptionContext = contextOf(source);
        const command = new DecryptCommand({
          ...{ KeyId, EncryptionAlgorithm, EncryptionContext },
          CiphertextBlob: Buffer.from(source.wrapped, 'base64'),
        });
        const answer = await client.send(command, { abortSignal: signal });
        requireKey(answer, KeyId);
        const { Plaintext: given = new Uint8Array() } = answer;
        const own = Uint8Array.from(given);
        given.fill(0);
        return own;
      }),
  };
}

/** Keys and values are in the clear in CloudTrail; a key policy may ask for them (kms:EncryptionContext:intaglio-root). */
function contextOf({ root, id, generation }: Bound): Record<string, string> {
  return { 'intaglio-root': root, 'intaglio-source': id, 'intaglio-generation': String(generation) };
}

/** `arn:aws:kms:<region>:<account>:key/<id>` */
function regionOf(arn: string): string {
  return arn.split(':')[3] as string;
}

/** The variables AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_KMS, and profiles, set endpoints, too. */
function requireTls(client: Kms.KMSClient): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      const { protocol, hostname } = args.request as { protocol: string; hostname: string };
      if (protocol !== 'https:' && !isOwnMachine(hostname)) throw new CloudTrouble('failed', 'http');
      return next(args);
    },
    { step: 'build', name: 'intaglioRequireTls' },
  );
}

/** The SDK reads whatever comes, for as long as it comes. Its clients of token services take the same handler. */
function boundAnswers(client: Kms.KMSClient, limitMs: number): void {
  const { requestHandler } = client.config;
  const handle = requestHandler.handle.bind(requestHandler);
  requestHandler.handle = async (request, options) => {
    const { response } = await handle(request, options);
    response.body = await boundedBody(response.body as Readable, AbortSignal.timeout(limitMs));
    return { response };
  };
}

function proxyVariables(): { HTTPS_PROXY?: string; NO_PROXY?: string } {
  const { HTTPS_PROXY, NO_PROXY } = process.env;
  return { ...(HTTPS_PROXY && { HTTPS_PROXY }), ...(NO_PROXY && { NO_PROXY }) };
}

function requireKey(
  { KeyId, EncryptionAlgorithm }: Pick<Kms.DecryptResponse, 'KeyId' | 'EncryptionAlgorithm'>,
  arn: string,
): void {
  if (KeyId !== arn) throw new CloudTrouble('lied', 'KeyId');
  if ((EncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT') !== 'SYMMETRIC_DEFAULT')
    throw new CloudTrouble('lied', 'EncryptionAlgorithm');
}
