import { App, type HttpResponse, us_listen_socket_close, us_socket_local_port } from 'uWebSockets.js';

/** A bare uWebSockets.js server on a free port of the loopback: one route, the whole body, nothing else. */
export function serveUws(
  path: string,
  handle: (res: HttpResponse, body: Buffer) => void,
  ready: (port: number) => void,
): void {
  const app = App();
  app.post(path, (res) => {
    res.onAborted(() => {});
    res.onData((chunk, isLast) => {
      // Bodies of these loads come in one piece; one that does not would be a mistake of the load.
      if (!isLast) throw new Error('a body in pieces');
      handle(res, Buffer.from(chunk));
    });
  });
  app.listen('127.0.0.1', 0, (socket) => {
    if (!socket) throw new Error('no free port');
    process.once('SIGTERM', () => {
      us_listen_socket_close(socket);
      process.exit(0);
    });
    ready(us_socket_local_port(socket));
  });
}

export function answerJson(res: HttpResponse, status: '200 OK' | '400 Bad Request', body: string): void {
  res.cork(() => {
    res.writeStatus(status).writeHeader('content-type', 'application/json').end(body);
  });
}
