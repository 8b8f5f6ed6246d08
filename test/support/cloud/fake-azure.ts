import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { azureProvider } from '../../../src/custody/root-key/azure/index.ts';
import { type CloudKey, changedBy, FakeKeys, type FakeServer, type Fault } from './server.ts';

const resource = 'https://vault.azure.net';
const credential = 'fake-secret-of-azure';
const nothing = Buffer.alloc(0);

/** Azure Key Vault as far as wrapkey and unwrapkey of its REST API, with its challenge, on loopback. */
export async function startFakeAzure(): Promise<FakeServer<'azure'>> {
  const keys = new FakeKeys();
  const server = createServer((request, response) => void answer(keys, request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  let made = 0;
  const named = (): CloudKey<'azure'> => ({
    ...{ kind: 'azure', algorithm: 'RSA-OAEP-256' },
    key: `${origin}/keys/root-${++made}/${randomBytes(16).toString('hex')}`,
  });
  return {
    ...{ kind: 'azure', credential, seen: keys.seen },
    async newKey() {
      const key = named();
      keys.add(key.key);
      return key;
    },
    missingKey: named,
    disable: async ({ key }) => keys.set(key, 'disabled'),
    enable: async ({ key }) => keys.set(key, 'enabled'),
    scheduleDeletion: async ({ key }) => keys.set(key, 'deletion'),
    provider: (limits) =>
      azureProvider(limits, {
        getToken: async (scopes) => {
          if (String(scopes) !== `${resource}/.default`) throw new Error('a token for something else');
          return { token: credential, expiresOnTimestamp: Date.now() + 3_600_000 };
        },
      }),
    fault: ({ key }, fault, times) => keys.fault(key, fault, times),
    at: (key, other) => ({ ...key, key: key.key.replace(origin, other) }),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const refusals: Partial<Record<Fault, readonly [status: number, code: string, inner?: string]>> = {
  throttle: [429, 'Throttled'],
  unavailable: [503, 'ServiceUnavailable'],
  denied: [403, 'Forbidden', 'ForbiddenByRbac'],
  'no-credentials': [401, 'Unauthorized'],
};

async function answer(keys: FakeKeys, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname } = new URL(request.url ?? '', 'http://127.0.0.1');
  const [, , name, version, act = ''] = pathname.split('/');
  const key = `http://${request.headers.host}/keys/${name}/${version}`;
  const body = await buffer(request);
  const say = (status: number, said: object, headers = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify(said));
  };
  const refuse = (status: number, code: string, inner?: string, headers = {}) => {
    const innererror = inner === undefined ? undefined : { code: inner };
    say(status, { error: { code, message: `${code} of a test`, innererror } }, headers);
  };
  // The token service of an App Service, by which the SDK's own chain finds a managed identity.
  if (pathname === '/msi/token') {
    if (request.headers['x-identity-header'] !== credential) return refuse(401, 'Unauthorized');
    const expiresOn = Math.floor(Date.now() / 1_000) + 3_600;
    return say(200, {
      access_token: credential,
      expires_on: String(expiresOn),
      resource,
      token_type: 'Bearer',
    });
  }
  const challenge = `Bearer authorization="https://login.microsoftonline.com/fake", resource="${resource}"`;
  const header = { 'www-authenticate': challenge };
  if (request.headers.authorization !== `Bearer ${credential}`)
    return refuse(401, 'Unauthorized', undefined, header);
  keys.seen.push({ call: act, key });
  const fault = keys.takeFault(key);
  if (fault === 'hang') return;
  if (fault === 'cut') return void request.socket.destroy();
  const refusal = fault && refusals[fault];
  if (refusal !== undefined) {
    const [status, code, inner] = refusal;
    return refuse(status, code, inner, fault === 'throttle' ? { 'retry-after': '1' } : {});
  }
  const state = keys.stateOf(key);
  if (state === 'disabled') return refuse(403, 'Forbidden', 'KeyDisabled');
  if (state !== 'enabled') return refuse(404, 'KeyNotFound');
  const { alg, value } = JSON.parse(body.toString()) as { alg: string; value: string };
  if (alg !== 'RSA-OAEP-256' || request.method !== 'POST') return refuse(400, 'BadParameter');
  const sent = Buffer.from(value, 'base64url');
  const done = act === 'wrapkey' ? keys.seal(key, sent, nothing) : keys.open(key, sent, nothing);
  if (done === undefined) return refuse(400, 'BadParameter');
  const given = act === 'wrapkey' ? done : changedBy(fault, done);
  say(200, {
    kid: fault === 'other-key' ? `${key.slice(0, -4)}0000` : key,
    value: given.toString('base64url'),
  });
}
