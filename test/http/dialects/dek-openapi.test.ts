import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { Value } from '@sinclair/typebox/value';
import { dekDialect } from '../../../src/http/dialects/dek/index.ts';
import { descriptions } from '../../../src/http/dialects/dek/openapi.ts';
import { dekRoutes } from '../../../src/http/dialects/dek/routes.ts';
import { createDekOperations } from '../../../src/operations/deks/operations.ts';
import type { DekParts } from '../../../src/operations/deks/parts.ts';
import type { OperationParts } from '../../../src/operations/operation.ts';

const file = join(import.meta.dirname, '..', '..', '..', 'docs', 'dek-openapi.json');
// Nothing is asked of them here.
const dialect = dekDialect(
  createDekOperations({} as OperationParts, { keks: { tenant: 'dek' } } as unknown as DekParts),
);

test('docs/dek-openapi.json is what the schemas say (INTAGLIO_OPENAPI=write writes it)', () => {
  const text = `${JSON.stringify(dialect.openapi?.(), null, 2)}\n`;
  if (process.env.INTAGLIO_OPENAPI === 'write') writeFileSync(file, text);
  assert.equal(readFileSync(file, 'utf8'), text);
});

test('every described path is a route, and every example one that its schema takes', () => {
  const { paths } = JSON.parse(readFileSync(file, 'utf8')) as { paths: Record<string, object> };
  assert.deepEqual(Object.keys(paths).sort(), Object.keys(dekRoutes).sort());
  for (const [path, methods] of Object.entries(dekRoutes)) {
    assert.ok(dialect.owns(path));
    for (const method of Object.keys(methods)) assert.ok(dialect.find(method, path).ok, `${method} ${path}`);
    assert.ok(!dialect.find('put', path).ok);
    if ('get' in methods) assert.ok(dialect.find('head', path).ok);
  }
  for (const [name, { request, example }] of Object.entries(descriptions))
    if (request !== undefined) assert.ok(Value.Check(request, example), name);
});
