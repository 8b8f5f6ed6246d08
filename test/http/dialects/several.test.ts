import assert from 'node:assert/strict';
import test from 'node:test';
import { RateLimits } from '../../../src/admission/rate-limits.ts';
import { createCancellation } from '../../../src/core/cancellation.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { peerAt } from '../../../src/core/peer.ts';
import { ok, type Result, refuse } from '../../../src/core/result.ts';
import type { Dialect } from '../../../src/http/dialect.ts';
import { intaglioDialect } from '../../../src/http/dialects/intaglio/index.ts';
import type { Exchange, Response } from '../../../src/http/exchange.ts';
import { HttpServer, type ServerParts } from '../../../src/http/server.ts';
import { createHealth } from '../../../src/observe/health.ts';
import type { KeyOperation } from '../../../src/operations/operation.ts';
import type { CallRequest } from '../../../src/request-path.ts';
import { bearing } from '../../support/credentials.ts';
import { openOperations } from '../../support/operations.ts';

const echo: KeyOperation<string, string> = {
  kind: 'keys',
  name: 'echo',
  scope: 'kms:read',
  run: (text) => ok(text),
};

/** Another wire: plain words, its own credentials, its own words for failures. */
const other: Dialect = {
  owns: (path) => path.startsWith('/other/'),
  find: (method, path) =>
    method === 'post' && path === '/other/echo' ? ok({ endpoint, named: 'the name' }) : refuse('NotFound'),
  presentFailure: ({ code }, { hint }) => ({ status: 499, body: { failed: code, hint } }),
  credentials: ({ query }) => bearing(query),
};
const endpoint = {
  operation: echo,
  parse: ({ named, body }: { named: string | undefined; body: Uint8Array }) =>
    ok(`${named}: ${Buffer.from(body)}`),
  present: (text: string) => {
    if (text.includes('a bug')) throw new Error('a bug with a secret in it');
    return { status: 207, body: { text } };
  },
  hints: { Conflict: 'as the route says' },
};

/** A server of both whose request path runs what is asked, or refuses. */
function serving(t: { after(undo: () => Promise<void>): void }, refusal?: Result<never>) {
  const tokens: (string | undefined)[] = [];
  const bugs: unknown[] = [];
  const server = new HttpServer({
    dialects: [intaglioDialect(openOperations(t).operations, { batchMaxItems: 1 }), other],
    requestPath: (async ({ operation, parse, body, credentials }: CallRequest<string, string>) => {
      tokens.push(credentials.token);
      const request = parse(body);
      if (refusal !== undefined) return refusal;
      return request.ok
        ? (operation as KeyOperation<string, string>).run(request.value, {} as never)
        : request;
    }) as ServerParts['requestPath'],
    health: createHealth(),
    metrics: async () => ({ contentType: 'text/plain', text: '' }),
    authenticator: { authenticate: () => refuse('Unauthenticated') },
    version: {},
    refusals: new RateLimits([{ count: 100, windowMs: 1_000 }], 10),
    clock: systemClock,
    onRefused: () => {},
    onBug: (cause) => void bugs.push(cause),
    onInternal: () => {},
  });
  const post = (path: string, body = '', more: Partial<Exchange['headers']> = {}) =>
    // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape.
    new Promise<{ status: number; body: any }>((resolve) => {
      const answered = ({ status, body: text }: Response) =>
        resolve({ status, body: JSON.parse(String(text)) });
      server.onExchange({
        ...{ scheme: 'http' as const, method: 'post', path, query: 'the query', body: Buffer.from(body) },
        cancellation: createCancellation(),
        headers: { authorization: 'Bearer x', severalAuthorizations: false, ...more } as Exchange['headers'],
        peer: () => peerAt('tcp', '127.0.0.1'),
        respond: answered,
      });
    });
  return { server, post, tokens, bugs };
}

test('a second dialect answers for its paths in its own words, and takes its own credentials', async (t) => {
  const { post, tokens, server } = serving(t);
  assert.deepEqual(await post('/other/echo', 'hello'), { status: 207, body: { text: 'the name: hello' } });
  assert.deepEqual(tokens, ['the query']);
  assert.deepEqual(await post('/other/none'), { status: 499, body: { failed: 'NotFound' } });
  const tooLarge = server.refused('TooLarge', {} as Exchange['headers'], '/other/echo');
  assert.deepEqual(JSON.parse(String(tooLarge.body)), { failed: 'TooLarge' });
  const several = await post('/other/echo', '', { severalAuthorizations: true });
  assert.deepEqual(several.body.failed, 'BadRequest');
  await post('/v1/kms/sign', '{}');
  assert.deepEqual(tokens, ['the query', 'x']);
});

test('the first dialect answers for what is nobody’s', async (t) => {
  const { post, server } = serving(t);
  for (const path of ['/nobodys', '/v1/kms/none'])
    assert.equal((await post(path)).body.error.code, 'NotFound');
  const refused = server.refused('malformed', {} as Exchange['headers'], '');
  assert.equal(JSON.parse(String(refused.body)).error.code, 'BadRequest');
});

test('a refusal shows the hint of its route', async (t) => {
  const { post } = serving(t, refuse('Conflict'));
  assert.deepEqual((await post('/other/echo')).body, { failed: 'Conflict', hint: 'as the route says' });
});

test('an answer that cannot be presented is a bug and a failure in the dialect’s words', async (t) => {
  const { post, bugs, server } = serving(t);
  assert.deepEqual(await post('/other/echo', 'a bug'), { status: 499, body: { failed: 'Internal' } });
  assert.equal(bugs.length, 1);
  await server.drain();
});
