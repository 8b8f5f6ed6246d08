import { spawn } from 'node:child_process';
import { createCipheriv, createSecretKey, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dekConfig, startDekService } from '../../test/support/serve-dek.ts';
import { type ServiceProcess, temporaryDirectory } from '../../test/support/service.ts';
import type { LoadRequest } from '../load/plan.ts';
import { askAll } from './client.ts';
import { fieldBytes } from './field.ts';
import { benchSettings } from './product.ts';
import type { ServerAt } from './target.ts';

/** `serve-dek` as it is started in production: a master key in a file, and whoever the socket lets in may call. */
export interface DekServer extends ServerAt {
  readonly service: ServiceProcess;
  readonly directory: string;
  stop(): Promise<void>;
}

/** On the data of this directory, which a server before it may have filled; in a new one otherwise. */
export async function startDekServer(
  directory = newDekDirectory(),
  env: Readonly<Record<string, string>> = {},
): Promise<DekServer> {
  const config = join(directory, 'dek.json');
  const { process: service, socket } = await startDekService(directory, config, { ...benchSettings, ...env });
  return {
    ...{ service, directory, pid: service.pid, port: 0, via: { path: socket } },
    async stop() {
      const status = await service.stop();
      if (status !== 0) throw new Error(`serve-dek ended with status ${status}: ${service.errors()}`);
    },
  };
}

/** With a configuration, and without data. */
export function newDekDirectory(): string {
  const directory = temporaryDirectory();
  dekConfig(directory, 'dek.json');
  return directory;
}

const post = (path: string, body: unknown): LoadRequest => ({
  ...{ method: 'POST', path, token: '', body: JSON.stringify(body) },
});

export const healthRequest: LoadRequest = { method: 'GET', path: '/healthz', token: '' };
export const rotateKekRequest = post('/rotate_kek', {});
export const keksRequest: LoadRequest = { method: 'GET', path: '/keks', token: '' };

export function readDekRequest(key_id: string): LoadRequest {
  return { method: 'GET', path: `/get_wrapped?key_id=${key_id}`, token: '' };
}

/** Of new DEKs, their ids. */
export async function createDeks(
  server: ServerAt,
  count: number,
  onProgress?: (done: number) => void,
): Promise<readonly string[]> {
  const requests = Array.from({ length: count }, () => post('/deks', {}));
  const made = (await askAll(server, requests, onProgress)) as { key_id: string }[];
  return made.map(({ key_id }) => key_id);
}

const program = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/**
 * So many DEKs by `intaglio dek import`, which is several times as quick as calls, in a directory of newDekDirectory; their ids.
 * Throws where the command fails.
 */
export async function fillDeks(directory: string, count: number): Promise<readonly string[]> {
  const bytes = randomBytes(32);
  const kek = createSecretKey(bytes);
  const ids = Array.from({ length: count }, (_, n) => `dek-${n}`);
  const lines = ids.map((key_id) => {
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', kek, nonce);
    const parts = [nonce, cipher.update(randomBytes(32)), cipher.final(), cipher.getAuthTag()];
    return JSON.stringify({ key_id, wrapped: Buffer.concat(parts).toString('base64') });
  });
  const [file, kekFile] = [join(directory, 'deks.jsonl'), join(directory, 'old.kek')];
  writeFileSync(file, `${lines.join('\n')}\n`);
  writeFileSync(kekFile, bytes, { mode: 0o600 });
  const place = ['--data-dir', join(directory, 'data'), '--config', join(directory, 'dek.json')];
  const args = [program, 'dek', 'import', '--in', file, '--old-kek-file', kekFile, ...place];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    errors += chunk;
  });
  const [status] = await once(child, 'close');
  if (status !== 0) throw new Error(`dek import ended with status ${status}: ${errors}`);
  return ids;
}

export function dekEncryptRequest(key_id: string): LoadRequest {
  return post('/encrypt', { key_id, plaintext });
}

/** Each random byte of it is as good as another: the same for all requests keeps these small. */
const plaintext = randomBytes(fieldBytes).toString('base64');

/** Requests that decrypt what the service has encrypted by these. */
export async function dekDecryptRequests(
  server: ServerAt,
  keyIds: readonly string[],
): Promise<readonly LoadRequest[]> {
  const made = (await askAll(server, keyIds.map(dekEncryptRequest))) as { ciphertext: string }[];
  const requests = made.map(({ ciphertext }, n) => post('/decrypt', { key_id: keyIds[n], ciphertext }));
  const [first] = (await askAll(server, requests.slice(0, 1))) as { plaintext: string }[];
  if (first?.plaintext !== plaintext) throw new Error('what was encrypted decrypts to something else');
  return requests;
}
