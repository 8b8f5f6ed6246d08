import { connect, type Socket } from 'node:net';
import { connect as connectTls, TLSSocket } from 'node:tls';
import type { LoadRequest, Via } from './plan.ts';

/** The bytes of a request. */
export function wire(request: LoadRequest, to: { readonly host: string; readonly port: number }): Buffer {
  const body = request.body ?? '';
  const lines = [
    `${request.method} ${request.path} HTTP/1.1`,
    `Host: ${to.host}:${to.port}`,
    ...(request.token === '' ? [] : [`Authorization: Bearer ${request.token}`]),
    ...Object.entries(request.headers ?? {}).map(([name, value]) => `${name}: ${value}`),
    ...(request.method === 'POST'
      ? ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`]
      : []),
  ];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`);
}

export interface Answer {
  /** 0 when the connection broke with the request under way. */
  readonly status: number;
  /** Empty unless the connection keeps bodies. */
  readonly body: Buffer;
}

export interface ConnectionOptions {
  readonly host: string;
  readonly port: number;
  readonly keepBodies: boolean;
  readonly via?: Via | undefined;
}

const headEnd = Buffer.from('\r\n\r\n');
const nothing = Buffer.alloc(0);
const zero = 0x30;

/**
 * One keep-alive connection with at most one request under way. Reads only what tells the end of an answer, so that
 * the generator takes as little as it can of the processor that it shares with the server.
 */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #onAnswer: (connection: Connection, answer: Answer) => void;
  #socket: Socket | undefined;
  #connected = false;
  /** The beginning of a head that came in pieces. */
  #head: Buffer | undefined;
  #status = 0;
  #missingBytes = 0;
  #body: Buffer[] = [];
  dueAtUs = 0;
  busy = false;

  constructor(options: ConnectionOptions, onAnswer: (connection: Connection, answer: Answer) => void) {
    this.#options = options;
    this.#onAnswer = onAnswer;
  }

  /** Resolves when it is open, and also when it cannot be opened: then the next request is answered with status 0. */
  open(): Promise<void> {
    return new Promise((resolve) => {
      const socket = dial(this.#options);
      this.#socket = socket;
      socket.on('data', (chunk) => this.#read(chunk));
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#connected = false;
        this.#head = undefined;
        this.#missingBytes = 0;
        this.#body = [];
        resolve();
        if (this.busy) this.#answer(0);
      });
      socket.on(socket instanceof TLSSocket ? 'secureConnect' : 'connect', () => {
        this.#connected = true;
        resolve();
      });
    });
  }

  send(bytes: Buffer, dueAtUs: number): void {
    this.dueAtUs = dueAtUs;
    this.busy = true;
    if (this.#connected) this.#socket?.write(bytes);
    else void this.open().then(() => this.#connected && this.#socket?.write(bytes));
  }

  close(): void {
    this.busy = false;
    this.#socket?.destroy();
  }

  #read(chunk: Buffer): void {
    if (this.#missingBytes > 0) {
      this.#readBody(chunk);
      return;
    }
    const data = this.#head === undefined ? chunk : Buffer.concat([this.#head, chunk]);
    const end = data.indexOf(headEnd);
    if (end === -1) {
      this.#head = data;
      return;
    }
    this.#head = undefined;
    this.#status = digit(data, 9) * 100 + digit(data, 10) * 10 + digit(data, 11);
    this.#missingBytes = Number(/content-length: *(\d+)/i.exec(data.toString('latin1', 0, end))?.[1] ?? 0);
    this.#readBody(data.subarray(end + headEnd.length));
  }

  #readBody(chunk: Buffer): void {
    this.#missingBytes -= chunk.length;
    if (this.#options.keepBodies && chunk.length > 0) this.#body.push(chunk);
    if (this.#missingBytes <= 0) this.#answer(this.#status);
  }

  #answer(status: number): void {
    const body = this.#body.length === 0 ? nothing : Buffer.concat(this.#body);
    this.#body = [];
    this.busy = false;
    this.#onAnswer(this, { status, body });
  }
}

function dial({ host, port, via }: ConnectionOptions): Socket {
  if (via === undefined) return connect({ host, port, noDelay: true });
  if ('path' in via) return connect(via.path);
  return connectTls({ host, port, servername: 'localhost', ...via }).setNoDelay();
}

function digit(data: Buffer, at: number): number {
  return (data[at] ?? zero) - zero;
}
