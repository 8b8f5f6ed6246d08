import { chmodSync, lstatSync, mkdirSync, renameSync, type Stats, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { errorCode } from '../private-file.ts';
import { judgeSecretDirectory, type SecretRule } from '../secret-file.ts';
import { StartError } from '../start-error.ts';

/** The file of a Unix socket: whose it may be, and that nothing of another process is ever taken or removed. */
export class UnixSocketFile {
  readonly path: string;
  readonly #mode: number;
  /** The socket's file, while we listen on it. */
  #file: Stats | undefined;

  /** `mode`: permissions of the socket. */
  constructor(path: string, mode: number) {
    this.path = path;
    this.#mode = mode;
  }

  /** Runs `listen`, which binds before it returns. Throws a StartError where another process has it, or its directory is anybody's. */
  async bind<T>(rule: SecretRule, listen: () => Promise<T>): Promise<T> {
    makeDirectory(dirname(this.path), rule);
    await removeStale(this.path);
    // The file is made before this returns, and is nobody else's at any time.
    const before = process.umask(0o177);
    const listening = listen();
    process.umask(before);
    const bound = await listening;
    chmodSync(this.path, this.#mode);
    this.#file = lstatSync(this.path);
    return bound;
  }

  /** libuv removes whatever has the path of a socket that it closes: another process's, where ours was removed before. */
  leave(close: () => void): void {
    const [own, found] = [this.#file, lstatSync(this.path, { throwIfNoEntry: false })];
    this.#file = undefined;
    const isOurs = own === undefined || (found?.dev === own.dev && found.ino === own.ino);
    if (found === undefined || isOurs) {
      close();
      return;
    }
    const aside = join(dirname(this.path), `.${process.pid}.${found.ino}`);
    renameSync(this.path, aside);
    close();
    renameSync(aside, this.path);
  }
}

/** Whoever may write there could put a socket of their own in the place of ours. */
function makeDirectory(directory: string, rule: SecretRule): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    const code = errorCode(cause);
    throw new StartError(
      code === 'EEXIST' || code === 'ENOTDIR'
        ? `the directory ${directory} of a socket is no directory`
        : `the directory ${directory} of a socket cannot be made (${code}): make it, with the service's user as its owner`,
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
