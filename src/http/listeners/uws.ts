import './uws-environment.ts';
import {
  App,
  type HttpRequest,
  type HttpResponse,
  type TemplatedApp,
  type us_listen_socket,
  us_listen_socket_close,
  us_socket_local_port,
} from 'uWebSockets.js';
import { type Cancellation, cancel, createCancellation } from '../../core/cancellation.ts';
import { type ListenerKind, type Peer, peerAt } from '../../core/peer.ts';
import { StartError } from '../../core/start-error.ts';
import { addressText } from '../addresses.ts';
import { OpenAnswer } from '../answer-streams.ts';
import type { ConnectionCount } from '../connections.ts';
import type { Exchange, Listener, ListenerHandlers, RequestHeaders, Response } from '../exchange.ts';
import { Leaving } from '../leaving.ts';
import { readHeaders } from '../request-headers.ts';
import { statusLines } from '../status-lines.ts';

export interface UwsOptions {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  readonly maxBodyBytes: number;
  /** From the first to the last byte of a body. uWebSockets.js itself only ends connections that idle for 32 s. */
  readonly bodyTimeoutMs: number;
  readonly connections: ConnectionCount;
}

/** Plain HTTP/1.1 on TCP. */
export class UwsListener implements Listener {
  readonly kind: ListenerKind = 'tcp';
  readonly #options: UwsOptions;
  readonly #app = App();
  readonly #leaving = new Leaving();
  #socket: us_listen_socket | undefined;

  constructor(options: UwsOptions) {
    this.#options = options;
  }

