import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
} from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { errorCode } from '../private-file.ts';
import { judgeSecretDirectory, type SecretRule } from '../secret-file.ts';
import { StartError } from '../start-error.ts';

/** What listens on a socket. Each may be called again after the other. */
export interface SocketServer<Bound> {
  /** Binds before it returns. */
  listen(): Promise<Bound>;
  /** No new connections; open ones go on. */
  stopListening(): void;
}

export interface UnixSocketOptions {
  readonly path: string;
  /** Permissions of the socket. */
  readonly mode: number;
  readonly rule: SecretRule;
  /** `problem`: why nobody connects by the path any more; undefined: they do again. Once for each change. */
  readonly onChange?: ((problem: string | undefined) => void) | undefined;
  /** For tests. */
  readonly lookEveryMs?: number | undefined;
}

/**
 * Whoever waits for a database notices seconds, and a look costs one lstat, some 5 us. fs.watch would watch the directory that was
 * there at the start, not one that took its place, and takes one of the 128 inotify instances of a user.
 */
const defaultLookEveryMs = 2_000;

/**
 * The file of a Unix socket: whose it may be, and that nothing of another process is ever taken or removed. One that somebody
 * removes or replaces meanwhile is bound again, as soon as nobody else answers on the path.
 */
export class UnixSocketFile<Bound = unknown> {
  readonly #options: UnixSocketOptions;
  readonly #server: SocketServer<Bound>;
  /** The socket's file, while we listen on it. */
  #file: Stats | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looking = false;
  #ended = false;
  #problem: string | undefined;
  /** Nobody answered on it at the look before. */
  #stale: number | undefined;

  constructor(options: UnixSocketOptions, server: SocketServer<Bound>) {
    this.#options = options;
    this.#server = server;
  }

  /** The path leads to this process. */
  get reachable(): boolean {
    return this.#problem === undefined;
  }

  /** Throws a StartError where another process has the path, or its directory is anybody's. */
  async bind(): Promise<Bound> {
    const { path, rule, lookEveryMs = defaultLookEveryMs } = this.#options;
    makeDirectory(dirname(path), rule);
    if ((await standingAt(path)) !== undefined) unlinkSync(path);
    const bound = await this.#listen();
    this.#timer = setInterval(() => void this.#look(), lookEveryMs).unref();
    return bound;
  }

  async #listen(): Promise<Bound> {
    const { path, mode } = this.#options;
    // The file is made before this returns. Nobody else may write to it, and so connect, before it has its mode. The mask is the
    // process's: directories that other threads make at this moment stay usable.
    const before = process.umask(0o077);
    const listening = this.#server.listen();
    process.umask(before);
    // Known at once, as a stop may come before it listens.
    this.#file = fileIfReadable(path);
    try {
      const bound = await listening;
      chmodSync(path, mode);
      return bound;
    } catch (cause) {
      // It is another's, or none.
      this.#file = undefined;
      throw cause;
    }
  }

  leave(close: () => void): void {
    this.#ended = true;
    clearInterval(this.#timer);
    this.#closeBy(close);
  }

  /**
   * libuv removes whatever has the path of a socket that it closes: another process's, where ours was removed before. So that one
   * is put aside meanwhile. Only one that is bound within these lines, microseconds, would be lost.
   */
  #closeBy(close: () => void): void {
    const { path } = this.#options;
    const [own, found] = [this.#file, fileIfReadable(path)];
    this.#file = undefined;
    const aside = join(dirname(path), `.${process.pid}.${found?.ino}`);
    const isOthers = found !== undefined && own !== undefined && !isSame(own, found);
    // Where it cannot be put aside, libuv cannot remove it either.
    const isAside = isOthers && canRename(path, aside);
    close();
    if (isAside) canRename(aside, path);
  }

  async #look(): Promise<void> {
    if (this.#looking || this.#ended) return;
    this.#looking = true;
    try {
      await this.#bindAgain();
    } catch (cause) {
      if (!this.#ended) this.#tell((cause as Error).message);
    } finally {
      this.#looking = false;
    }
  }

  /** Nothing to do where the path still leads to us. Throws an Error that says why it is not ours. */
  async #bindAgain(): Promise<void> {
    const { path, rule } = this.#options;
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found !== undefined && this.#file !== undefined && isSame(this.#file, found)) {
      this.#tell(undefined);
      return;
    }
    // What keeps it from being bound, which may be told already, says more.
    if (this.#problem === undefined)
      this.#tell(found === undefined ? 'it was removed' : 'another file is in its place');
    makeDirectory(dirname(path), rule);
    const standing = await standingAt(path);
    // A process binds before it listens: one that is about to answer does so at the next look.
    const isLeft = standing !== undefined && standing.ino === this.#stale;
    this.#stale = standing?.ino;
    if (this.#ended || (standing !== undefined && !isLeft)) return;
    if (isLeft) unlinkSync(path);
    this.#closeBy(() => this.#server.stopListening());
    // Whoever has the path by now keeps it: then listening fails.
    await this.#listen();
    this.#stale = undefined;
    this.#tell(undefined);
  }

  #tell(problem: string | undefined): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#options.onChange?.(problem);
  }
}

