import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { Metadata, Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { RateLimits } from '../../admission/rate-limits.ts';
import type { Authenticator } from '../../auth/auth.ts';
import { cancel, createCancellation } from '../../core/cancellation.ts';
import type { Clock } from '../../core/clock.ts';
import { type Failure, failures, retryAfterMsOf } from '../../core/failure.ts';
import { type Peer, peerAt } from '../../core/peer.ts';
import type { Result } from '../../core/result.ts';
import { listenOn } from '../../core/sockets/listen-on.ts';
import { openPeerCredentials, type ReadPeerCredentials } from '../../core/sockets/peer-credentials.ts';
import { UnixSocketFile } from '../../core/sockets/unix-socket.ts';
import type { Logger } from '../../observe/log.ts';
import type { Metrics } from '../../observe/metrics.ts';
import { countRefusal } from '../../observe/refusals.ts';
import { tellOfSocket } from '../../observe/socket-lines.ts';
import { type KmsV2Call, KmsV2Calls, type KmsV2Parts } from './calls.ts';
import { grpcCodeOf } from './codes.ts';
import { type KmsV2DecryptRequest, type KmsV2EncryptRequest, kmsV2Definition } from './protocol.ts';

export interface KmsV2DoorParts extends KmsV2Parts {
  readonly authenticator: Authenticator;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger;
}

export interface KmsV2DoorOptions {
  readonly path: string;
  /** KMS_GROUP_READABLE_SECRETS: the group may write to the directory. */
  readonly groupAllowed: boolean;
  /** Another source of credentials, for tests. */
  readonly openCredentials?: () => Promise<ReadPeerCredentials | undefined>;
  /** For tests. */
  readonly lookEveryMs?: number;
  /** Time for the first bytes of a connection. */
  readonly prefaceMs?: number;
}

/** API servers keep one connection each, and open another one at a reload. */
const maxConnections = 64;
/** Kubernetes asks for the Status once a minute. */
const idleMs = 10 * 60_000;
/** Clients send theirs when they connect: who does not would hold one of few places for `idleMs`. */
const defaultPrefaceMs = 10_000;
/** The preface of a client, and an empty SETTINGS frame (RFC 9113, section 3.4). */
const prefaceBytes = 24 + 9;
/** A plaintext of 64 KiB with ids; Kubernetes itself takes 1 KiB of ciphertext and 32 KiB of annotations. */
const maxMessageBytes = 128 * 1_024;
const maxStreams = 128;
/** Refusals of one user that are recorded and logged a second. */
const refusalsASecond = 10;
const maxUsers = 1_024;

const serverOptions = {
  'grpc.max_receive_message_length': maxMessageBytes,
  'grpc.max_send_message_length': maxMessageBytes,
  'grpc.max_concurrent_streams': maxStreams,
  'grpc.max_connection_idle_ms': idleMs,
  // MB, of buffers of HTTP/2.
  'grpc-node.max_session_memory': 4,
  'grpc.enable_channelz': 0,
};

interface Connection {
  readonly socket: Socket;
  readonly server: Server;
}

/** The KMS plugin of Kubernetes (k8s.io/kms, apis/v2): gRPC on a Unix socket of its own. */
export class KmsV2Door {
  readonly #parts: KmsV2DoorParts;
  readonly #options: KmsV2DoorOptions;
  readonly #calls: KmsV2Calls;
  readonly #definition = kmsV2Definition();
  readonly #file: UnixSocketFile;
  readonly #listener: NetServer;
  readonly #connections = new Set<Connection>();
  readonly #refusals = new RateLimits([{ count: refusalsASecond, windowMs: 1_000 }], maxUsers);
  #credentialsOf: ReadPeerCredentials | undefined;

  constructor(parts: KmsV2DoorParts, options: KmsV2DoorOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#calls = new KmsV2Calls(parts);
    // An HTTP/2 connection is read by its session alone.
    this.#listener = createServer({ pauseOnConnect: false }, (socket) => this.#accept(socket));
    // Of a connection that could not be accepted.
    this.#listener.on('error', () => {});
    const { path, groupAllowed, lookEveryMs } = options;
    const onChange = tellOfSocket(parts.log, path);
    this.#file = new UnixSocketFile(
      { path, mode: 0o600, rule: { groupAllowed }, onChange, lookEveryMs },
      { listen: () => listenOn(this.#listener, { path }), stopListening: () => this.#listener.close() },
    );
  }

  /** Resolves with `unix:/path`. Rejects with a StartError where the path cannot be had. */
  async listen(): Promise<string> {
    const { path, openCredentials = openPeerCredentials } = this.#options;
    this.#credentialsOf = await openCredentials();
    await this.#file.bind();
    return `unix:${path}`;
  }

  /** The path leads to this door. */
  get reachable(): boolean {
    return this.#file.reachable;
  }

  /** No new connections; open ones go on. */
  stopAccepting(): void {
    this.#file.leave(() => this.#listener.close());
  }

  /** No new calls. Resolves when those under way have their answers. */
  async drain(): Promise<void> {
    const ended = ({ server }: Connection) =>
      new Promise<void>((resolve) => {
        server.tryShutdown(() => resolve());
      });
    await Promise.all([...this.#connections].map(ended));
  }

  /** Ends every connection. */
  close(): void {
    this.#file.leave(() => this.#listener.close());
    for (const { socket, server } of this.#connections) {
      server.forceShutdown();
      socket.destroy();
    }
  }

  #accept(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    const found = this.#credentialsOf?.(socket);
    const peer: Peer = { ...peerAt('unix'), uid: found?.uid, gid: found?.gid };
    if (this.#connections.size >= maxConnections) {
      countRefusal(this.#parts.metrics, 'too_many_connections');
      socket.destroy();
    } else if (this.#isKnown(peer)) this.#serve(socket, peer);
    else {
      countRefusal(this.#parts.metrics, 'peer_not_allowed');
      socket.destroy();
      this.#recordStranger(peer);
    }
  }

  #isKnown(peer: Peer): boolean {
    const utcMs = this.#parts.clock.utcMs();
    const caller = this.#parts.authenticator.authenticate({ token: undefined, peer: () => peer }, { utcMs });
    return caller.ok && caller.value.stranger !== true;
  }

  #recordStranger(peer: Peer): void {
    if (!this.#mayRefuse(peer)) return;
    const { log } = this.#parts;
    log.warn({ peer, path: this.#options.path }, 'a user who is not in allowed_uids was refused');
    const call = { peer, leftMs: undefined, cancellation: createCancellation(), withinAllowance: () => true };
    this.#calls.record(call).catch((cause) => log.error({ err: cause }, 'a refusal was not recorded: a bug'));
  }

  #mayRefuse({ uid }: Peer): boolean {
    return this.#refusals.take(String(uid), this.#parts.clock.monotonicMs()) === 0;
  }

  /** A server for each connection, so that its calls know whose it is. */
  #serve(socket: Socket, peer: Peer): void {
    const server = new Server(serverOptions);
    const connection = { socket, server };
    server.addService(this.#definition, this.#handlers(peer));
    this.#connections.add(connection);
    const late = setTimeout(() => {
      if (socket.bytesRead < prefaceBytes) socket.destroy();
    }, this.#options.prefaceMs ?? defaultPrefaceMs).unref();
    socket.once('close', () => {
      clearTimeout(late);
      this.#connections.delete(connection);
      server.forceShutdown();
    });
    server.createConnectionInjector(ServerCredentials.createInsecure()).injectConnection(socket);
  }

  #handlers(peer: Peer) {
    const calls = this.#calls;
    return {
      Status: this.#unary(peer, (_: unknown, call) => calls.status(call)),
      Encrypt: this.#unary(peer, (request: KmsV2EncryptRequest, call) => calls.encrypt(request, call)),
      Decrypt: this.#unary(peer, (request: KmsV2DecryptRequest, call) => calls.decrypt(request, call)),
    };
  }

  #unary<Request, Answer>(
    peer: Peer,
    answer: (request: Request, call: KmsV2Call) => Promise<Result<Answer>>,
  ): (call: ServerUnaryCall<Request, Answer>, callback: sendUnaryData<Answer>) => void {
    return (call, callback) => {
      const cancellation = createCancellation();
      call.once('cancelled', () => cancel(cancellation));
      const refused = (failure: Failure) => {
        countRefusal(this.#parts.metrics, failure.countedAs ?? failure.code);
        callback(statusOf(failure));
      };
      const withinAllowance = () => this.#mayRefuse(peer);
      answer(call.request, {
        peer,
        leftMs: leftMsOf(call.getDeadline()),
        cancellation,
        withinAllowance,
      }).then(
        (found) => (found.ok ? callback(null, found.value) : refused(found.failure)),
        (cause) => {
          this.#parts.log.error({ err: cause }, 'a call of KMS v2 failed: a bug');
          refused({ code: 'Internal' });
        },
      );
    };
  }
}

/** Undefined where the caller waits as long as it takes. */
function leftMsOf(deadline: Date | number): number | undefined {
  const atMs = Number(deadline);
  return Number.isFinite(atMs) ? atMs - Date.now() : undefined;
}

/** With the time of a retry as clients of gRPC read it (gRFC A6). */
function statusOf(failure: Failure) {
  const { message } = failures[failure.code];
  const metadata = new Metadata();
  const retryAfterMs = retryAfterMsOf(failure);
  if (retryAfterMs !== undefined) metadata.set('grpc-retry-pushback-ms', String(Math.ceil(retryAfterMs)));
  const details = failure.hint === undefined ? message : `${message}: ${failure.hint}`;
  return { code: grpcCodeOf[failure.code], details, metadata };
}
