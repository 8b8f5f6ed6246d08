import { servedEngines } from './engines.ts';
import { type InProcessOptions, startInProcess } from './in-process.ts';
import type { RawRequest } from './requests.ts';
import type { InProcessService } from './service.ts';
import { createSoftHsm, noSoftHsm } from './softhsm.ts';

type Starting = Omit<InProcessOptions, 'listen'>;

/** A service whose keys one way or another do the same: each engine, and a token for the algorithms that it holds. */
export interface TestedService {
  /** As in `signing with …`. */
  readonly name: string;
  readonly start: (options?: Starting) => Promise<InProcessService>;
  /** False of keys that are tested elsewhere already: a token does not hold them, so that our engine has them. */
  readonly covers: (alg: string) => boolean;
  /** Members of a key's answer that say where it is. */
  readonly shown: { readonly backend: string; readonly attestation_class: string; readonly policy?: object };
  /** True of a token that keeps the length of what it wraps by RFC 5649 only if that is a multiple of eight. */
  readonly wrapsWholeBlocks: boolean;
}

const ofEngines: readonly TestedService[] = servedEngines().map(({ name }) => ({
  name: `the ${name} engine`,
  start: ({ env, ...options } = {}) => startInProcess({ ...options, env: { KMS_ENGINE: name, ...env } }),
  covers: () => true,
  shown: { backend: 'software', attestation_class: 'none' },
  wrapsWholeBlocks: false,
}));

/** Of those that the suites try. */
const heldBySoftHsm: ReadonlySet<string> = new Set([
  ...['ed25519', 'ecdsa-p256', 'ecdsa-p384', 'rsa-2048', 'rsa-3072', 'rsa-4096'],
  ...['hmac-sha256', 'aes-256-gcm', 'aes-256-kwp'],
]);

const ofToken: TestedService = {
  name: 'keys in a token',
  start: startWithToken,
  covers: (alg) => heldBySoftHsm.has(alg),
  shown: { backend: 'pkcs11', attestation_class: 'pkcs11', policy: { backend: 'pkcs11' } },
  wrapsWholeBlocks: true,
};

export const testedServices: readonly TestedService[] = [
  ...ofEngines,
  ...(noSoftHsm === false ? [ofToken] : []),
];

/** Every key is asked of the token that it holds, whatever the test says of it. */
async function startWithToken({ env, ...options }: Starting = {}): Promise<InProcessService> {
  const softHsm = createSoftHsm();
  const service = await startInProcess({
    ...options,
    env: { ...softHsm.environment(softHsm.makeToken('suite')), ...env },
  });
  return Object.assign(service, {
    send: withBackend(service.send),
    stop: after(service.stop, softHsm.remove),
  });
}

function withBackend(send: InProcessService['send']): InProcessService['send'] {
  return (sent) => send(sent.path === '/v1/kms/keys' && sent.method === 'POST' ? moved(sent) : sent);
}

function moved(sent: RawRequest): RawRequest {
  const body = JSON.parse(String(sent.body));
  if (!heldBySoftHsm.has(body.alg)) return sent;
  return { ...sent, body: JSON.stringify({ ...body, policy: { ...body.policy, backend: 'pkcs11' } }) };
}

function after<T>(first: () => Promise<T>, then: () => void): () => Promise<T> {
  return async () => {
    try {
      return await first();
    } finally {
      then();
    }
  };
}
