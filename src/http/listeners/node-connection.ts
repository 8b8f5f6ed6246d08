import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { cancel, createCancellation } from '../../core/cancellation.ts';
import type { Peer } from '../../core/peer.ts';
import { OpenAnswer } from '../answer-streams.ts';
import type { Exchange, ListenerFailure, ListenerHandlers, RequestHeaders, Response } from '../exchange.ts';
import type { Leaving } from '../leaving.ts';
import { readHeaders } from '../request-headers.ts';
import { statusLines } from '../status-lines.ts';

export interface NodeConnectionParts {
  readonly socket: Socket;
  readonly peer: Peer;
  readonly limits: {
    readonly maxBodyBytes: number;
    readonly bodyTimeoutMs: number;
    /** From the answer until the system has taken all of it. */
    readonly writeTimeoutMs: number;
  };
  readonly handlers: ListenerHandlers;
  readonly leaving: Leaving;
}

export interface Message {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** The client sends the body when it is told to (RFC 9110 section 10.1.1). */
  readonly waitsForLeave: boolean;
}

/** Requests sent without waiting that are kept, each 3 KiB of objects; more end the connection. */
const maxWaiting = 16;

/** The requests of one connection: one is under way at a time, and nothing is begun behind one whose answer closes. */
export class NodeConnection {
  readonly #parts: NodeConnectionParts;
  readonly #waiting: (Message | ListenerFailure)[] = [];
  #underWay: NodeExchange | undefined;
  #ending = false;
  #halfClosed = false;

  constructor(parts: NodeConnectionParts) {
    this.#parts = parts;
    parts.socket.once('end', () => {
      this.#halfClosed = true;
      this.#underWay?.clientLeft();
      this.#endIfDone();
    });
  }

  enter(message: Message): void {
    this.#enter(message);
  }

  /** The bytes could not be parsed, and none that come will be. */
  enterBroken(failure: ListenerFailure): void {
    // The rest of a body that is being read.
    if (this.#underWay?.breakOff()) return;
    this.#enter(failure);
  }

  #enter(next: Message | ListenerFailure): void {
    if (this.#ending) return;
    if (this.#underWay === undefined) {
      this.#begin(next);
      return;
    }
    if (this.#waiting.length === maxWaiting) {
      this.#ending = true;
      this.#parts.handlers.onRefusal('unanswered');
      this.#parts.socket.destroy();
      return;
    }
    this.#waiting.push(next);
    this.#parts.socket.pause();
  }

  #begin(next: Message | ListenerFailure): void {
    if (typeof next === 'string') {
      this.#ending = true;
      this.#answerBroken(this.#parts.handlers.refused(next, noHeaders, ''));
      return;
    }
    this.#underWay = new NodeExchange(this.#parts, next, (close) => {
      this.#underWay = undefined;
      this.#ending ||= close;
      const waiting = this.#ending ? undefined : this.#waiting.shift();
      if (waiting !== undefined) this.#begin(waiting);
      else if (!this.#ending) this.#parts.socket.resume();
      this.#endIfDone();
    });
    this.#underWay.read();
  }

  #endIfDone(): void {
    if (this.#halfClosed && this.#underWay === undefined) this.#parts.socket.end();
  }

  /** There is no request that node:http would let us answer. */
  #answerBroken(response: Response): void {
    const { socket } = this.#parts;
    const lines = [`HTTP/1.1 ${statusLines[response.status]}`];
    const headers = headersOf({ ...response, close: true });
    for (let n = 0; n < headers.length; n += 2) lines.push(`${headers[n]}: ${headers[n + 1]}`);
    setTimeout(() => socket.destroy(), this.#parts.limits.writeTimeoutMs).unref();
    socket.end(`${lines.join('\r\n')}\r\n\r\n${response.body}`, () => socket.destroy());
  }
}

class NodeExchange implements Exchange {
  readonly scheme: Exchange['scheme'];
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: RequestHeaders;
  readonly cancellation = createCancellation();
  body: Uint8Array = emptyBody;
  readonly #parts: NodeConnectionParts;
  readonly #message: Message;
  readonly #refusal: ListenerFailure | undefined;
  readonly #hasBody: boolean;
  #timer: NodeJS.Timeout | undefined;
  #answered = false;
  /** The answer, where it goes on. */
  #open: OpenAnswer | undefined;
  #closes = false;

