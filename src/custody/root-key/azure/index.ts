import type { TokenCredential } from '@azure/identity';
import type { CryptographyClientOptions, KeyVaultKey, KeyWrapAlgorithm } from '@azure/keyvault-keys';
import { isOwnMachine } from '../cloud/endpoint.ts';
import type { CloudLimits } from '../cloud/limits.ts';
import { quietThisProcess } from '../cloud/quiet.ts';
import { loadSdk } from '../cloud/sdk.ts';
import { CloudTrouble } from '../cloud/trouble.ts';
import type { CloudProvider, CloudTargetOf } from '../cloud/wrapping.ts';
import { azureTrouble } from './errors.ts';

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
    quietThisProcess();
    const { CryptographyClient } = await loadSdk(
      '@azure/keyvault-keys',
      () => import('@azure/keyvault-keys'),
    );
    let answered: string | undefined;
    try {
      const client = new CryptographyClient(
        withoutMaterial(key),
        credential ?? (await defaultCredential()),
        optionsFor(key, limits),
      );
      const { result } = await client[act](algorithm as KeyWrapAlgorithm, bytes, {
        ...{ abortSignal: signal, requestOptions: { timeout: limits.attemptMs } },
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

async function defaultCredential(): Promise<TokenCredential> {
  const { DefaultAzureCredential } = await loadSdk('@azure/identity', () => import('@azure/identity'));
  return new DefaultAzureCredential();
}

/** By an identifier alone the SDK would ask for the public key, to wrap here: one more right, and one more kind of call. */
function withoutMaterial(id: string): KeyVaultKey {
  const { origin: vaultUrl, pathname } = new URL(id);
  const [, , name = '', version = ''] = pathname.split('/');
  return { id, name, properties: { vaultUrl, name, version, id } };
}

function optionsFor(key: string, { attempts }: CloudLimits): CryptographyClientOptions {
  const { protocol, hostname } = new URL(key);
  const emulated = isOwnMachine(hostname);
  return {
    retryOptions: { maxRetries: attempts - 1, retryDelayInMs: 200, maxRetryDelayInMs: 4_000 },
    // A token goes to the vault's own domain only, which an emulator has not.
    disableChallengeResourceVerification: emulated,
    allowInsecureConnection: emulated && protocol === 'http:',
    // A redirect would take the root key elsewhere.
    redirectOptions: { maxRetries: 0 },
  };
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
