import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { type ServiceProcess, startService } from './service.ts';

export interface DekAnswer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into as they come.
  readonly body: any;
}

/** One request over a Unix socket. Rejects where the other end goes away. */
export function askSocket(socketPath: string, path: string, body?: unknown): Promise<DekAnswer> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const sent = request(
      { socketPath, path, method: text === undefined ? 'GET' : 'POST', agent: false },
      async (answer) => {
        try {
          const chunks: Buffer[] = [];
          for await (const chunk of answer) chunks.push(chunk as Buffer);
          const told = Buffer.concat(chunks).toString();
          resolve({ status: answer.statusCode ?? 0, body: told === '' ? undefined : JSON.parse(told) });
        } catch (cause) {
          reject(cause);
        }
      },
    );
    sent.on('error', reject);
    sent.end(text);
  });
}

export interface DekService {
  readonly process: ServiceProcess;
  readonly socket: string;
  ask(path: string, body?: unknown): Promise<DekAnswer>;
}

/** A configuration file of mode 0600. */
export function dekConfig(
  directory: string,
  name: string,
  members: Readonly<Record<string, unknown>> = {},
): string {
  const file = join(directory, name);
  const master = 'master_key_file' in members ? {} : { master_key_hex: randomBytes(32).toString('hex') };
  writeFileSync(file, JSON.stringify({ ...master, ...members }), { mode: 0o600 });
  return file;
}

/** `serve-dek` as a process of its own, in this directory. */
export async function startDekService(
  directory: string,
  config: string | undefined,
  env: Readonly<Record<string, string>> = {},
  socket = join(directory, 'run', 'dek.sock'),
  more: readonly string[] = [],
): Promise<DekService> {
  const flags = ['--socket', socket, '--data-dir', join(directory, 'data'), ...more];
  const process = await startService({
    program: [
      'src/cli/main.ts',
      'serve-dek',
      ...flags,
      ...(config === undefined ? [] : ['--config', config]),
    ],
    env: { KMS_LISTEN: `unix:${socket}`, ...env },
    dataDir: join(directory, 'data'),
  });
  return { process, socket, ask: (path, body) => askSocket(socket, path, body) };
}
