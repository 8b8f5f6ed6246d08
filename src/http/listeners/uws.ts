import './uws-environment.ts';
import {
  App,
  type HttpRequest,
  type HttpResponse,
  type us_listen_socket,
  us_listen_socket_close,
  us_socket_local_port,
} from 'uWebSockets.js';
import { cancel, createCancellation } from '../../core/cancellation.ts';
import { StartError } from '../../core/start-error.ts';
import { ConnectionCount, type ConnectionLimits, countByAddress } from '../connections.ts';
import type {
  Exchange,
  Listener,
  ListenerFailure,
  ListenerHandlers,
  RequestHeaders,
  Response,
} from '../exchange.ts';

export interface UwsOptions {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  readonly maxBodyBytes: number;
  /** From the first to the last byte of a body. uWebSockets.js itself only ends connections that idle for 32 s. */
  readonly bodyTimeoutMs: number;
  readonly connections: ConnectionLimits;
}

/** Plain HTTP/1.1 on TCP. Rejects with a StartError when the address cannot be bound. */
export function listenUws(options: UwsOptions, handlers: ListenerHandlers): Promise<Listener> {
  const app = App();
  let port = options.port;
  const connections = new ConnectionCount({
    limits: options.connections,
    nowMs: () => performance.now(),
    count: () => countByAddress(port),
  });
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
  app.filter(countConnection as Parameters<typeof app.filter>[0]);
  app.any('/*', (res, req) => accept(res, req, options, handlers));
  return new Promise((resolve, reject) => {
    const listen = app.listen.bind(app) as unknown as ListenOn;
    listen(options.host, options.port, exclusivePort, (socket) => {
      if (!socket) {
        app.close();
        reject(new StartError(`cannot listen on ${options.host}:${options.port}: is the address in use?`));
        return;
      }
      port = us_socket_local_port(socket);
      resolve({
        url: `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`,
        stopAccepting: () => us_listen_socket_close(socket),
        close: () => app.close(),
      });
    });
  });
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
function accept(res: HttpResponse, req: HttpRequest, options: UwsOptions, handlers: ListenerHandlers): void {
  const { headers, contentLength, refusal } = readHeaders(req);
  const method = req.getMethod();
  const path = req.getUrl();
  const query = req.getQuery() ?? '';
  const cancellation = createCancellation();
  const flight: Flight = { answered: false, paused: false, ended: undefined };
  res.onAborted(() => {
    cancel(cancellation);
    if (!flight.answered) handlers.onRefusal('unanswered');
    flight.ended?.();
  });

  if (refusal !== undefined || (contentLength ?? 0) > options.maxBodyBytes) {
    const response = handlers.refused(refusal ?? 'TooLarge', headers);
    // The body's end is certain, so it can be read past; closing at once would reset the connection, and the client would lose
    // the answer.
    if (refusal === undefined) send(res, response, method, flight);
    // Without a body there is no way to send at once.
    else if (method === 'head') res.close();
    else {
      send(res, { ...response, body: response.body.toString().padEnd(sendsAtOnceBytes) }, method, flight);
      // No handler is left that could take it, so the library closes the connection even where the answer did not fit.
      req.setYield(true);
    }
    return;
  }
  const exchange = (body: Uint8Array): Exchange => ({
    method,
    path,
    query,
    headers,
    body,
    cancellation,
    remoteAddress: () =>
      cancellation.cancelled ? '' : Buffer.from(res.getRemoteAddressAsText()).toString('latin1'),
    respond: (response) => (cancellation.cancelled ? undefined : send(res, response, method, flight)),
  });

  const handOn = (body: Uint8Array): void => {
    handlers.onExchange(exchange(body));
    if (!flight.answered && !cancellation.cancelled) pause(res, flight);
  };

  if (contentLength === undefined || contentLength === 0) {
    handOn(emptyBody);
    return;
  }
  readBody(res, contentLength, options.bodyTimeoutMs, (body) => {
    // A client that has gone is not slow.
    if (cancellation.cancelled) return;
    if (body === undefined) {
      send(res, handlers.refused('SlowBody', headers), method, flight);
      return;
    }
    handOn(body);
  });
}

/**
 * Answers are collected in a buffer of 16 KiB until the whole segment is parsed, and closing the connection drops them. A
 * connection has to end at once where the end of a request is in doubt. An answer that does not fit into the buffer leaves
 * at once, so the JSON text is padded with spaces to that. The system may not take it, from a client that reads nothing.
 */
const sendsAtOnceBytes = 16 * 1024;

const emptyBody = new Uint8Array(0);

interface ReadHeaders {
  readonly headers: RequestHeaders;
  readonly contentLength: number | undefined;
  /** Set where it has to be refused whatever it asks for. */
  readonly refusal: ListenerFailure | undefined;
}

/** One pass over the headers. */
function readHeaders(req: HttpRequest): ReadHeaders {
  let authorization: string | undefined;
  let contentEncoding: string | undefined;
  let requestId: string | undefined;
  let correlationId: string | undefined;
  let traceparent: string | undefined;
  let deadlineMs: string | undefined;
  let authorizations = 0;
  let lengths = 0;
  let bytes = req.getUrl().length;
  let lengthText = '';
  let transferEncoding = false;
  req.forEach((name, value) => {
    bytes += name.length + value.length + 4;
    switch (name) {
      case 'authorization':
        authorization = value;
        authorizations++;
        break;
      case 'content-length':
        lengths++;
        lengthText = value;
        break;
      case 'transfer-encoding':
        transferEncoding = true;
        break;
      case 'content-encoding':
        contentEncoding = value;
        break;
      case 'x-request-id':
        requestId = value;
        break;
      case 'x-corr-id':
        correlationId = value;
        break;
      case 'traceparent':
        traceparent = value;
        break;
      case 'x-deadline-ms':
        deadlineMs = value;
        break;
    }
  });
  const doubtful = lengths > 1 || (lengths === 1 && !/^[0-9]{1,15}$/.test(lengthText));
  return {
    headers: {
      authorization: authorizations === 1 ? authorization : undefined,
      severalAuthorizations: authorizations > 1,
      contentEncoding,
      requestId,
      correlationId,
      traceparent,
      deadlineMs,
    },
    contentLength: lengths === 0 || doubtful ? undefined : Number(lengthText),
    refusal: transferEncoding
      ? 'LengthRequired'
      : doubtful
        ? 'framing'
        : bytes > maxHeaderBytes
          ? 'HeadersTooLarge'
          : undefined,
  };
}

/** Path and headers: a capability of 4,096 characters, and as much again. */
const maxHeaderBytes = 8 * 1024;

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

/** The state of the answer to a request. */
interface Flight {
  /** It is being sent, or was sent. */
  answered: boolean;
  /** Bytes that the client sends meanwhile stay unread. */
  paused: boolean;
  /** Set while a part of it is not yet in the system's hands. */
  ended: (() => void) | undefined;
}

/**
 * Leaves unread what comes behind a request until its answer has left: reading the end of what a client sends
 * (`shutdown(SHUT_WR)`), or a second request, makes uWebSockets.js close the connection without the answer. A client that
 * hangs up is therefore only noticed when it is written to. Costs, with the resumption, 3 us of CPU.
 */
function pause(res: HttpResponse, flight: Flight): void {
  flight.paused = true;
  res.pause();
}

/** The system's buffer of a new connection surely takes this much (tcp_wmem), so nobody need wait for such an answer. */
const smallAnswerBytes = 16 * 1024;

function send(
  res: HttpResponse,
  { status, headers, body, close = false }: Response,
  method: string,
  flight: Flight,
): Promise<void> | undefined {
  const large = body.length > smallAnswerBytes && method !== 'head' && !close ? Buffer.from(body) : undefined;
  let whole = true;
  flight.answered = true;
  res.cork(() => {
    // After `end` it is too late; nothing is read before this returns.
    if (flight.paused) res.resume();
    res.writeStatus(statusLines[status] ?? String(status));
    for (const [name, value] of headers) res.writeHeader(name, value);
    // A body behind the headers of an answer to HEAD would be taken for the next answer (RFC 9110 section 9.3.2).
    if (method === 'head') res.endWithoutBody(Buffer.byteLength(body), close);
    else if (large !== undefined) [, whole] = res.tryEnd(large, large.length);
    else res.end(body, close);
  });
  if (large === undefined || whole) return undefined;
  return new Promise((resolve) => {
    flight.ended = resolve;
    res.onWritable((offset) => {
      const [ok, done] = res.tryEnd(large.subarray(offset), large.length);
      if (done) resolve();
      return ok;
    });
  });
}

const statusLines: Readonly<Record<number, string>> = {
  200: '200 OK',
  201: '201 Created',
  202: '202 Accepted',
  400: '400 Bad Request',
  401: '401 Unauthorized',
  403: '403 Forbidden',
  404: '404 Not Found',
  405: '405 Method Not Allowed',
  408: '408 Request Timeout',
  409: '409 Conflict',
  411: '411 Length Required',
  413: '413 Content Too Large',
  415: '415 Unsupported Media Type',
  431: '431 Request Header Fields Too Large',
  429: '429 Too Many Requests',
  500: '500 Internal Server Error',
  503: '503 Service Unavailable',
  504: '504 Gateway Timeout',
};
