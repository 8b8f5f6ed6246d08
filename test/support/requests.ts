import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import { type MintRequest, mintToken } from '../../src/auth/macaroon/mint.ts';
import { type Askable, callForBytes, type InProcessService, type JsonAnswer } from './service.ts';

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly bytes: Buffer;
}

export interface RawRequest {
  readonly method: string;
  /** Sent as it is, unlike by fetch, which normalises paths. */
  readonly path: string;
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** One request with exactly these bytes, on a connection of its own where there are connections. */
export function exchange(
  service: { readonly port: number } | Pick<InProcessService, 'send'>,
  sent: RawRequest,
): Promise<RawAnswer> {
  if ('send' in service) return service.send(sent);
  return new Promise((resolve, reject) => {
    const { method, path, token, headers, body } = sent;
    // Says keep-alive, so that a close in an answer is the service's own wish.
    const agent = new Agent({ keepAlive: true });
    const outgoing = request(
      {
        host: '127.0.0.1',
        port: service.port,
        method,
        path,
        agent,
        headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...headers },
      },
      (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
        incoming.on('end', () => {
          agent.destroy();
          const bytes = Buffer.concat(chunks);
          const { statusCode: status = 0, headers } = incoming;
          resolve({ status, headers, text: bytes.toString(), bytes });
        });
        incoming.on('error', reject);
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** A capability made with the macaroon key of a running service's data directory, without a process for it. */
export function mintFor(dataDir: string, wanted: Omit<MintRequest, 'rootKey'>): string {
  const minted = mintToken({ rootKey: readFileSync(join(dataDir, 'macaroon.key')), ...wanted });
  assert.ok(minted.ok);
  return minted.value;
}

/** Every scope that the routes ask for. */
export const allScopes = [
  'kms:create',
  'kms:read',
  'kms:sign',
  'kms:verify',
  'kms:rotate',
  'kms:destroy',
  'kms:encrypt',
  'kms:decrypt',
  'kms:wrap',
  'kms:unwrap',
  'kms:derive',
];

const iso = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The error envelope with exactly its members, and the headers that go with it. Returns the error. */
export function assertEnvelope(
  answer: Omit<RawAnswer, 'bytes'>,
  status: number,
  code: string,
): { readonly hint?: string; readonly retry_after_ms?: number; readonly request_id: string } {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.headers['content-type'], 'application/json');
  const body = JSON.parse(answer.text);
  assert.deepEqual(Object.keys(body), ['error']);
  const { error } = body;
  assert.equal(error.code, code);
  const retries = status === 429 || status === 503;
  const members = Object.keys(error).filter((name) => name !== 'hint');
  const expected = ['code', 'message', 'retryable', ...(retries ? ['retry_after_ms'] : [])];
  assert.deepEqual(members.sort(), [...expected, 'request_id', 'ts'].sort());
  assert.equal(typeof error.message, 'string');
  assert.equal(error.retryable, retries || status === 504 || status === 408);
  if ('hint' in error) assert.ok(typeof error.hint === 'string' && error.hint !== '');
  assert.match(error.ts, iso);
  assert.match(error.request_id, uuid);
  assert.equal(answer.headers['x-request-id'], error.request_id);
  if (retries) {
    assert.ok(Number.isInteger(error.retry_after_ms) && error.retry_after_ms > 0);
    assert.equal(answer.headers['retry-after'], String(Math.ceil(error.retry_after_ms / 1000)));
  } else {
    assert.equal(answer.headers['retry-after'], undefined);
  }
  if (status === 401) assert.equal(answer.headers['www-authenticate'], 'Bearer realm="intaglio"');
  return error;
}

/** The same for an answer of `call`. */
export function assertFailed(
  answer: JsonAnswer,
  status: number,
  code: string,
): ReturnType<typeof assertEnvelope> {
  const headers = Object.fromEntries(answer.headers);
  return assertEnvelope({ status: answer.status, headers, text: JSON.stringify(answer.body) }, status, code);
}

/** A connection whose bytes are all written and read by hand. */
export class RawConnection {
  readonly socket: Socket;
  received = '';
  #closed = false;
  #changed: (() => void) | undefined;

  /** To a port of loopback by TCP, or over a socket that connects. */
  constructor(to: number | Socket) {
    this.socket = typeof to === 'number' ? connect({ port: to, host: '127.0.0.1', noDelay: true }) : to;
    this.socket.setEncoding('latin1');
    this.socket.on('data', (chunk: string) => {
      this.received += chunk;
      this.#changed?.();
    });
    // A reset is one way of being dropped.
    this.socket.on('error', () => {});
    this.socket.on('close', () => {
      this.#closed = true;
      this.#changed?.();
    });
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** Resolves when the service has closed it, with all that it sent. Fails when it stays open for 10 s. */
  async closed(): Promise<string> {
    await this.until(() => this.#closed);
    return this.received;
  }

  /** Says that nothing more is sent, closes, or closes with a reset where the kind of socket has one. */
  leave(how: 'end' | 'destroy' | 'reset'): void {
    if (how === 'end') this.socket.end();
    else if (how === 'reset' && this.#canReset()) this.socket.resetAndDestroy();
    else this.socket.destroy();
  }

  #canReset(): boolean {
    return this.socket.remoteAddress !== undefined && !(this.socket instanceof TLSSocket);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Resolves with what has come once there are `count` whole answers, or the connection is closed. */
  async answers(count: number): Promise<readonly { status: number; head: string; body: string }[]> {
    await this.until(() => this.#closed || parseAnswers(this.received).length >= count);
    return parseAnswers(this.received);
  }

  async until(condition: () => boolean): Promise<void> {
    let late = false;
    const limit = setTimeout(() => {
      late = true;
      this.#changed?.();
    }, 10_000);
    while (!condition() && !late) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
    clearTimeout(limit);
    assert.ok(!late, `nothing happened for 10 s; received: ${JSON.stringify(this.received.slice(0, 500))}`);
  }
}

function parseAnswers(text: string): { status: number; head: string; body: string }[] {
  const answers = [];
  for (let at = 0; ; ) {
    const end = text.indexOf('\r\n\r\n', at);
    if (end < 0) return answers;
    const head = text.slice(at, end);
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    const from = end + 4;
    if (text.length < from + length && !/^connection: close$/im.test(head)) return answers;
    answers.push({
      status: Number(head.slice(9, 12)),
      head,
      body: text.slice(from, from + length),
    });
    at = from + length;
  }
}

/** The value of one sample of /metrics, 0 when there is none. `labels` as they stand between the braces. */
export async function metric(service: Askable, name: string, labels?: string): Promise<number> {
  const { text } = await callForBytes(service, undefined, 'GET', '/metrics');
  const start = labels === undefined ? `${name} ` : `${name}{${labels}} `;
  const line = text.split('\n').find((candidate) => candidate.startsWith(start));
  return line === undefined ? 0 : Number(line.slice(start.length));
}
