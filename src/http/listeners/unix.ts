import type { Socket } from 'node:net';
import { type ListenerKind, type Peer, peerAt } from '../../core/peer.ts';
import { openPeerCredentials, type ReadPeerCredentials } from '../../core/sockets/peer-credentials.ts';
import { UnixSocketFile } from '../../core/sockets/unix-socket.ts';
import type { Listener, ListenerHandlers } from '../exchange.ts';
import { NodeListener, type NodeOptions } from './node.ts';

export interface UnixOptions extends Omit<NodeOptions, 'kind' | 'at' | 'createServer' | 'admit'> {
  readonly path: string;
  /** Permissions of the socket. */
  readonly mode: number;
  readonly allowedUids: 'any' | readonly number[];
  /** KMS_GROUP_READABLE_SECRETS: the group may write to the directory. */
  readonly groupAllowed?: boolean;
  readonly onConnection?: (peer: Peer) => void;
  /** A connection of a user who is not allowed, or of one whom the kernel does not name though there is a list. */
  readonly onRefused?: (peer: Peer) => void;
  /** Why nobody connects by the path any more; undefined: they do again. */
  readonly onSocketChange?: (problem: string | undefined) => void;
  /** For tests. */
  readonly lookEveryMs?: number;
  /** Another source of credentials, for tests. */
  readonly openCredentials?: () => Promise<ReadPeerCredentials | undefined>;
}

/** HTTP/1.1 over a Unix socket. */
export class UnixListener implements Listener {
  readonly kind: ListenerKind = 'unix';
  readonly #options: UnixOptions;
  readonly #node: NodeListener;
  #credentialsOf: ReadPeerCredentials | undefined;
  readonly #file: UnixSocketFile<string>;

  constructor(options: UnixOptions) {
    this.#options = options;
    this.#node = new NodeListener({
      ...options,
      kind: 'unix',
      at: { path: options.path },
      admit: (socket) => this.#admit(socket),
    });
    const { path, mode, groupAllowed = false, onSocketChange: onChange, lookEveryMs } = options;
    this.#file = new UnixSocketFile(
      { path, mode, rule: { groupAllowed }, onChange, lookEveryMs },
      { listen: () => this.#node.bind(), stopListening: () => this.#node.stopAccepting() },
    );
  }

  async listen(handlers: ListenerHandlers): Promise<string> {
    const { openCredentials = openPeerCredentials } = this.#options;
    this.#credentialsOf = await openCredentials();
    this.#node.serve(handlers);
    return this.#file.bind();
  }

  /** The path leads to this listener. */
  get reachable(): boolean {
    return this.#file.reachable;
  }

  #admit(socket: Socket): Peer | undefined {
    const { allowedUids, onConnection, onRefused } = this.#options;
    const found = this.#credentialsOf?.(socket);
    const peer: Peer = { ...peerAt('unix'), uid: found?.uid, gid: found?.gid };
    const allowed = allowedUids === 'any' || (found !== undefined && allowedUids.includes(found.uid));
    (allowed ? onConnection : onRefused)?.(peer);
    return allowed ? peer : undefined;
  }

  stopAccepting(): void {
    this.#file.leave(() => this.#node.stopAccepting());
  }

  drain(): Promise<void> {
    return this.#node.drain();
  }

  close(): void {
    this.#file.leave(() => this.#node.close());
  }
}
