import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { Server as NetServer, type ServerOpts, type Socket } from 'node:net';
import { type ListenerKind, type Peer, peerAt } from '../../core/peer.ts';
import { listenOn } from '../../core/sockets/listen-on.ts';
import { addressBytes, addressText } from '../addresses.ts';
import type { ConnectionCount } from '../connections.ts';
import type { Listener, ListenerFailure, ListenerHandlers } from '../exchange.ts';
import { Leaving } from '../leaving.ts';
import { parsedHeaderBytes } from '../request-headers.ts';
import { NodeConnection } from './node-connection.ts';

export interface NodeOptions {
  readonly kind: ListenerKind;
  readonly at: { readonly host: string; readonly port: number } | { readonly path: string };
  readonly maxBodyBytes: number;
  /** From the end of the headers to the last byte of a body. */
  readonly bodyTimeoutMs: number;
  readonly connections: ConnectionCount;
  /** Another server that speaks HTTP/1.1 over sockets, such as that of node:https. */
  readonly createServer?: (options: NodeServerOptions) => Server;
  /** The other end of a connection, asked once, before it is read; undefined: it is refused. Of TLS after the handshake. */
  readonly admit?: (socket: Socket) => Peer | undefined;
  /** For tests. */
  readonly times?: NodeTimes;
}

/** A client that is slower loses its connection. */
export interface NodeTimes {
  /** From the first byte of a request, or the opening, until its headers are whole. */
  readonly headersMs: number;
  /** For an answer, until the system has taken all of it. */
  readonly writeMs: number;
  /** For a connection on which nothing happens. */
  readonly idleMs: number;
}

export type NodeServerOptions = ServerOptions & Pick<ServerOpts, 'allowHalfOpen'>;

/** A request and an answer are a few segments, which a slow line carries in a second; proxies keep connections for a minute. */
export const nodeTimes: NodeTimes = { headersMs: 5_000, writeMs: 5_000, idleMs: 60_000 };

/** HTTP/1.1 of node:http, on TCP, a Unix socket or TLS. Takes chunked bodies and `Expect: 100-continue`. */
export class NodeListener implements Listener {
  readonly kind: ListenerKind;
  readonly #options: NodeOptions;
  readonly #server: Server;
  readonly #leaving = new Leaving();
  /** Those of the system, of which TLS makes others. */
  readonly #sockets = new Set<Socket>();
  readonly #connections = new WeakMap<Socket, NodeConnection>();

  constructor(options: NodeOptions) {
    this.kind = options.kind;
    this.#options = options;
    const { headersMs, idleMs } = options.times ?? nodeTimes;
    const settings: NodeServerOptions = {
      // A client that has said all that it will say is answered; node:https would end its connection.
      allowHalfOpen: true,
      maxHeaderSize: parsedHeaderBytes,
      headersTimeout: headersMs,
      // Bodies have a limit of their own.
      requestTimeout: 0,
      keepAliveTimeout: idleMs,
      keepAliveTimeoutBuffer: 0,
      connectionsCheckingInterval: Math.ceil(headersMs / 5),
      insecureHTTPParser: false,
      // Refused with the error envelope.
      requireHostHeader: false,
    };
    this.#server = (options.createServer ?? createServer)(settings);
    this.#server.timeout = idleMs;
    // All of them are counted; node:http would leave out those beyond 2,000 in silence.
    this.#server.maxHeadersCount = 0;
    // The same for the parser.
    (this.#server as Server & { httpAllowHalfOpen: boolean }).httpAllowHalfOpen = true;
  }

  listen(handlers: ListenerHandlers): Promise<string> {
    this.serve(handlers);
    return this.bind();
  }

  /** Answers whatever comes, once `bind` was called. */
  serve(handlers: ListenerHandlers): void {
    const server = this.#server;
    server.on('connection', (socket) => this.#count(socket, handlers));
    const ready = this.kind === 'tls' ? 'secureConnection' : 'connection';
    server.on(ready, (socket: Socket) => this.#admit(socket, handlers));
    const enter = (req: IncomingMessage, res: ServerResponse, waitsForLeave: boolean) =>
      this.#connectionOf(req.socket, handlers)?.enter({ req, res, waitsForLeave });
    server.on('request', (req, res) => enter(req, res, false));
    server.on('checkContinue', (req, res) => enter(req, res, true));
    // An expectation that nobody knows is nobody's (RFC 9110 section 10.1.1).
    server.on('checkExpectation', (req, res) => enter(req, res, false));
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      const failure = failureOf(error.code);
      if (failure === undefined) socket.destroy();
      else this.#connectionOf(socket as Socket, handlers)?.enterBroken(failure);
    });
    // Of a connection that could not be accepted.
    server.on('error', () => {});
  }

  /** May be called again after `stopAccepting`. */
  async bind(): Promise<string> {
    await listenOn(this.#server, this.#options.at);
    return this.#url();
  }

  #url(): string {
    const taken = this.#server.address();
    if (taken === null || typeof taken === 'string') return `unix:${taken ?? ''}`;
    this.#options.connections.listensOn(taken.port);
    const host = taken.address.includes(':') ? `[${taken.address}]` : taken.address;
    return `${this.kind === 'tls' ? 'https' : 'http'}://${host}:${taken.port}`;
  }

  #count(socket: Socket, handlers: ListenerHandlers): void {
    const { connections } = this.#options;
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      connections.closed();
    });
    const refusal = connections.opened(addressBytes(socket.remoteAddress));
    if (refusal === undefined) return;
    handlers.onRefusal(refusal);
    socket.destroy();
  }

  #admit(socket: Socket, handlers: ListenerHandlers): void {
    const { admit } = this.#options;
    if (admit === undefined || socket.destroyed) return;
    const peer = admit(socket);
    if (peer === undefined) {
      handlers.onRefusal('peer_not_allowed');
      socket.destroy();
    } else this.#connect(socket, peer, handlers);
  }

  #connectionOf(socket: Socket, handlers: ListenerHandlers): NodeConnection | undefined {
    const known = this.#connections.get(socket);
    if (known !== undefined) return known;
    // One that was not admitted, or not yet.
    if (this.#options.admit !== undefined) {
      socket.destroy();
      return undefined;
    }
    return this.#connect(socket, tcpPeer(this.kind, socket), handlers);
  }

  #connect(socket: Socket, peer: Peer, handlers: ListenerHandlers): NodeConnection {
    const { maxBodyBytes, bodyTimeoutMs, times = nodeTimes } = this.#options;
    const limits = { maxBodyBytes, bodyTimeoutMs, writeTimeoutMs: times.writeMs };
    const connection = new NodeConnection({ socket, peer, limits, handlers, leaving: this.#leaving });
    this.#connections.set(socket, connection);
    return connection;
  }

  stopAccepting(): void {
    // That of node:http ends idle connections too.
    NetServer.prototype.close.call(this.#server);
  }

  drain(): Promise<void> {
    return this.#leaving.drained();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

export function tcpPeer(kind: ListenerKind, { remoteAddress, remotePort }: Socket): Peer {
  return peerAt(kind, addressText(addressBytes(remoteAddress)), remotePort);
}

/** The reason of the parser to give up; undefined where there is nobody to tell. */
function failureOf(code: string | undefined): ListenerFailure | undefined {
  if (code === 'HPE_HEADER_OVERFLOW') return 'HeadersTooLarge';
  if (code === undefined || !code.startsWith('HPE_') || code === 'HPE_INVALID_EOF_STATE') return undefined;
  return /LENGTH|TRANSFER_ENCODING|CHUNK/.test(code) ? 'framing' : 'malformed';
}
