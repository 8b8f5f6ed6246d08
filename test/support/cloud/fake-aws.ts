import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { awsProvider } from '../../../src/custody/root-key/aws/index.ts';
import { type CloudKey, changedBy, FakeKeys, type FakeServer } from './server.ts';

const account = '111122223333';
const region = 'eu-central-1';

interface Asked {
  readonly KeyId?: string;
  readonly Plaintext?: string;
  readonly CiphertextBlob?: string;
  readonly EncryptionContext?: Readonly<Record<string, string>>;
}

/** AWS KMS as far as TrentService.Encrypt and TrentService.Decrypt, over AWS JSON 1.1 on loopback. */
export async function startFakeAws(): Promise<FakeServer<'aws'>> {
  const keys = new FakeKeys();
  const server = createServer((request, response) => void answer(keys, request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const named = (): CloudKey<'aws'> => ({
    ...{ kind: 'aws', endpoint, algorithm: 'SYMMETRIC_DEFAULT' },
    key: `arn:aws:kms:${region}:${account}:key/${randomUUID()}`,
  });
  const credential = 'fake-secret-of-aws';
  return {
    ...{ kind: 'aws', credential, seen: keys.seen },
    async newKey() {
      const made = named();
      keys.add(made.key);
      return made;
    },
    missingKey: named,
    disable: async ({ key }) => keys.set(key, 'disabled'),
    enable: async ({ key }) => keys.set(key, 'enabled'),
    scheduleDeletion: async ({ key }) => keys.set(key, 'deletion'),
    provider: (limits) =>
      awsProvider(limits, { accessKeyId: 'AKIAFAKE', secretAccessKey: credential, sessionToken: credential }),
    fault: ({ key }, fault, times) => keys.fault(key, fault, times),
    at: (key, origin) => ({ ...key, endpoint: origin }),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function answer(keys: FakeKeys, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const asked = JSON.parse((await buffer(request)).toString()) as Asked;
  const target = request.headers['x-amz-target'];
  keys.seen.push({ call: String(target), key: asked.KeyId ?? '' });
  const say = (status: number, body: object) => {
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' });
    response.end(JSON.stringify(body));
  };
  const refuse = (status: number, name: string) =>
    say(status, { __type: name, message: `${name} of a test` });
  const { KeyId = '', EncryptionContext = {} } = asked;
  const signed = new RegExp(`^AWS4-HMAC-SHA256 Credential=AKIAFAKE/\\d{8}/${region}/kms/aws4_request, `);
  if (!signed.test(request.headers.authorization ?? '')) return refuse(400, 'IncompleteSignatureException');
  const fault = keys.takeFault(KeyId);
  if (fault === 'hang') return;
  if (fault === 'cut') return void request.socket.destroy();
  if (fault === 'throttle') return refuse(400, 'ThrottlingException');
  if (fault === 'unavailable') return refuse(503, 'ServiceUnavailable');
  if (fault === 'denied') return refuse(400, 'AccessDeniedException');
  if (fault === 'no-credentials') return refuse(400, 'UnrecognizedClientException');
  if (fault === 'day-ahead') {
    const nowMs = Date.now() + 86_400_000;
    const date = String(request.headers['x-amz-date']).replace(
      /^(....)(..)(..)T(..)(..)(..)Z$/,
      '$1-$2-$3T$4:$5:$6Z',
    );
    response.setHeader('date', new Date(nowMs).toUTCString());
    if (Math.abs(Date.parse(date) - nowMs) > 300_000) {
      const message = `Signature expired: ${date} is now earlier than ${new Date(nowMs).toISOString()}`;
      return say(400, { __type: 'InvalidSignatureException', message });
    }
  }
  const state = keys.stateOf(KeyId);
  if (state === undefined) return refuse(400, 'NotFoundException');
  if (state === 'disabled') return refuse(400, 'DisabledException');
  if (state === 'deletion') return refuse(400, 'KMSInvalidStateException');
  const said = {
    KeyId: fault === 'other-key' ? `${KeyId.slice(0, -4)}0000` : KeyId,
    EncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
  };
  const aad = Buffer.from(JSON.stringify(Object.entries(EncryptionContext).sort()));
  if (target === 'TrentService.Encrypt') {
    const sealed = keys.seal(KeyId, Buffer.from(asked.Plaintext ?? '', 'base64'), aad);
    return say(200, { ...said, CiphertextBlob: sealed.toString('base64') });
  }
  if (target !== 'TrentService.Decrypt') return refuse(400, 'UnknownOperationException');
  const opened = keys.open(KeyId, Buffer.from(asked.CiphertextBlob ?? '', 'base64'), aad);
  if (opened === undefined) return refuse(400, 'InvalidCiphertextException');
  say(200, { ...said, Plaintext: changedBy(fault, opened).toString('base64') });
}
