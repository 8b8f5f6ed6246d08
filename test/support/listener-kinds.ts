import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { Certificates } from '../../src/http/listeners/certificates.ts';
import { NodeListener } from '../../src/http/listeners/node.ts';
import { tlsListener } from '../../src/http/listeners/tls.ts';
import { UnixListener } from '../../src/http/listeners/unix.ts';
import { UwsListener } from '../../src/http/listeners/uws.ts';
import type { ListenerKindUnderTest } from '../contracts/listener-harness.ts';
import { makeTestPki } from './certificates.ts';
import { temporaryDirectory } from './service.ts';

const host = '127.0.0.1';
const portOf = (url: string | undefined) => (url === undefined ? 0 : Number(new URL(url).port));

export const testPki = makeTestPki();
const directory = temporaryDirectory();

/** Files of the kind that KMS_TLS_CERT_FILE and its like name, in a directory that ends with the process. */
export function certificateFiles(pki = testPki, into = directory) {
  const files = {
    certFile: join(into, 'server.pem'),
    keyFile: join(into, 'server.key'),
    clientCaFile: join(into, 'clients.pem'),
  };
  writeFileSync(files.keyFile, pki.server.key, { mode: 0o600 });
  writeFileSync(files.certFile, pki.server.cert);
  writeFileSync(files.clientCaFile, pki.authority.cert);
  return files;
}

const certificates = new Certificates(certificateFiles(), { groupAllowed: false });
let sockets = 0;

const node = { takesChunks: true, keepsSecondRequest: true, ownHeaders: /^$/ };

/** Every kind of listener, for tests that run over all of them. */
export const listenerKinds: readonly ListenerKindUnderTest[] = [
  {
    ...{ name: 'uWebSockets.js', listener: 'tcp' },
    make: (limits, taken) => new UwsListener({ host, port: portOf(taken), ...limits }),
    dial: (url) => connect({ host, port: portOf(url), noDelay: true }),
    ...{ takesChunks: false, keepsSecondRequest: false, noticesHangUp: false },
    ownHeaders: /uWebSockets: 20\r\n/,
  },
  {
    ...{ ...node, name: 'node:http', listener: 'tcp', noticesHangUp: true },
    make: (limits, taken) => new NodeListener({ kind: 'tcp', at: { host, port: portOf(taken) }, ...limits }),
    dial: (url) => connect({ host, port: portOf(url), noDelay: true }),
  },
  {
    ...{ ...node, name: 'TLS', listener: 'tls', noticesHangUp: false },
    make: (limits, taken) =>
      tlsListener({
        ...{ ...limits, at: { host, port: portOf(taken) }, client: 'none', certificates },
        onHandshakeFailure() {},
      }),
    dial: (url) =>
      connectTls({
        host,
        port: portOf(url),
        servername: 'localhost',
        ca: testPki.authority.cert,
      }).setNoDelay(),
  },
  {
    ...{ ...node, name: 'Unix socket', listener: 'unix', noticesHangUp: false },
    make: (limits, taken) =>
      new UnixListener({
        ...{ ...limits, mode: 0o600, allowedUids: 'any' },
        path: taken?.slice('unix:'.length) ?? join(directory, `${++sockets}.sock`),
      }),
    dial: (url) => connect(url.slice('unix:'.length)),
  },
];
