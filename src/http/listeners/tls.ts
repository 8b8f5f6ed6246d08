import { constants } from 'node:crypto';
import { createServer } from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { ClientCertificates } from '../../config/listen-kinds.ts';
import type { Peer } from '../../core/peer.ts';
import type { Certificates } from './certificates.ts';
import { NodeListener, type NodeOptions, nodeTimes, tcpPeer } from './node.ts';
import { peerCertificate } from './peer-certificate.ts';

export interface TlsOptions extends Omit<NodeOptions, 'kind' | 'createServer' | 'admit'> {
  readonly client: ClientCertificates;
  readonly certificates: Certificates;
  /** A connection ended before its handshake was done. */
  readonly onHandshakeFailure: () => void;
  readonly onConnection?: (peer: Peer) => void;
}

/** HTTP/1.1 over TLS 1.3 and nothing older. */
export function tlsListener(options: TlsOptions): NodeListener {
  const { client, certificates, onHandshakeFailure, onConnection, times = nodeTimes } = options;
  return new NodeListener({
    ...options,
    kind: 'tls',
    createServer(settings) {
      const server = createServer({
        ...settings,
        ...certificates.options,
        ALPNProtocols: ['http/1.1'],
        handshakeTimeout: times.headersMs,
        requestCert: client !== 'none',
        rejectUnauthorized: client === 'require',
        ...secureOptions(client),
      });
      server.on('tlsClientError', onHandshakeFailure);
      // Open connections go on with what they have.
      certificates.onReload((reloaded) => server.setSecureContext({ ...reloaded, ...secureOptions(client) }));
      return server;
    },
    admit(socket) {
      const peer = admit(socket as TLSSocket);
      if (peer !== undefined) onConnection?.(peer);
      return peer;
    },
  });
}

/** A resumed session would outlive the certificate that it began with, so each connection of a client shows it anew. */
function secureOptions(client: ClientCertificates): { secureOptions: number } {
  return { secureOptions: client === 'none' ? 0 : constants.SSL_OP_NO_TICKET };
}

/** A certificate that was shown has to hold, also where none need be. */
function admit(socket: TLSSocket): Peer | undefined {
  const certificate = socket.getPeerX509Certificate();
  const peer = tcpPeer('tls', socket);
  if (certificate === undefined) return peer;
  return socket.authorized ? { ...peer, certificate: peerCertificate(certificate) } : undefined;
}
