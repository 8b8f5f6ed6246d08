import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { exportJWK, SignJWT } from 'jose';
import type { Credentials } from '../../src/auth/auth.ts';
import { bearerCredentials } from '../../src/http/credentials.ts';
import type { Exchange } from '../../src/http/exchange.ts';
import { approvedRequestSha256 } from '../../src/http/json-requests.ts';
import { Certificates } from '../../src/http/listeners/certificates.ts';
import { tlsListener } from '../../src/http/listeners/tls.ts';
import { makeCertificate, type TestCertificate } from './certificates.ts';
import { developmentApproval, developmentPlace } from './development-mode.ts';
import { startInProcess } from './in-process.ts';
import { certificateFiles, testPki } from './listener-kinds.ts';
import { type ListeningService, temporaryDirectory } from './service.ts';

export interface Place {
  readonly tenant_id: string;
  readonly environment: string;
  readonly plane: string;
}

export interface KmsV1Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape.
  readonly body: any;
}

export interface Asked {
  /** Put together with the place; a text is sent as it is. Absent: none. */
  readonly body?: Readonly<Record<string, unknown>> | string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A capability shown to a surface that holds callers to the placements of keys, as `/kms/v1` is. */
export function placedCredentials(exchange: Exchange): Credentials {
  return { ...bearerCredentials(exchange), placed: { claimedCertificate: undefined } };
}

/** Whoever asks `/kms/v1`, by development identity or by a certificate. */
export interface KmsV1Client {
  readonly place: Place;
  send(method: string, path: string, asked?: Asked): Promise<KmsV1Answer>;
  /** The agreement to a change, where the client can have one. */
  approval(operation: string, of: { readonly keyId: string } | { readonly request: object }): Promise<string>;
}

type Raw = Omit<KmsV1Answer, 'body'>;
type Sender = (method: string, path: string, text: string, headers: Record<string, string>) => Promise<Raw>;

function clientOf(place: Place, send: Sender, approval: KmsV1Client['approval']): KmsV1Client {
  return {
    place,
    approval,
    async send(method, path, { body, headers = {} } = {}) {
      const text =
        body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify({ ...place, ...body });
      const type: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' };
      const answer = await send(method, `/kms/v1${path}`, text, { ...type, ...headers });
      const json = answer.headers['content-type'] === 'application/json' && answer.text !== '';
      return { ...answer, body: json ? JSON.parse(answer.text) : undefined };
    },
  };
}

type InProcess = Awaited<ReturnType<typeof startInProcess>>;

/** Whoever sends X-Client-Certificate to a service in development mode. */
export function developmentClient(service: InProcess, place: Place = developmentPlace): KmsV1Client {
  const send: Sender = async (method, path, body, headers) => {
    if (!('send' in service)) throw new Error('a service without a socket is needed');
    const answer = await service.send({
      ...{ method, path, body },
      headers: { 'x-client-certificate': 'anything', ...headers },
    });
    return { ...answer, headers: answer.headers as KmsV1Answer['headers'] };
  };
  return clientOf(place, send, async () => developmentApproval);
}

export interface MutualTls {
  readonly service: ListeningService;
  /** Of a certificate that names this place and module. */
  client(place: Place, module?: string): KmsV1Client;
  /** Of a certificate that names nobody, or of none. */
  stranger(certificate?: TestCertificate): KmsV1Client;
  end(): Promise<void>;
}

/** A service of which all clients show certificates. Agreements are tokens of an approver's own key. */
export async function startMutualTls(
  env: Readonly<Record<string, string>> = {},
  client: 'require' | 'request' = 'require',
): Promise<MutualTls> {
  const directory = temporaryDirectory();
  const approver = generateKeyPairSync('ed25519');
  const jwks = join(directory, 'approvers.json');
  writeFileSync(
    jwks,
    JSON.stringify({ keys: [{ ...(await exportJWK(approver.publicKey)), kid: 'approver' }] }),
  );
  const certificates = new Certificates(certificateFiles(testPki, directory), { groupAllowed: false });
  const service = await startInProcess({
    env: { KMS_M33: 'true', KMS_APPROVER_JWKS: jwks, ...env },
    listen: true,
    makeListener: (limits) =>
      tlsListener({
        ...{ ...limits, at: { host: '127.0.0.1', port: 0 }, client, certificates },
        onHandshakeFailure() {},
      }),
  });
  const agents: Agent[] = [];
  const of = (place: Place, certificate: TestCertificate | undefined): KmsV1Client => {
    const shown = certificate === undefined ? {} : { cert: certificate.cert, key: certificate.key };
    const agent = new Agent({
      keepAlive: true,
      ca: testPki.authority.cert,
      servername: 'localhost',
      ...shown,
    });
    agents.push(agent);
    return clientOf(place, sendTo(service.port, agent), (operation, about) =>
      approvalOf(approver.privateKey, place.tenant_id, operation, about),
    );
  };
  return {
    service,
    client: (place, module = 'web') => of(place, certificateOf(place, module)),
    stranger: (certificate) =>
      of({ tenant_id: 'tenant123', environment: 'prod', plane: 'laptop' }, certificate),
    async end() {
      for (const agent of agents) agent.destroy();
      await service.stop();
    },
  };
}

/** Of the authority of tests, as KMS_M33_CERTIFICATE_IDENTITY reads it by default. */
export function certificateOf({ tenant_id, environment, plane }: Place, module: string): TestCertificate {
  const uri = `spiffe://kms.test/tenant/${tenant_id}/environment/${environment}/plane/${plane}/module/${module}`;
  return makeCertificate({ subject: [['CN', module]], issuer: testPki.authority, uris: [uri] });
}

function sendTo(port: number, agent: Agent): Sender {
  return (method, path, text, headers) =>
    new Promise((resolve, reject) => {
      const outgoing = request(
        { ...{ host: '127.0.0.1', port, method, path, agent, headers } },
        (incoming) => {
          let answered = '';
          incoming.setEncoding('utf8').on('data', (chunk: string) => {
            answered += chunk;
          });
          incoming.on('end', () =>
            resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text: answered }),
          );
        },
      );
      outgoing.on('error', reject);
      // Of a DELETE it sends no length by itself.
      if (text !== '') outgoing.setHeader('content-length', Buffer.byteLength(text));
      outgoing.end(text);
    });
}

