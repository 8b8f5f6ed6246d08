import { mintToken } from '../../src/auth/macaroon/mint.ts';
import { readMacaroonKey } from '../../src/auth/macaroon/root-key.ts';
import type { Scope } from '../../src/core/scope.ts';
import { type ServiceProcess, startService } from '../../test/support/service.ts';
import type { LoadRequest } from '../load/plan.ts';
import { ask, askAll } from './client.ts';
import { firstPayload, type SignAnswer, signRequests, type UsableKey } from './requests.ts';
import { checkSignature, type Target } from './target.ts';

/** The product itself, as `npm start` runs it, with a fresh data directory. */
export interface Product extends Target {
  readonly engine: 'native' | 'openssl';
  readonly dataDir: string;
  readonly service: ServiceProcess;
  /** A capability of any tenant, made in this process: thousands of them take a second. */
  tokenOf(tenant: string): string;
  /** A new key of a tenant, which has signed once. */
  keyOf(tenant: string, alg: string): Promise<UsableKey>;
  /** One new key for each tenant, each of which has signed once. */
  keysOf(
    tenants: readonly string[],
    alg: string,
    onProgress?: (done: number) => void,
  ): Promise<readonly UsableKey[]>;
}

export interface ProductOptions {
  readonly name?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly dataDir?: string;
  readonly policy?: Policy;
  /** Of its capabilities, beyond creating, reading, signing and verifying. */
  readonly moreScopes?: readonly Scope[];
}

/**
 * The service's own defaults, which test/support makes more generous; except the 500 signatures a second of a tenant,
 * which are there to be reached while these benches ask what lies beyond, and the
 * 1,024 connections, because a generator opens one for each request that is under way.
 */
export const benchSettings = {
  KMS_SIGN_RATE_LIMIT: '0',
  KMS_CREATE_RATE_LIMIT: '0',
  KMS_DESTROY_RATE_LIMIT: '0',
  KMS_MAX_CONNECTIONS: '16384',
  KMS_MAX_CONNECTIONS_PER_ADDRESS: '16384',
  KMS_REFUSALS_PER_ADDRESS: '1000',
  KMS_DEFAULT_DEADLINE_MS: '250',
  // A closed loop that looks for the most has more under way than is to wait where a queue stands.
  KMS_QUEUE_TARGET_MS: '2000',
  KMS_SIGN_DEADLINE_MS: '2000',
};

/** For benches that ask for more than can be done: queues that stand are kept as short as the service keeps them. */
export const servedAsInService = { KMS_QUEUE_TARGET_MS: '5' } as const;

/** Changes to the service for a comparison: see servers/tuned.ts. */
export interface Policy {
  /** One FIFO for everybody instead of one for each tenant. */
  readonly oneQueue?: boolean;
  /** Calls that may go to a worker in one message. */
  readonly callsPerMessage?: number;
}

const scopes = ['kms:create', 'kms:read', 'kms:sign', 'kms:verify'] as const;

export async function startProduct(options: ProductOptions = {}): Promise<Product> {
  const service = await startService({
    env: { ...benchSettings, ...options.env },
    ...(options.policy === undefined
      ? undefined
      : { program: ['bench/servers/tuned.ts', JSON.stringify(options.policy)] }),
    ...(options.dataDir === undefined ? undefined : { dataDir: options.dataDir }),
  });
  const macaroonKey = readMacaroonKey(service.dataDir, { groupAllowed: false });
  if (!macaroonKey.ok) throw new Error(macaroonKey.problem);
  const tokens = new Map<string, string>();
  const tokenOf = (tenant: string): string => {
    let token = tokens.get(tenant);
    if (token === undefined) {
      const minted = mintToken({
        rootKey: macaroonKey.rootKey,
        tenant,
        scopes: [...scopes, ...(options.moreScopes ?? [])],
      });
      if (!minted.ok) throw new Error(minted.failure.code);
      token = minted.value;
      tokens.set(tenant, token);
    }
    return token;
  };
  const keysOf: Product['keysOf'] = async (tenants, alg, onProgress) => {
    const made = (await askAll(
      service.port,
      tenants.map((tenant) => createRequest(tokenOf(tenant), alg)),
      onProgress,
    )) as { kid: string }[];
    const keys = made.map(({ kid }, n) => ({ kid, token: tokenOf(tenants[n] as string) }));
    await askAll(
      service.port,
      keys.map((key) => signRequests(key)[0] as LoadRequest),
    );
    return keys;
  };
  return {
    name: options.name ?? 'Intaglio',
    pid: service.pid,
    port: service.port,
    engine: service.engine,
    dataDir: service.dataDir,
    service,
    tokenOf,
    keysOf,
    keyOf: async (tenant, alg) => (await keysOf([tenant], alg))[0] as UsableKey,
    async signer(alg) {
      const token = tokenOf('comparison');
      const made = await ask<{ kid: string; public: { pubkey_b64: string } }>(
        service.port,
        createRequest(token, alg),
      );
      const key = { kid: made.kid, token };
      const signed = await ask<SignAnswer>(service.port, signRequests(key)[0] as LoadRequest);
      checkSignature(alg, made.public.pubkey_b64, firstPayload, signed);
      return key;
    },
    stop: async () => {
      const status = await service.stop();
      if (status !== 0) throw new Error(`the service ended with status ${status}: ${service.errors()}`);
    },
  };
}

function createRequest(token: string, alg: string): LoadRequest {
  return {
    method: 'POST',
    path: '/v1/kms/keys',
    token,
    body: JSON.stringify({ purpose: 'bench', alg }),
  };
}
