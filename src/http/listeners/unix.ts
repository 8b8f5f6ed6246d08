import { chmodSync, lstatSync, mkdirSync, renameSync, type Stats, statSync, unlinkSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { type ListenerKind, type Peer, peerAt } from '../../core/peer.ts';
import { judgeSecretDirectory, type SecretRule } from '../../core/secret-file.ts';
import { StartError } from '../../core/start-error.ts';
import type { Listener, ListenerHandlers } from '../exchange.ts';
import { NodeListener, type NodeOptions } from './node.ts';
import { openPeerCredentials, type ReadPeerCredentials } from './peer-credentials.ts';

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
  /** Another source of credentials, for tests. */
  readonly openCredentials?: () => Promise<ReadPeerCredentials | undefined>;
}

/** HTTP/1.1 over a Unix socket. */
export class UnixListener implements Listener {
  readonly kind: ListenerKind = 'unix';
  readonly #options: UnixOptions;
  readonly #node: NodeListener;
  #credentialsOf: ReadPeerCredentials | undefined;
  /** The socket's file, while we listen on it. */
  #file: Stats | undefined;

  constructor(options: UnixOptions) {
    this.#options = options;
    this.#node = new NodeListener({
      ...options,
      kind: 'unix',
      at: { path: options.path },
      admit: (socket) => this.#admit(socket),
    });
  }

  async listen(handlers: ListenerHandlers): Promise<string> {
    const { path, mode, openCredentials = openPeerCredentials } = this.#options;
    this.#credentialsOf = await openCredentials();
    makeDirectory(dirname(path), { groupAllowed: this.#options.groupAllowed ?? false });
    await removeStale(path);
    // The file is made before this returns, and is nobody else's at any time.
    const before = process.umask(0o177);
    const listening = this.#node.listen(handlers);
    process.umask(before);
    const url = await listening;
    chmodSync(path, mode);
    this.#file = lstatSync(path);
    return url;
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
    this.#leave(() => this.#node.stopAccepting());
  }

  drain(): Promise<void> {
    return this.#node.drain();
  }

  close(): void {
    this.#leave(() => this.#node.close());
  }

  /** libuv removes whatever has the path of a socket that it closes: another process's, where ours was removed before. */
  #leave(end: () => void): void {
    const { path } = this.#options;
    const [own, found] = [this.#file, lstatSync(path, { throwIfNoEntry: false })];
    this.#file = undefined;
    const isOurs = own === undefined || (found?.dev === own.dev && found.ino === own.ino);
    if (found === undefined || isOurs) {
      end();
      return;
    }
    const aside = join(dirname(path), `.${process.pid}.${found.ino}`);
    renameSync(path, aside);
    end();
    renameSync(aside, path);
  }
}

/** Whoever may write there could put a socket of their own in the place of ours. */
function makeDirectory(directory: string, rule: SecretRule): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (!statSync(directory).isDirectory()) throw new Error('it is no directory');
  } catch (cause) {
    throw new StartError(
      `the directory ${directory} of a socket cannot be made: ${(cause as Error).message}`,
    );
  }
  const problem = judgeSecretDirectory(directory, rule);
  if (problem !== undefined) throw new StartError(`the directory of a socket: ${problem}`);
}

/** A socket on which nobody answers was left behind by a process that was killed. */
async function removeStale(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket())
    throw new StartError(`cannot listen on unix:${path}: there is something that is no socket`);
  const answer = await new Promise<string>((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve('answered');
    });
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code ?? 'unknown error'));
  });
  if (answer === 'ENOENT') return;
  // Anything else, such as a queue that is full (EAGAIN), is a sign of life.
  if (answer !== 'ECONNREFUSED') {
    throw new StartError(`cannot listen on unix:${path}: another process has it (${answer})`);
  }
  unlinkSync(path);
}
