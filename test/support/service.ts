import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { mintFor, type RawAnswer, type RawRequest } from './requests.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

interface Started {
  readonly engine: 'native' | 'openssl';
  readonly dataDir: string;
  /** The administrator's capability of the tenant `default`. */
  readonly token: string;
  /** A capability of this data directory; those scopes of keys that callers usually have unless some are named. */
  mint(tenant: string, scopes?: string): Promise<string>;
  /** Lines of the service's log so far. Lines of a process come later than the answers that they tell of. */
  readonly log: readonly string[];
  /** The first line that fits, as soon as it is there. Throws when none comes in half a minute, or the service has ended. */
  logged(fits: (line: string) => boolean): Promise<string>;
  /** Of a process SIGTERM, and its exit status; in this process 0, or 1 where a step of the stop went wrong. */
  stop(): Promise<number | null>;
}

/** In this process, without a socket: see in-process.ts. */
export interface InProcessService extends Started {
  /** As SIGHUP does to a process, where these variables beside those of the start are what its sources now say. */
  reload(env: Readonly<Record<string, string>>): void;
  send(sent: RawRequest): Promise<RawAnswer>;
}

export interface ListeningService extends Started {
  readonly url: string;
  readonly port: number;
}

export interface ServiceProcess extends ListeningService {
  readonly pid: number;
  readonly errors: () => string;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
}

/** Whichever way it was started. */
export type RunningService = InProcessService | ListeningService;

export interface ServiceOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** A temporary one, removed at `release`, when not given. */
  readonly dataDir?: string;
  /** The user that it runs as; needs root. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** RLIMIT_NOFILE, soft and hard. */
  readonly openFiles?: number;
  /** Node's arguments; `serve` of the command line when not given. */
  readonly program?: readonly string[];
}

/** Node's options under `npm start`, in the words of package.json. */
const asNpmStart = (
  JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: { start: string } }
).scripts.start
  .split(' ')
  .slice(1);

/** A busy machine, or a test that asks much, meets no limit that is not its subject. */
export const generous = {
  KMS_SIGN_RATE_LIMIT: '0',
  KMS_CREATE_RATE_LIMIT: '0',
  KMS_DESTROY_RATE_LIMIT: '0',
  KMS_REFUSALS_PER_ADDRESS: '1000000',
  KMS_DEFAULT_DEADLINE_MS: '5000',
  KMS_QUEUE_TARGET_MS: '5000',
  KMS_SIGN_DEADLINE_MS: '5000',
};

/** The real service as a process of its own, on a free port. Throws with its standard error when it does not start. */
export async function startService(options: ServiceOptions = {}): Promise<ServiceProcess> {
  const dataDir = options.dataDir ?? temporaryDirectory();
  const node = [process.execPath, ...(options.program ?? asNpmStart)];
  const limited = ['sh', '-c', `ulimit -n ${options.openFiles} && exec "$0" "$@"`, ...node];
  const [command = '', ...args] = options.openFiles === undefined ? node : limited;
  const child = spawn(command, args, {
    cwd: root,
    env: {
      ...{ ...process.env, ...generous, KMS_DATA_DIR: dataDir },
      ...(options.env?.KMS_LISTEN === undefined ? { KMS_BIND: '127.0.0.1:0' } : {}),
      ...options.env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options.user,
  });
  children.add(child);
  // Not before all that it wrote is read.
  const gone = once(child, 'close').then(([code]) => {
    children.delete(child);
    return code as number | null;
  });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    errors += chunk;
  });
  const log: string[] = [];
  const listening = new Promise<{ url: string; engine: 'native' | 'openssl' }>((resolve) => {
    createInterface(child.stdout).on('line', (line) => {
      log.push(line);
      const entry = JSON.parse(line) as { msg?: string; url?: string; engine?: 'native' | 'openssl' };
      if (entry.msg === 'listening') resolve({ url: entry.url as string, engine: entry.engine as 'native' });
    });
  });
  const started = await Promise.race([listening, gone.then(() => undefined)]);
  if (started === undefined) throw new Error(`the service did not start: ${errors}${log.join('\n')}`);
  const { url, engine } = started;
  return {
    url,
    engine,
    port: Number(new URL(url).port),
    pid: child.pid as number,
    dataDir,
    ...capabilitiesOf(dataDir),
    log,
    logged: (fits) => lineOf(log, fits, () => !children.has(child)),
    errors: () => errors,
    stop() {
      child.kill('SIGTERM');
      return gone;
    },
    async kill() {
      child.kill('SIGKILL');
      await gone;
    },
  };
}

const children = new Set<ChildProcess>();
const directories: string[] = [];

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-test-'));
  directories.push(directory);
  return directory;
}

// Ends the processes that a failed test left behind.
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/** The line of a growing log that fits; throws when it does not come. */
export async function lineOf(
  log: readonly string[],
  fits: (line: string) => boolean,
  isOver: () => boolean,
): Promise<string> {
  const endMs = Date.now() + 30_000;
  for (;;) {
    const ended = isOver();
    const line = log.find(fits);
    if (line !== undefined) return line;
    assert.ok(!ended && Date.now() < endMs, `no such line in the log: ${fits}\n${log.join('\n')}`);
    await delay(5);
  }
}

const usualScopes = 'kms:create,kms:read,kms:sign,kms:verify,kms:rotate,kms:destroy';

/** The capabilities of a data directory: the administrator's, and others made with its key. */
export function capabilitiesOf(dataDir: string): Pick<Started, 'token' | 'mint'> {
  const tokenFile = join(dataDir, 'bootstrap.token');
  return {
    token: existsSync(tokenFile) ? readFileSync(tokenFile, 'utf8').trim() : '',
    mint: async (tenant, scopes = usualScopes) => mintFor(dataDir, { tenant, scopes: scopes.split(',') }),
  };
}

export interface JsonAnswer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape.
  readonly body: any;
}

/** What can be asked: by HTTP, or in this process. */
export type Askable = { readonly url: string } | Pick<InProcessService, 'send'>;

/** One request with a JSON answer. */
export async function call(
  service: Askable,
  token: string | undefined,
  method: string,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<JsonAnswer> {
  const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  const answer = await callForBytes(service, token, method, path, text, headers);
  return { ...answer, body: answer.text === '' ? undefined : JSON.parse(answer.text) };
}

/** The same with an answer of any kind. */
export async function callForBytes(
  service: Askable,
  token: string | undefined,
  method: string,
  path: string,
  body?: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<{
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly bytes: Buffer;
}> {
  const sent = {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body }),
  };
  if ('send' in service) {
    const answer = await service.send({ ...sent, path });
    return { ...answer, headers: new Headers(answer.headers as Record<string, string>) };
  }
  const response = await fetch(`${service.url}${path}`, sent);
  const bytes = Buffer.from(await response.arrayBuffer());
  return { status: response.status, headers: response.headers, text: bytes.toString(), bytes };
}

/** BLAKE3-256 of "hello world". */
export const helloWorldB3 = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24';