  /** `done`: the answer has left, or the client has gone. */
  constructor(parts: NodeConnectionParts, message: Message, done: (close: boolean) => void) {
    const { req, res } = message;
    const [path = '', ...query] = (req.url ?? '').split('?');
    const { headers, contentLength, chunked, refusal } = readHeaders(path, pairs(req.rawHeaders), true);
    this.scheme = parts.peer.listener === 'tls' ? 'https' : 'http';
    this.method = (req.method ?? '').toLowerCase();
    this.path = path;
    this.query = query.join('?');
    this.headers = headers;
    this.#parts = parts;
    this.#message = message;
    this.#hasBody = chunked || (contentLength ?? 0) > 0;
    this.#refusal = refusal ?? (isOurs(req) ? undefined : 'malformed');
    if (this.#refusal === undefined && (contentLength ?? 0) > parts.limits.maxBodyBytes) {
      this.#refusal = 'TooLarge';
    }
    // A call may take longer than a connection may be idle: that of a rotation is answered when every key has gone over.
    res.on('timeout', () => {
      if (this.#answered || !req.complete) req.socket.destroy();
    });
    res.once('close', () => {
      clearTimeout(this.#timer);
      if (!res.writableFinished) cancel(this.cancellation);
      if (this.#open !== undefined) this.#open.gone();
      else if (this.#answered) parts.leaving.end();
      else parts.handlers.onRefusal('unanswered');
      done(this.#closes || !res.shouldKeepAlive || this.cancellation.cancelled);
    });
  }

  peer(): Peer {
    return this.#parts.peer;
  }

  /** Hands itself on once the body is whole, or is refused. */
  read(): void {
    const { req, res, waitsForLeave } = this.#message;
    const { maxBodyBytes, bodyTimeoutMs } = this.#parts.limits;
    if (this.#refusal !== undefined) {
      this.#refuse(this.#refusal);
      return;
    }
    if (!this.#hasBody) {
      this.#parts.handlers.onExchange(this);
      return;
    }
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    this.#timer = setTimeout(() => this.#refuse('SlowBody'), bodyTimeoutMs).unref();
    if (waitsForLeave) res.writeContinue();
    req.on('data', (chunk: Uint8Array) => {
      bytes += chunk.length;
      if (bytes > maxBodyBytes) this.#refuse('TooLarge');
      else chunks.push(chunk);
    });
    req.once('end', () => {
      if (this.#answered) return;
      clearTimeout(this.#timer);
      this.body = chunks.length === 1 ? (chunks[0] as Uint8Array) : Buffer.concat(chunks);
      this.#parts.handlers.onExchange(this);
    });
  }

  /** False where the request was whole, so that its answer is somebody else's affair. */
  breakOff(): boolean {
    if (this.#message.req.complete) return false;
    this.#refuse('framing');
    return true;
  }

  /** The client has closed its side. A whole request is answered all the same, but nobody goes on listening. */
  clientLeft(): void {
    this.#open?.end();
  }

  #refuse(failure: ListenerFailure): void {
    if (this.#answered || this.cancellation.cancelled) return;
    this.respond(this.#parts.handlers.refused(failure, this.headers, this.path));
  }

  respond(response: Response): void {
    if (this.#answered || this.cancellation.cancelled) return;
    this.#answered = true;
    this.#closes = response.close ?? false;
    if (response.stream !== undefined && this.method !== 'head') {
      this.#goOn(response, response.stream);
      return;
    }
    this.#parts.leaving.begin();
    const { res } = this.#message;
    // As on every listener: HTTP/1.1 goes on unless one side says otherwise.
    if (!this.#closes) res.removeHeader('connection');
    res.sendDate = false;
    res.writeHead(response.status, (statusLines[response.status] ?? '').slice(4), headersOf(response));
    if (this.method === 'head' || response.status === 304) res.end();
    else res.end(response.body);
    const { socket, limits } = this.#parts;
    // The system has usually taken it by now.
    if (socket.writableLength === 0) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => socket.destroy(), limits.writeTimeoutMs).unref();
  }

  #goOn({ status, headers }: Response, stream: NonNullable<Response['stream']>): void {
    const { res } = this.#message;
    if (!this.#closes) res.removeHeader('connection');
    res.sendDate = false;
    res.writeHead(status, (statusLines[status] ?? '').slice(4), [...headers.flat(), ...dateNow()]);
    const open = new OpenAnswer({
      write: (text) => res.write(text),
      end: () => res.end(),
      drop: () => this.#parts.socket.destroy(),
    });
    res.on('drain', () => open.drained());
    this.#open = open;
    stream(open);
    if (this.#parts.socket.readableEnded) this.clientLeft();
  }
}

const emptyBody = new Uint8Array(0);

const noHeaders: RequestHeaders = {
  authorization: undefined,
  severalAuthorizations: false,
  contentEncoding: undefined,
  requestId: undefined,
  correlationId: undefined,
  traceparent: undefined,
  discharges: undefined,
  deadlineMs: undefined,
  xForwardedFor: undefined,
  forwarded: undefined,
};

/** HTTP/1.1, and a path (RFC 9112 section 3.2.1): a proxy's forms are none of ours. */
function isOurs({ httpVersion, url = '' }: IncomingMessage): boolean {
  return httpVersion === '1.1' && url.startsWith('/');
}

function pairs(raw: readonly string[]): (add: (name: string, value: string) => void) => void {
  return (add) => {
    for (let n = 0; n + 1 < raw.length; n += 2) add((raw[n] as string).toLowerCase(), raw[n + 1] as string);
  };
}

/** Names and values in turn, in the order of every listener. */
function headersOf({ headers, body, close }: Response): string[] {
  return [
    ...headers.flat(),
    ...(close ? ['Connection', 'close'] : []),
    ...[...dateNow(), 'Content-Length', String(Buffer.byteLength(body))],
  ];
}

function dateNow(): string[] {
  return ['Date', new Date().toUTCString()];
}
