import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import test, { type TestContext } from 'node:test';
import type { ListenerKind } from '../../src/core/peer.ts';
import { type ConnectionCount, countConnections } from '../../src/http/connections.ts';
import type { Exchange, Listener, ListenerFailure, Response } from '../../src/http/exchange.ts';
import type { NodeTimes } from '../../src/http/listeners/node.ts';
import { until } from '../support/keyring.ts';
import { RawConnection } from '../support/requests.ts';

export interface ListenerLimits {
  readonly maxBodyBytes: number;
  readonly bodyTimeoutMs: number;
  readonly connections: ConnectionCount;
  /** Of listeners on node:http. */
  readonly times?: NodeTimes;
}

/** A kind of listener, and what of the contract is the kind's own affair. */
export interface ListenerKindUnderTest {
  readonly name: string;
  readonly listener: ListenerKind;
  /** On a free port or path, or where the listener of the URL `taken` is. */
  make(limits: ListenerLimits, taken?: string): Listener;
  /** A socket that connects to the listener of this URL. */
  dial(url: string): Socket;
  /** `Transfer-Encoding: chunked` is a body; else it is refused with LengthRequired. */
  readonly takesChunks: boolean;
  /** Requests in one segment are all answered; else a second one ends the connection unless the first is answered at once. */
  readonly keepsSecondRequest: boolean;
  /** A client that hangs up is noticed before it is answered. */
  readonly noticesHangUp: boolean;
  /** Header lines of every answer that nobody asked for. */
  readonly ownHeaders: RegExp;
}

export interface Opened {
  readonly listener: Listener;
  readonly url: string;
  /** Handed on so far. */
  readonly exchanges: Exchange[];
  /** Bodies of these, copied while they were valid. */
  readonly bodies: Buffer[];
  /** What the listener has refused or counted by itself. */
  readonly refusals: string[];
  connect(): RawConnection;
}

export type Answering = 'at once' | 'later' | 'by hand';

export const maxBodyBytes = 100_000;

/** The tools that a part of the contract is written with. */
export interface Contract {
  readonly kind: ListenerKindUnderTest;
  readonly check: (what: string, run: (t: TestContext) => Promise<void>) => void;
  readonly open: (
    t: TestContext,
    how?: Answering,
    answer?: (exchange: Exchange) => Response,
    more?: Partial<ListenerLimits>,
  ) => Promise<Opened>;
}

export function contractFor(kind: ListenerKindUnderTest): Contract {
  return {
    kind,
    check: (what, run) => void test(`${kind.name}: ${what}`, { timeout: 60_000 }, run),
    open: (t, how = 'at once', answer = ({ path }) => text(path), more = {}) =>
      open(kind, t, how, answer, more),
  };
}

/** A listener whose exchanges are answered with `answer`, or not at all. Ended with the test. */
async function open(
  kind: ListenerKindUnderTest,
  t: TestContext,
  how: Answering,
  answer: (exchange: Exchange) => Response,
  more: Partial<ListenerLimits>,
): Promise<Opened> {
  const limits = {
    ...{ maxBodyBytes, bodyTimeoutMs: 30_000 },
    ...{ connections: countConnections({ total: 100, perAddress: 100 }), ...more },
  };
  const listener = kind.make(limits);
  const exchanges: Exchange[] = [];
  const bodies: Buffer[] = [];
  const refusals: string[] = [];
  const connections: RawConnection[] = [];
  const url = await listener.listen({
    onExchange(exchange) {
      exchanges.push(exchange);
      bodies.push(Buffer.from(exchange.body));
      if (how === 'at once') exchange.respond(answer(exchange));
      else if (how === 'later') setImmediate(() => setImmediate(() => exchange.respond(answer(exchange))));
    },
    refused(failure) {
      refusals.push(failure);
      return {
        status: refusalStatuses[failure],
        headers: [['x-refused', failure]],
        body: '{}',
        close: true,
      };
    },
    onRefusal(reason) {
      refusals.push(reason);
    },
  });
  t.after(() => {
    for (const { socket } of connections) socket.destroy();
    listener.close();
  });
  const connect = () => {
    const connection = new RawConnection(kind.dial(url));
    connections.push(connection);
    return connection;
  };
  return { listener, url, exchanges, bodies, refusals, connect };
}

const refusalStatuses: Readonly<Record<ListenerFailure, number>> = {
  TooLarge: 413,
  LengthRequired: 411,
  HeadersTooLarge: 431,
  SlowBody: 408,
  framing: 400,
  malformed: 400,
  forwarded: 400,
};

export function text(body: string): Response {
  return { status: 200, headers: [['content-type', 'text/plain']], body };
}

export function head(requestLine: string, ...lines: string[]): string {
  return `${requestLine} HTTP/1.1\r\nHost: x\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`;
}

/** Proves that all that was sent before, on other connections, has been read. */
export async function answered(connection: RawConnection): Promise<void> {
  connection.send(head('GET /other'));
  assert.equal((await connection.answers(1))[0]?.body, '/other');
}

export async function answeredByHand(
  connection: RawConnection,
  exchanges: readonly Exchange[],
): Promise<void> {
  connection.send(head('GET /other'));
  await until(() => exchanges.at(-1)?.path === '/other');
  exchanges.at(-1)?.respond(text('/other'));
  assert.equal((await connection.answers(1))[0]?.body, '/other');
}
