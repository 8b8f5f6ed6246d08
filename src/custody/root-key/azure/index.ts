import http from 'node:http';
import https from 'node:https';
import type { Readable } from 'node:stream';
import type { TokenCredential } from '@azure/identity';
import type { CryptographyClientOptions, KeyVaultKey, KeyWrapAlgorithm } from '@azure/keyvault-keys';
import { boundedBody } from '../cloud/answers.ts';
import { isOwnMachine } from '../cloud/endpoint.ts';
import type { CloudLimits } from '../cloud/limits.ts';
import { loadSdk } from '../cloud/sdk.ts';
import { CloudTrouble } from '../cloud/trouble.ts';
import type { CloudProvider, CloudTargetOf } from '../cloud/wrapping.ts';
import { azureTrouble } from './errors.ts';

type PipelinePolicy = NonNullable<CryptographyClientOptions['additionalPolicies']>[number]['policy'];
type Act = 'wrapKey' | 'unwrapKey';

/**
 * wrapKey and unwrapKey of Azure Key Vault or a managed HSM: RSAES-OAEP with SHA-256, or AES key wrap (RFC 3394) of a managed
 * HSM. Neither takes data to authenticate: whoever calls looks at the root key's name. Retries are the SDK's: of 429 and 503 after
 * the time of Retry-After, of other failures with pauses that double.
 */
export function azureProvider(limits: CloudLimits, credential?: TokenCredential): CloudProvider<'azure'> {
  async function ask(
    act: Act,
    { key, algorithm }: CloudTargetOf<'azure'>,
    bytes: Uint8Array,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const { CryptographyClient } = await loadSdk(
      '@azure/keyvault-keys',
      () => import('@azure/keyvault-keys'),
    );
    let answered: string | undefined;
    try {
      const client = new CryptographyClient(
        withoutMaterial(key),
        credential ?? (await defaultCredential(limits)),
        optionsFor(key, limits),
      );
      const { result } = await client[act](algorithm as KeyWrapAlgorithm, bytes, {
        abortSignal: signal,
        onResponse: ({ bodyAsText }) => {
          answered = bodyAsText ?? undefined;
        },
      });
      requireKey(answered, key);
      return result;
    } catch (cause) {
      throw azureTrouble(cause, act === 'unwrapKey');
    }
  }

  return {
    wrap: async (target, secret, signal) => ({
      ...target,
      wrapped: Buffer.from(await ask('wrapKey', target, secret, signal)).toString('base64'),
    }),
    unwrap: async (source, signal) => {
      const given = await ask('unwrapKey', source, Buffer.from(source.wrapped, 'base64'), signal);
      const own = Uint8Array.from(given);
      given.fill(0);
      return own;
    },
  };
}

async function defaultCredential(limits: CloudLimits): Promise<TokenCredential> {
  const { DefaultAzureCredential } = await loadSdk('@azure/identity', () => import('@azure/identity'));
  return new DefaultAzureCredential(boundsOf(limits));
}

/** By an identifier alone the SDK would ask for the public key, to wrap here: one more right, and one more kind of call. */
function withoutMaterial(id: string): KeyVaultKey {
  const { origin: vaultUrl, pathname } = new URL(id);
  const [, , name = '', version = ''] = pathname.split('/');
  return { id, name, properties: { vaultUrl, name, version, id } };
}

function optionsFor(key: string, limits: CloudLimits): CryptographyClientOptions {
  const { protocol, hostname } = new URL(key);
  const emulated = isOwnMachine(hostname);
  return {
    ...boundsOf(limits, { direct: emulated }),
    retryOptions: { maxRetries: limits.attempts - 1, retryDelayInMs: 200, maxRetryDelayInMs: 4_000 },
    // A token goes to the vault's own domain only, which an emulator has not.
    disableChallengeResourceVerification: emulated,
    allowInsecureConnection: emulated && protocol === 'http:',
  };
}

type Bounds = Pick<CryptographyClientOptions, 'additionalPolicies' | 'redirectOptions'>;

/**
 * Of the vault, and of the services of tokens. The SDK reads and inflates whatever comes, for as long as it comes.
 * `vault`: its answers are objects of JSON, but for the challenge.
 */
function boundsOf({ attemptMs }: CloudLimits, vault?: { readonly direct: boolean }): Bounds {
  const policy: PipelinePolicy = {
    name: 'intaglioBounds',
    async sendRequest(request, next) {
      // Nothing of a few hundred bytes gains by being smaller on the way.
      request.headers.set('Accept-Encoding', 'identity');
      request.streamResponseStatusCodes = new Set([Number.POSITIVE_INFINITY]);
      // The SDK's own timeout leaves a timer behind that keeps the process, where a connection fails.
      const signal = untilEither(request.abortSignal, attemptMs);
      if (vault !== undefined) request.abortSignal = signal;
      // Else plain HTTP to this machine would go by a proxy.
      if (vault?.direct) request.agent = new (request.url.startsWith('https:') ? https : http).Agent();
      const { readableStreamBody, ...answer } = await next(request);
      if (readableStreamBody === undefined) return answer;
      const body = await boundedBody(readableStreamBody as Readable, signal);
      const bodyAsText = body.toString('utf8');
      if (vault !== undefined && hasToBeObject(answer.status) && !isObject(bodyAsText))
        throw new CloudTrouble('lied', String(answer.status));
      return { ...answer, bodyAsText };
    },
  };
  return {
    additionalPolicies: [{ policy, position: 'perRetry' }],
    // One would take the root key, or what a token is asked for by, elsewhere.
    redirectOptions: { maxRetries: 0 },
  };
}

function untilEither(signal: unknown, limitMs: number): AbortSignal {
  const timeout = AbortSignal.timeout(limitMs);
  return signal instanceof AbortSignal ? AbortSignal.any([signal, timeout]) : timeout;
}

/** 401 is the challenge; 429, 502 to 504 and their like may come from what stands before the vault, and are tried again. */
function hasToBeObject(status: number): boolean {
  return status < 429 && status !== 401;
}

function isObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

/** The SDK says the key that it asked for; this is the one that answered. */
function requireKey(body: string | undefined, key: string): void {
  let kid: unknown;
  try {
    kid = (JSON.parse(body ?? '') as { kid?: unknown }).kid;
  } catch {
    kid = undefined;
  }
  if (kid !== key) throw new CloudTrouble('lied', 'kid');
}
