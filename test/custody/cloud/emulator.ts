import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Emulator {
  readonly endpoint: string;
  stop(): Promise<void>;
}

/** Runs a program that others wrote until `stop`, at a free port of loopback. */
export async function startEmulator(
  program: string,
  args: (port: number) => readonly string[],
): Promise<Emulator> {
  const port = await freePort();
  const child = spawn(program, args(port), { stdio: 'ignore' });
  process.once('exit', () => child.kill('SIGKILL'));
  await untilOpen(child, port);
  return {
    endpoint: `http://127.0.0.1:${port}`,
    async stop() {
      child.kill();
      await once(child, 'exit');
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A minute: a slow machine compiles its Python first. */
async function untilOpen(child: ChildProcess, port: number): Promise<void> {
  for (let tries = 0; tries < 600 && child.exitCode === null; tries++) {
    const socket = connect(port, '127.0.0.1');
    const open = await Promise.race([
      once(socket, 'connect').then(
        () => true,
        () => false,
      ),
      sleep(1_000).then(() => false),
    ]);
    socket.destroy();
    if (open) return;
    await sleep(100);
  }
  throw new Error('the emulator did not start');
}
