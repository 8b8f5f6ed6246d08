import assert from 'node:assert/strict';
import test from 'node:test';
import { createCancellation } from '../../src/core/cancellation.ts';
import { type Peer, peerAt } from '../../src/core/peer.ts';
import { behindProxies } from '../../src/http/behind-proxies.ts';
import type { Exchange, ListenerHandlers, RequestHeaders, Response } from '../../src/http/exchange.ts';

const certificate = { sha256: '0'.repeat(64), subject: 'CN=proxy', dns: [], uris: [], spiffe: undefined };
const proxy: Peer = { ...peerAt('tls', '10.0.0.1', 4_711), certificate };
const none: RequestHeaders = {
  ...{ authorization: undefined, severalAuthorizations: false, contentEncoding: undefined },
  ...{ requestId: undefined, correlationId: undefined, traceparent: undefined, discharges: undefined },
  ...{ deadlineMs: undefined, xForwardedFor: undefined, forwarded: undefined },
};

/** What handlers get of a request from `peer`, and what it is answered. */
function through(trusted: readonly string[], peer: Peer, headers: Partial<RequestHeaders>) {
  const exchanges: Exchange[] = [];
  const refusals: string[] = [];
  const answers: Response[] = [];
  const handlers: ListenerHandlers = {
    onExchange: (exchange) => void exchanges.push(exchange),
    refused(code) {
      refusals.push(code);
      return { status: 400, headers: [], body: '' };
    },
    onRefusal() {},
  };
  const body = new Uint8Array([1]);
  const sent: Exchange = {
    ...{
      scheme: 'http' as const,
      method: 'get',
      path: '/p',
      query: 'q',
      body,
      headers: { ...none, ...headers },
    },
    cancellation: createCancellation(),
    peer: () => peer,
    respond: (response) => void answers.push(response),
  };
  behindProxies(handlers, trusted).onExchange(sent);
  return { sent, exchange: exchanges[0], refusals, answers };
}

test('the peer of a forwarded request has its address, no port, and the certificate of the proxy', () => {
  const { exchange, sent, answers } = through(['10.0.0.0/8'], proxy, { xForwardedFor: '192.0.2.7' });
  assert.deepEqual(exchange?.peer(), { ...proxy, address: '192.0.2.7', port: undefined });
  const { method, path, query, body, headers, cancellation } = exchange as Exchange;
  assert.deepEqual([method, path, query, body], ['get', '/p', 'q', sent.body]);
  assert.ok(headers === sent.headers && cancellation === sent.cancellation);
  exchange?.respond({ status: 200, headers: [], body: 'x' });
  assert.equal(answers[0]?.body, 'x');
});

test('a request that nobody trusted forwards is handed on as it came', () => {
  for (const [trusted, headers] of [
    [[], { xForwardedFor: '192.0.2.7' }],
    [['10.0.0.2'], { xForwardedFor: '192.0.2.7' }],
    [['10.0.0.2'], { xForwardedFor: 'nonsense' }],
    [['unix'], { forwarded: 'for=192.0.2.7' }],
    [['10.0.0.1'], {}],
    [['10.0.0.1'], { forwarded: 'for=unknown' }],
  ] as const) {
    const { exchange, sent, refusals } = through(trusted, proxy, headers);
    assert.deepEqual([exchange === sent, refusals], [true, []], JSON.stringify([trusted, headers]));
  }
});

test('over a Unix socket only `unix` is trusted', () => {
  const peer = { ...peerAt('unix'), uid: 7, gid: 8 };
  const headers = { xForwardedFor: '192.0.2.7' };
  assert.equal(through(['0.0.0.0/0', '::/0'], peer, headers).exchange?.peer(), peer);
  assert.deepEqual(through(['unix'], peer, headers).exchange?.peer(), { ...peer, address: '192.0.2.7' });
});

test('what a trusted proxy says and nobody can read is refused, and handed to nobody', () => {
  for (const headers of [
    { xForwardedFor: ',' },
    { forwarded: 'for' },
    { xForwardedFor: '::1', forwarded: 'for=::1' },
  ]) {
    const { exchange, refusals, answers } = through(['10.0.0.1'], proxy, headers);
    assert.deepEqual([exchange, refusals, answers.length], [undefined, ['forwarded'], 1]);
  }
});
