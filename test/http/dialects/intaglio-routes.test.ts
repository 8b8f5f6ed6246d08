import assert from 'node:assert/strict';
import test from 'node:test';
import description from '../../../docs/openapi.json' with { type: 'json' };
import { findRoute } from '../../../src/http/dialects/intaglio/routes.ts';
import type { OperationName } from '../../../src/operations/operations.ts';

const kid = 'acme/web/ed25519+ml-dsa-65/01234567-89ab-4def-8123-456789abcdef#v3';

/** In the place of each endpoint its name. */
const names = new Proxy({} as Record<OperationName, string>, { get: (_, name) => name });
const find = (method: string, path: string) => findRoute(names, method, path);

test('a kid in a path arrives as it is, encoded or not, with and without an action', () => {
  for (const text of [encodeURIComponent(kid), kid.replace('#', '%23'), kid]) {
    const read = find('get', `/v1/kms/keys/${text}`);
    assert.deepEqual(read.ok && { ...read.value }, {
      endpoint: 'read',
      named: kid,
      template: '/v1/kms/keys/{kid}',
    });
    const rotate = find('post', `/v1/kms/keys/${text}/rotate`);
    assert.deepEqual(rotate.ok && { ...rotate.value }, {
      endpoint: 'rotate',
      named: kid,
      template: '/v1/kms/keys/{kid}/rotate',
    });
  }
});

test('every way to a private key is the one that refuses', () => {
  for (const action of ['export', 'private', 'secret', 'backup']) {
    const route = find('get', `/v1/kms/keys/${encodeURIComponent(kid)}/${action}`);
    assert.equal(route.ok && route.value.endpoint, 'export');
  }
});

test('a template names what differs in a path, as the description does, and nothing of the request', () => {
  for (const [path, template] of [
    ['/v1/kms/sign', '/v1/kms/sign'],
    [`/v1/kms/audit/tile/0/000`, '/v1/kms/audit/tile/{file}'],
    ['/v1/kms/audit/keys/x', '/v1/kms/audit/keys/{file}'],
    ['/v1/kms/keys/a/private', '/v1/kms/keys/{kid}/private'],
  ] as const) {
    const method = path.endsWith('sign') ? 'post' : 'get';
    const route = find(method, path);
    assert.equal(route.ok && route.value.template, template);
    assert.ok(Object.hasOwn(description.paths, template), template);
  }
});