/** A token of an approver, for one change. */
export function approvalOf(
  key: KeyObject,
  tenant: string,
  operation: string,
  of: Parameters<KmsV1Client['approval']>[1],
): Promise<string> {
  const about =
    'keyId' in of
      ? { key_id: of.keyId }
      : { request_sha256: approvedRequestSha256(of.request as Record<string, unknown>) };
  return new SignJWT({ tenant_id: tenant, operation, ...about })
    .setProtectedHeader({ alg: 'EdDSA', kid: 'approver' })
    .setSubject('the-approver')
    .setJti(randomUUID())
    .setExpirationTime('10m')
    .sign(key);
}

/** A key, with the agreement that it needs. Throws where there is none. */
export async function generate(
  client: KmsV1Client,
  wanted: Readonly<Record<string, unknown>>,
): Promise<string> {
  const request = { ...client.place, ...wanted };
  const approval = await client.approval('generate', { request });
  const { status, body, text } = await client.send('POST', '/keys', {
    body: wanted,
    headers: { 'x-approval-token': approval },
  });
  if (status !== 201) throw new Error(`no key: ${status} ${text}`);
  return body.key_id;
}

/** A change of a key, with the agreement that it needs. */
export async function change(
  client: KmsV1Client,
  keyId: string,
  operation: 'rotate' | 'revoke' | 'archive',
  members: Readonly<Record<string, unknown>> = {},
): Promise<KmsV1Answer> {
  const approval = await client.approval(operation, { keyId });
  return client.send('POST', `/keys/${keyId}/${operation}`, {
    body: members,
    headers: { 'x-approval-token': approval },
  });
}
