import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type FailureCode, failures } from '../../src/core/failure.ts';
import type { Dialect } from '../../src/http/dialect.ts';

export interface DialectFacts {
  /** Method, in lower case, and path of routes that there are. */
  readonly routes: readonly (readonly [method: string, path: string])[];
  /** Pieces of its paths, to make up others. */
  readonly pieces: readonly string[];
}

/** The promises of every dialect. */
export function dialectContract(name: string, dialect: Dialect, { routes, pieces }: DialectFacts): void {
  test(`${name}: its routes are its own, and another method is told which there are`, () => {
    for (const [method, path] of routes) {
      assert.ok(dialect.owns(path), path);
      assert.ok(dialect.find(method, path).ok, `${method} ${path}`);
      const wrong = dialect.find('patch', path);
      assert.ok(!wrong.ok && wrong.failure.code === 'MethodNotAllowed', path);
      assert.ok(wrong.failure.allow?.split(', ').includes(method.toUpperCase()), path);
      if (method === 'get') assert.ok(dialect.find('head', path).ok, path);
    }
  });

  test(`${name}: whatever comes finds a route or is refused, without a throw`, () => {
    const piece = fc.oneof(
      fc.constantFrom(...pieces, '/', '%', '%2f', '__proto__', 'constructor', '..'),
      fc.string(),
    );
    fc.assert(
      fc.property(
        fc.constantFrom('get', 'post', 'head', 'constructor', '__proto__', ''),
        fc.array(piece, { maxLength: 6 }),
        (method, parts) => {
          const route = dialect.find(method, parts.join(''));
          if (route.ok) assert.ok(['get', 'post', 'head'].includes(method));
          else assert.ok(['NotFound', 'BadRequest', 'MethodNotAllowed'].includes(route.failure.code));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test(`${name}: a body that is no request is refused and not repeated`, () => {
    const canary = 'kanarienvogel';
    for (const [method, path] of routes.filter(([method]) => method === 'post')) {
      const route = dialect.find(method, path);
      assert.ok(route.ok);
      const { endpoint, named } = route.value;
      for (const text of ['', '{', '[]', `"${canary}"`, `{"${canary}":1}`, `{"a":1,"a":2}`]) {
        const request = endpoint.parse({ named, query: '', body: Buffer.from(text) });
        if (request.ok) assert.equal(text, '', `${path} took ${text}`);
        else assert.ok(!JSON.stringify(request.failure).includes(canary), path);
      }
    }
  });

  test(`${name}: every kind of failure has a status of 4xx or 5xx and a body of a few words`, () => {
    const facts = { hint: undefined, requestId: 'the-id', ts: '2026-01-01T00:00:00.000Z' };
    for (const code of Object.keys(failures) as FailureCode[]) {
      const { status, body } = dialect.presentFailure({ code, hint: 'try this' }, facts);
      assert.ok(status >= 400 && status < 600, code);
      assert.ok(JSON.stringify(body).length < 1_000, code);
    }
  });
}