  listen(handlers: ListenerHandlers): Promise<string> {
    const { host, port, connections } = this.#options;
    const parts: RequestParts = { options: this.#options, handlers, leaving: this.#leaving };
    const countConnection = (res: HttpResponse, change: number): void => {
      if (change < 0) {
        connections.closed();
        return;
      }
      const refusal = connections.opened(new Uint8Array(res.getRemoteAddress()));
      if (refusal === undefined) return;
      handlers.onRefusal(refusal);
      res.close();
    };
    this.#app.filter(countConnection as Parameters<TemplatedApp['filter']>[0]);
    this.#app.any('/*', (res, req) => accept(res, req, parts));
    return new Promise((resolve, reject) => {
      const listen = this.#app.listen.bind(this.#app) as unknown as ListenOn;
      listen(host, port, exclusivePort, (socket) => {
        if (!socket) {
          reject(new StartError(`cannot listen on ${host}:${port}: is the address in use?`));
          return;
        }
        this.#socket = socket;
        const taken = us_socket_local_port(socket);
        connections.listensOn(taken);
        resolve(`http://${host.includes(':') ? `[${host}]` : host}:${taken}`);
      });
    });
  }

  stopAccepting(): void {
    if (this.#socket !== undefined) us_listen_socket_close(this.#socket);
    this.#socket = undefined;
  }

  drain(): Promise<void> {
    return this.#leaving.drained();
  }

  close(): void {
    this.#app.close();
  }
}

/** The parts of a listener that each of its requests needs. */
interface RequestParts {
  readonly options: UwsOptions;
  readonly handlers: ListenerHandlers;
  readonly leaving: Leaving;
}

/** Without it the port is taken with SO_REUSEPORT, and a second process would get half of the connections. */
const exclusivePort = 1;

/** The declarations that come with uWebSockets.js lack the form with host and options, which the library has. */
type ListenOn = (
  host: string,
  port: number,
  options: number,
  done: (socket: us_listen_socket | false) => void,
) => void;

/** `req` is only valid until this returns: everything that matters is copied out here. */
function accept(res: HttpResponse, req: HttpRequest, parts: RequestParts): void {
  const { options, handlers } = parts;
  const path = req.getUrl();
  const { headers, contentLength, refusal } = readHeaders(path, (add) => req.forEach(add), false);
  const exchange = new UwsExchange(res, req.getMethod(), path, req.getQuery() ?? '', headers, parts.leaving);
  const { cancellation } = exchange;
  res.onAborted(() => {
    cancel(cancellation);
    if (!exchange.answered) handlers.onRefusal('unanswered');
    exchange.ended?.();
  });

  if (refusal !== undefined || (contentLength ?? 0) > options.maxBodyBytes) {
    const response = handlers.refused(refusal ?? 'TooLarge', headers, path);
    // The body's end is certain, so it can be read past; closing at once would reset the connection, and the client would lose
    // the answer.
    if (refusal === undefined) exchange.respond(response);
    // Without a body there is no way to send at once.
    else if (exchange.method === 'head') res.close();
    else {
      exchange.respond({ ...response, body: response.body.toString().padEnd(sendsAtOnceBytes) });
      // No handler is left that could take it, so the library closes the connection even where the answer did not fit.
      req.setYield(true);
    }
    return;
  }
  if (contentLength === undefined || contentLength === 0) {
    handOn(exchange, emptyBody, handlers);
    return;
  }
  readBody(res, contentLength, options.bodyTimeoutMs, (body) => {
    // A client that has gone is not slow.
    if (cancellation.cancelled) return;
    if (body === undefined) exchange.respond(handlers.refused('SlowBody', headers, path));
    else handOn(exchange, body, handlers);
  });
}

function handOn(exchange: UwsExchange, body: Uint8Array, handlers: ListenerHandlers): void {
  exchange.body = body;
  handlers.onExchange(exchange);
  if (!exchange.answered && !exchange.cancellation.cancelled) exchange.pause();
}

/**
 * Answers are collected in a buffer of 16 KiB until the whole segment is parsed, and closing the connection drops them. A
 * connection has to end at once where the end of a request is in doubt. An answer that does not fit into the buffer leaves
 * at once, so the JSON text is padded with spaces to that. The system may not take it, from a client that reads nothing.
 */
const sendsAtOnceBytes = 16 * 1024;

const emptyBody = new Uint8Array(0);

/** Hands on the body once it is whole, or undefined when it took too long. Chunks are only valid in their callback. */
function readBody(
  res: HttpResponse,
  contentLength: number,
  timeoutMs: number,
  done: (body: Uint8Array | undefined) => void,
): void {
  let body: Uint8Array | undefined;
  let received = 0;
  let timer: NodeJS.Timeout | undefined;
  res.onData((chunk, isLast) => {
    if (body === undefined && isLast) {
      // The usual case: all of it in one piece, read where it lies.
      done(new Uint8Array(chunk));
      return;
    }
    body ??= new Uint8Array(contentLength);
    body.set(new Uint8Array(chunk), received);
    received += chunk.byteLength;
    if (isLast) {
      clearTimeout(timer);
      done(body);
      return;
    }
    timer ??= setTimeout(() => done(undefined), timeoutMs).unref();
  });
}

/** The system's buffer of a new connection surely takes this much (tcp_wmem), so nobody need wait for such an answer. */
const smallAnswerBytes = 16 * 1024;

const gone = peerAt('tcp');

class UwsExchange implements Exchange {
  readonly scheme = 'http';
  readonly #res: HttpResponse;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: RequestHeaders;
  readonly cancellation: Cancellation = createCancellation();
  readonly #leaving: Leaving;
  body: Uint8Array = emptyBody;
  /** The answer is being sent, or was sent. */
  answered = false;
  /** Set while a part of the answer is not yet in the system's hands. */
  ended: (() => void) | undefined = undefined;
  #paused = false;
  #peer: Peer | undefined = undefined;

  constructor(
    res: HttpResponse,
    method: string,
    path: string,
    query: string,
    headers: RequestHeaders,
    leaving: Leaving,
  ) {
    this.#res = res;
    this.method = method;
    this.path = path;
    this.query = query;
    this.headers = headers;
    this.#leaving = leaving;
  }

  peer(): Peer {
    if (this.#peer !== undefined) return this.#peer;
    // The library allows no question about a request that it is done with.
    if (this.cancellation.cancelled || this.answered) return gone;
    this.#peer = peerAt('tcp', addressText(new Uint8Array(this.#res.getRemoteAddress())));
    return this.#peer;
  }

  /**
   * Leaves all that comes behind a request unread until its answer has left: reading the end of what a client sends
   * (`shutdown(SHUT_WR)`), or a second request, makes uWebSockets.js close the connection without the answer. A client that
   * hangs up is therefore only noticed when it is written to. Costs, with the resumption, 3 us of CPU.
   */
  pause(): void {
    this.#paused = true;
    this.#res.pause();
  }

  respond({ status, headers, body, stream, close = false }: Response): void {
    if (this.cancellation.cancelled) return;
    const res = this.#res;
    const head = this.method === 'head' || status === 304;
    if (stream !== undefined && !head) {
      this.#goOn(status, headers, stream);
      return;
    }
    const large = body.length > smallAnswerBytes && !head && !close ? Buffer.from(body) : undefined;
    let whole = true;
    this.answered = true;
    res.cork(() => {
      // After `end` it is too late; nothing is read before this returns.
      if (this.#paused) res.resume();
      this.#writeHead(status, headers);
      // A body behind the headers of an answer to HEAD would be taken for the next answer (RFC 9110 section 9.3.2).
      if (head) res.endWithoutBody(Buffer.byteLength(body), close);
      else if (large !== undefined) [, whole] = res.tryEnd(large, large.length);
      else res.end(body, close);
    });
    if (large !== undefined && !whole) this.#sendRest(large);
  }

  #goOn(status: number, headers: Response['headers'], stream: NonNullable<Response['stream']>): void {
    const res = this.#res;
    this.answered = true;
    res.cork(() => {
      if (this.#paused) res.resume();
      this.#writeHead(status, headers);
    });
    const open = new OpenAnswer({
      write: (text) => {
        let taken = true;
        res.cork(() => {
          taken = res.write(text);
        });
        return taken;
      },
      end: () => {
        this.ended = undefined;
        res.cork(() => res.end());
      },
      drop: () => res.close(),
    });
    this.ended = () => open.gone();
    res.onWritable(() => {
      open.drained();
      return true;
    });
    stream(open);
  }

  #writeHead(status: number, headers: Response['headers']): void {
    this.#res.writeStatus(statusLines[status] ?? String(status));
    for (const [name, value] of headers) this.#res.writeHeader(name, value);
  }

  #sendRest(large: Uint8Array): void {
    this.#leaving.begin();
    this.ended = () => {
      this.ended = undefined;
      this.#leaving.end();
    };
    this.#res.onWritable((offset) => {
      const [ok, done] = this.#res.tryEnd(large.subarray(offset), large.length);
      if (done) this.ended?.();
      return ok;
    });
  }
}
