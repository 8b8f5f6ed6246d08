import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { maxRequestBytes } from './add-checkpoint.ts';
import type { Witness, WitnessResponse } from './witness.ts';

/** A client has this long for its headers and its body together. */
const requestTimeoutMs = 10_000;
/** A witness serves a handful of logs; this many connections is somebody else. */
const maxConnections = 256;

const notFound: WitnessResponse = { status: 404, contentType: 'text/plain; charset=utf-8', body: '' };
const tooLarge: WitnessResponse = { status: 413, contentType: 'text/plain; charset=utf-8', body: '' };

async function body(request: IncomingMessage): Promise<Uint8Array | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > maxRequestBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function answer(witness: Witness, request: IncomingMessage): Promise<WitnessResponse> {
  const path = request.url ?? '';
  if (request.method === 'POST' && path === '/add-checkpoint') {
    const bytes = await body(request);
    return bytes === undefined ? tooLarge : witness.addCheckpoint(bytes);
  }
  const [, hash] = /^\/([0-9a-f]{64})\/checkpoint$/.exec(path) ?? [];
  return request.method === 'GET' && hash !== undefined ? witness.checkpoint(hash) : notFound;
}

function send(response: ServerResponse, { status, contentType, body }: WitnessResponse): void {
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    ...(status === 413 ? { connection: 'close' } : undefined),
  });
  response.end(body);
}

/** The HTTP interface of a witness. `onError`: the state could not be read or written, and the request got 500. */
export function witnessServer(witness: Witness, onError: (error: unknown) => void): Server {
  const server = createServer({ requestTimeout: requestTimeoutMs }, (request, response) => {
    answer(witness, request).then(
      (result) => send(response, result),
      (error) => {
        // A client that went away in the middle of its body is no fault of ours.
        if (!request.destroyed || request.complete) onError(error);
        if (!response.headersSent) send(response, { ...notFound, status: 500 });
      },
    );
  });
  server.maxConnections = maxConnections;
  return server;
}
