import { createServer, type ListenOptions, type Server } from 'node:net';
import { StartError } from '../start-error.ts';

/** Binds before it returns; may be called again once the server was closed. Rejects with a StartError. */
export function listenOn(server: Server, at: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const listening = () => {
      server.off('error', failed);
      resolve();
    };
    const failed = ({ message }: Error) => {
      server.off('listening', listening);
      reject(new StartError(`cannot listen: ${message}`));
    };
    server.once('error', failed);
    server.once('listening', listening);
    server.listen({ ...at, exclusive: true });
  });
}

/**
 * Throws a StartError where the port cannot be had at this moment. 0 is any that is free. A client that connects in that moment
 * is ended.
 */
export async function requireFreePort(host: string, port: number): Promise<void> {
  if (port === 0) return;
  const server = createServer((socket) => socket.destroy());
  try {
    await listenOn(server, { host, port });
  } catch (cause) {
    const { message } = cause as StartError;
    throw new StartError(`cannot listen on ${host}:${port}: is the address in use? (${message})`, { cause });
  }
  await new Promise((resolve) => server.close(resolve));
}
