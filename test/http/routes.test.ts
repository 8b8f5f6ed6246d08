import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { findRoute } from '../../src/http/routes.ts';

const kid = 'acme/web/ed25519+ml-dsa-65/01234567-89ab-4def-8123-456789abcdef#v3';

test('a kid in a path arrives as it is, encoded or not, with and without an action', () => {
  for (const text of [encodeURIComponent(kid), kid.replace('#', '%23'), kid]) {
    const read = findRoute('get', `/v1/kms/keys/${text}`);
    assert.deepEqual(read.ok && { ...read.value }, { operation: 'read', kid });
    const rotate = findRoute('post', `/v1/kms/keys/${text}/rotate`);
    assert.deepEqual(rotate.ok && { ...rotate.value }, { operation: 'rotate', kid });
  }
});

test('every way to a private key is the one that refuses', () => {
  for (const action of ['export', 'private', 'secret', 'backup']) {
    const route = findRoute('get', `/v1/kms/keys/${encodeURIComponent(kid)}/${action}`);
    assert.equal(route.ok && route.value.operation, 'export');
  }
});

test('whatever comes finds a route or is refused, without a throw', () => {
  const piece = fc.oneof(
    fc.constantFrom('/v1', '/kms', '/keys', '/sign', '/batch', '/rotate', '/', '%', '%2f', '__proto__', '..'),
    fc.string(),
  );
  fc.assert(
    fc.property(
      fc.constantFrom('get', 'post', 'constructor', '__proto__', ''),
      fc.array(piece, { maxLength: 6 }),
      (method, pieces) => {
        const route = findRoute(method, pieces.join(''));
        if (route.ok) assert.ok(method === 'get' || method === 'post');
        else assert.ok(['NotFound', 'BadRequest', 'MethodNotAllowed'].includes(route.failure.code));
      },
    ),
    { numRuns: 2_000 },
  );
});
