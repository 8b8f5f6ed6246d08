import { createHash } from 'node:crypto';
import { statSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Holds a directory for this process; resolves to the function that lets go of it, or to undefined when another process
 * holds it. Bound to the file system and inode, so that another path to the same directory finds it taken.
 *
 * Node has no flock. A listening socket is as good: the kernel binds a name once and frees it when the process ends,
 * however it ends. On Linux the name is abstract and lies in the network namespace: two containers do not see each
 * other's; the store's revision is the second fence.
 */
export async function lockDirectory(directory: string): Promise<(() => Promise<void>) | undefined> {
  const path = socketOf(directory);
  if (path.startsWith('\0')) return listen(path);
  const release = await listen(path);
  if (release !== undefined || (await isAnswered(path))) return release;
  // Left over from a process that was killed.
  unlinkSync(path);
  return listen(path);
}

/** An abstract name on Linux, elsewhere a path. */
function socketOf(directory: string): string {
  const { dev, ino } = statSync(directory, { bigint: true });
  const name = `intaglio-${createHash('sha256').update(`${dev}:${ino}`).digest('hex')}`;
  // Paths of sockets have at most 104 bytes on macOS.
  return process.platform === 'linux' ? `\0${name}` : join(tmpdir(), `${name.slice(0, 40)}.sock`);
}

/** A holder that answers does so at once; one that is stopped is not waited for. */
const holderTimeoutMs = 1_000;

/** The process that holds the directory, as it says itself; undefined where none does, or none says so. */
function holderOf(directory: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    let text = '';
    const end = () => {
      socket.destroy();
      resolve(/^\d{1,10}\n$/.test(text) ? Number(text) : undefined);
    };
    const socket = connect(socketOf(directory));
    socket.setTimeout(holderTimeoutMs, end);
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (text.length > 16) end();
    });
    socket.once('error', end);
    socket.once('close', end);
  });
}

/** Somebody holds it at this moment; asked without taking it. */
export function isHeld(directory: string): Promise<boolean> {
  return isAnswered(socketOf(directory));
}

/** The holder of `directory`, in words for those who wanted it. */
export async function heldBy(directory: string): Promise<string> {
  const pid = await holderOf(directory);
  return pid === undefined ? 'another process holds it' : `process ${pid} holds it`;
}

function listen(path: string): Promise<(() => Promise<void>) | undefined> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.end(`${process.pid}\n`, () => socket.destroy());
  });
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    server.listen({ path, exclusive: true }, () => {
      server.unref();
      resolve(() => close(server));
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
