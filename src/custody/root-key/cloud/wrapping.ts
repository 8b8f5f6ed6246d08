import { timingSafeEqual } from 'node:crypto';
import { StartError } from '../../../core/start-error.ts';
import type { ListedSourceOf } from '../sources-file.ts';
import { endpointProblem } from './endpoint.ts';
import { type CloudLimits, cloudLimits } from './limits.ts';
import { CloudTrouble, wordsFor } from './trouble.ts';
import { withinMs } from './within.ts';

export type CloudSource = ListedSourceOf<'aws' | 'gcp' | 'azure'>;
export type CloudKind = CloudSource['kind'];
export type CloudSourceOf<K extends CloudKind> = ListedSourceOf<K>;

type WithoutWrapped<S> = S extends unknown ? Omit<S, 'wrapped' | 'keyVersion'> : never;
/** A source that has nothing wrapped yet. */
export type CloudTarget = WithoutWrapped<CloudSource>;
export type CloudTargetOf<K extends CloudKind> = WithoutWrapped<ListedSourceOf<K>>;

/** Root keys in and out of a cloud KMS, which is asked for nothing else. What cannot be is a StartError. */
export interface CloudWrapping {
  /** What is wrapped was unwrapped once before it is given. */
  wrap(target: CloudTarget, secret: Uint8Array): Promise<CloudSource>;
  /** 32 bytes, which are the root key that the list names; the caller wipes them. */
  unwrap(source: CloudSource): Promise<Uint8Array>;
}

/** One provider's KMS. Both throw a CloudTrouble, and heed the signal. */
export interface CloudProvider<K extends CloudKind> {
  wrap(target: CloudTargetOf<K>, secret: Uint8Array, signal: AbortSignal): Promise<CloudSourceOf<K>>;
  /** In a buffer of its own, which the caller wipes. */
  unwrap(source: CloudSourceOf<K>, signal: AbortSignal): Promise<Uint8Array>;
}

export type CloudProviders = {
  readonly [K in CloudKind]: (limits: CloudLimits) => Promise<CloudProvider<K>>;
};

const productNames = { aws: 'AWS KMS', gcp: 'Google Cloud KMS', azure: 'Azure Key Vault' } as const;
const secretBytes = 32;

/** The name of a source in messages. No secret. */
export function cloudPlace({ id, kind, key }: Pick<CloudSource, 'id' | 'kind' | 'key'>): string {
  return `${id} (${productNames[kind]}, ${key})`;
}

/** What is wrapped is bound to these, where the provider authenticates such data. */
export type Bound = Pick<CloudSource, 'root' | 'id' | 'generation'>;

/** `nameOf`: see rootName. Azure authenticates no data beside the key, so that the name is looked at here, for all of them. */
export function createCloudWrapping(
  nameOf: (secret: Uint8Array) => string,
  providers: CloudProviders,
  limits: CloudLimits = cloudLimits,
): CloudWrapping {
  // The kind chooses the provider of that kind, which types do not follow.
  const providerOf = (kind: CloudKind) =>
    providers[kind](limits) as Promise<unknown> as Promise<CloudProvider<CloudKind>>;

  async function unwrap(source: CloudSource): Promise<Uint8Array> {
    const secret = await said(source, async () => {
      const provider = await providerOf(source.kind);
      return withinMs(limits.wholeMs, (signal) => provider.unwrap(source as never, signal));
    });
    if (secret.length === secretBytes && nameOf(secret) === source.root) return secret;
    const why =
      secret.length === secretBytes
        ? 'gives another key than the one that the list names: what is wrapped is of another source or another list'
        : `gave ${secret.length} bytes, and a root key has exactly ${secretBytes}`;
    secret.fill(0);
    throw new StartError(`${cloudPlace(source)}: ${why}`);
  }

  return {
    async wrap(target, secret) {
      const wrapped = await said(target, async () => {
        const provider = await providerOf(target.kind);
        return withinMs(limits.wholeMs, (signal) => provider.wrap(target as never, secret, signal));
      });
      const back = await unwrap(wrapped);
      const same = timingSafeEqual(back, secret);
      back.fill(0);
      if (!same) throw new StartError(`${cloudPlace(target)}: does not give back what it wrapped`);
      return wrapped;
    },
    unwrap,
  };
}

async function said<T>(source: CloudTarget | CloudSource, does: () => Promise<T>): Promise<T> {
  try {
    const address = source.kind === 'azure' ? source.key : source.endpoint;
    const problem = address === undefined ? undefined : endpointProblem(source.kind, address);
    if (problem !== undefined) throw new StartError(`${cloudPlace(source)}: the address ${problem}`);
    return await does();
  } catch (cause) {
    if (cause instanceof StartError) throw cause;
    // Errors of the SDKs may quote what was sent, so that none is a cause of this one.
    const trouble = cause instanceof CloudTrouble ? cause : new CloudTrouble('failed');
    throw new StartError(`${cloudPlace(source)}: ${wordsFor(trouble)}`);
  }
}