/** Throws a StartError where `bind` would, and makes nothing: another process may still come between. */
export async function requireFreeSocket(path: string, rule: SecretRule): Promise<void> {
  const directory = dirname(path);
  if (existsSync(directory)) judgeDirectory(directory, rule);
  else requireMakeable(directory);
  await standingAt(path);
}

/** Undefined where there is none, or nobody can say. */
function fileIfReadable(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

function canRename(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch {
    return false;
  }
}

function isSame(one: Stats, other: Stats): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}

/** Whoever may write there could put a socket of their own in the place of ours. */
function makeDirectory(directory: string, rule: SecretRule): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw cannotBeMade(directory, cause);
  }
  judgeDirectory(directory, rule);
}

function judgeDirectory(directory: string, rule: SecretRule): void {
  if (!statSync(directory).isDirectory()) throw isNoDirectory(directory);
  const problem = judgeSecretDirectory(directory, rule);
  if (problem !== undefined) throw new StartError(`the directory of a socket: ${problem}`);
}

function requireMakeable(directory: string): void {
  let nearest = directory;
  while (!existsSync(nearest)) nearest = dirname(nearest);
  if (!statSync(nearest).isDirectory()) throw isNoDirectory(nearest);
  try {
    accessSync(nearest, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw cannotBeMade(directory, cause);
  }
}

function cannotBeMade(directory: string, cause: unknown): StartError {
  const code = errorCode(cause);
  if (code === 'EEXIST' || code === 'ENOTDIR') return isNoDirectory(directory);
  const todo = "make it, with the service's user as its owner";
  return new StartError(`the directory ${directory} of a socket cannot be made (${code}): ${todo}`);
}

function isNoDirectory(path: string): StartError {
  return new StartError(`the directory of a socket: ${path} is no directory`);
}

/**
 * A socket on which nobody answers, left behind by a process that was killed; undefined where there is nothing. Throws a StartError
 * where it is anything else.
 */
async function standingAt(path: string): Promise<Stats | undefined> {
  const refused = (why: string) => new StartError(`cannot listen on unix:${path}: ${why}`);
  let found: Stats | undefined;
  try {
    found = lstatSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    throw refused((cause as Error).message);
  }
  if (found === undefined) return undefined;
  if (!found.isSocket()) throw refused('there is something that is no socket');
  const answer = await new Promise<string>((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve('answered');
    });
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code ?? 'unknown error'));
  });
  if (answer === 'ENOENT') return undefined;
  if (answer === 'ECONNREFUSED') return found;
  // A queue that is full (EAGAIN) is a sign of life; so may be anything else but a want of our own.
  throw refused(
    ['EMFILE', 'ENFILE'].includes(answer)
      ? `nobody can tell whether another process has it (${answer})`
      : `another process has it (${answer})`,
  );
}
