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
  const { dev, ino } = statSync(directory, { bigint: true });
  const name = `intaglio-${createHash('sha256').update(`${dev}:${ino}`).digest('hex')}`;
  if (process.platform === 'linux') return listen(`\0${name}`);
  // Paths of sockets have at most 104 bytes on macOS.
  const path = join(tmpdir(), `${name.slice(0, 40)}.sock`);
  const release = await listen(path);
  if (release !== undefined || (await isAnswered(path))) return release;
  // Left over from a process that was killed.
  unlinkSync(path);
  return listen(path);
}

function listen(path: string): Promise<(() => Promise<void>) | undefined> {
  const server = createServer((socket) => socket.destroy());
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
