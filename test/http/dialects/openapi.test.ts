import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import type { TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { createCancellation } from '../../../src/core/cancellation.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { describedOperations } from '../../../src/http/dialects/intaglio/described.ts';
import { intaglioDialect } from '../../../src/http/dialects/intaglio/index.ts';
import { describedRoutes } from '../../../src/http/dialects/intaglio/openapi.ts';
import { describedCalls } from '../../../src/http/dialects/kms-v1/described.ts';
import { describedPaths, describeKmsV1 } from '../../../src/http/dialects/kms-v1/openapi.ts';
import type { Exchange, Response } from '../../../src/http/exchange.ts';
import { HttpServer, type ServerParts } from '../../../src/http/server.ts';
import { openOperations } from '../../support/operations.ts';
import { apiPage } from './api-page.ts';

const docs = join(import.meta.dirname, '..', '..', '..', 'docs');
/** As the service has it by default. */
const batchMaxItems = 256;

function published(t: TestContext): string {
  const { operations } = openOperations(t);
  return `${JSON.stringify(intaglioDialect(operations, { batchMaxItems }).openapi?.(), null, 2)}\n`;
}

test('docs/openapi.json and docs/api.md are what the schemas say (INTAGLIO_OPENAPI=write writes them)', (t) => {
  const json = published(t);
  const page = apiPage(JSON.parse(json));
  if (process.env.INTAGLIO_OPENAPI === 'write') {
    writeFileSync(join(docs, 'openapi.json'), json);
    writeFileSync(join(docs, 'api.md'), page);
  }
  assert.equal(readFileSync(join(docs, 'openapi.json'), 'utf8'), json);
  assert.equal(readFileSync(join(docs, 'api.md'), 'utf8'), page);
});

test('docs/kms-v1.openapi.json is what the schemas of that surface say (INTAGLIO_OPENAPI=write writes it)', () => {
  const json = `${JSON.stringify(describeKmsV1(), null, 2)}\n`;
  const file = join(docs, 'kms-v1.openapi.json');
  if (process.env.INTAGLIO_OPENAPI === 'write') writeFileSync(file, json);
  assert.equal(readFileSync(file, 'utf8'), json);
});

test('every call of /kms/v1 is described once, and its example is a request that its schema takes', () => {
  const ids = describedPaths().map(({ name }) => name);
  assert.deepEqual(ids.toSorted(), Object.keys(describedCalls).toSorted());
  assert.equal(new Set(ids).size, ids.length);
  for (const [name, { request, example }] of Object.entries(describedCalls)) {
    if (request === undefined) continue;
    assert.ok(example !== undefined, name);
    assert.ok(Value.Check(request, example), `${name}: ${Value.Errors(request, example).First()?.path}`);
  }
});

test('every path of the description is a route, and each operation has a name of its own', (t) => {
  const { operations } = openOperations(t);
  const dialect = intaglioDialect(operations, { batchMaxItems });
  const described = JSON.parse(published(t));
  const ids: string[] = [];
  for (const { path, method, operation } of describedRoutes()) {
    const asked = path.replace('{kid}', 'acme/p/ed25519/x').replace('{file}', '0/000');
    const route = dialect.find(method, asked);
    assert.ok(route.ok, `${method} ${path}`);
    assert.equal(route.value.endpoint.operation, operations[operation], path);
    ids.push(described.paths[path][method].operationId);
    const { security } = described.paths[path][method];
    assert.equal(security.length, operation === 'token_exchange' ? 0 : 1, path);
  }
  assert.equal(new Set(ids).size, ids.length);
});

test('every example is a request that its own schema takes', () => {
  for (const [operation, { request, example }] of Object.entries(describedOperations(batchMaxItems))) {
    if (request === undefined) continue;
    assert.ok(example !== undefined, operation);
    assert.ok(Value.Check(request, example), `${operation}: ${Value.Errors(request, example).First()?.path}`);
  }
});

interface Golden {
  readonly name: string;
  readonly request: string;
  readonly status: number;
  readonly body: unknown;
}

test('the golden answers fit the schemas of answers', () => {
  const golden: Golden[] = JSON.parse(readFileSync(join(docs, '..', 'test/golden/answers.json'), 'utf8'));
  const described = describedOperations(batchMaxItems);
  const seen = new Set<string>();
  for (const { name, request, status, body } of golden) {
    const [method = '', target = ''] = request.split(' ');
    const path = (target.split('?')[0] ?? '').replace(/\/keys\/\{[^/]+\}/, '/keys/{kid}');
    const route = describedRoutes().find((one) => one.path === path && one.method === method.toLowerCase());
    const answer: TSchema | undefined = route && described[route.operation].answer;
    if (route === undefined || answer === undefined || status >= 300 || typeof body !== 'object') continue;
    // The golden form of a time for a retry is a word.
    const told: unknown = JSON.parse(JSON.stringify(body).replaceAll('"<ms>"', '1'));
    const error = Value.Errors(answer, told).First();
    assert.equal(error, undefined, `${name}: ${error?.path} ${error?.message}`);
    seen.add(route.operation);
  }
  for (const operation of [
    'create',
    'list',
    'read',
    'sign',
    'sign_batch',
    'verify',
    'rotate',
    'destroy',
    'mac',
  ])
    assert.ok(seen.has(operation), operation);
});

test('the first dialect is described at /openapi.json, without a capability; one without a description has none', async (t) => {
  const { operations } = openOperations(t);
  const dialect = intaglioDialect(operations, { batchMaxItems });
  const ask = (dialects: ServerParts['dialects']) =>
    new Promise<Response>((resolve) => {
      const server = new HttpServer({
        ...({ dialects, refusals: { take: () => 0 }, clock: systemClock } as unknown as ServerParts),
        onRefused: () => undefined,
      });
      const exchange = { method: 'get', path: '/openapi.json', query: '', headers: {}, respond: resolve };
      server.onExchange({ ...exchange, cancellation: createCancellation() } as unknown as Exchange);
    });
  const answer = await ask([dialect]);
  assert.equal(answer.status, 200);
  assert.deepEqual(JSON.parse(Buffer.from(answer.body).toString()), JSON.parse(published(t)));
  const { openapi: _, ...plain } = dialect;
  assert.equal((await ask([plain])).status, 404);
});
