import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fields } from '../../src/config/fields.ts';
import { otherNames } from '../../src/config/m33/other-names.ts';
import { approvableOperations } from '../../src/core/approvals.ts';
import { manifest as ofPackage } from '../../src/core/own-package.ts';
import { environments, planes } from '../../src/core/scope.ts';
import { publishedTypes } from '../../src/events/published-events.ts';
import { errorCodes } from '../../src/http/dialects/kms-v1/answers.ts';
import { presentConfig } from '../../src/http/dialects/kms-v1/config.ts';
import { describedCalls } from '../../src/http/dialects/kms-v1/described.ts';
import { kmsV1Dialect } from '../../src/http/dialects/kms-v1/index.ts';
import { describedPaths } from '../../src/http/dialects/kms-v1/openapi.ts';
import { probes } from '../../src/http/dialects/kms-v1/routes.ts';
import { kmsV1Parts, noOperations } from '../support/kms-v1-dialect.ts';

const file = join(import.meta.dirname, '..', '..', 'deploy', 'kms-v1-manifest.json');
const manifest = JSON.parse(readFileSync(file, 'utf8'));

/** What the code says of the same. */
const actual = {
  version: ofPackage.version,
  endpoints: describedPaths().map(({ path, method, name }) => ({
    ...{ operation: name, method: method.toUpperCase(), path },
    dual_authorization: describedCalls[name].approval === true,
  })),
  events: publishedTypes,
  error_codes: errorCodes,
  dual_authorization_required_operations: presentConfig(kmsV1Parts()).dual_authorization_required_operations,
  configuration: Object.entries(otherNames).map(([name, field]) => ({
    name,
    setting: fields[field].variable,
  })),
};

test('the manifest of the module says what the routes, events and codes are (INTAGLIO_MANIFEST=write writes it)', () => {
  if (process.env.INTAGLIO_MANIFEST === 'write') {
    const tenancy = { ...manifest.tenancy, environments, planes };
    writeFileSync(file, `${JSON.stringify({ ...manifest, ...actual, tenancy }, null, 2)}\n`);
    return;
  }
  for (const [member, value] of Object.entries(actual)) assert.deepEqual(manifest[member], value, member);
  assert.deepEqual([manifest.tenancy.environments, manifest.tenancy.planes], [environments, planes]);
});

test('every endpoint of the manifest is a route, and its probes are answered without a caller', async () => {
  const dialect = kmsV1Dialect(noOperations, kmsV1Parts());
  for (const { method, path } of manifest.endpoints) {
    const found = dialect.find(method.toLowerCase(), path.replace(/\{\w+\}/, 'x'));
    assert.ok(found.ok, `${method} ${path}`);
  }
  for (const path of Object.values<string>(manifest.health)) {
    assert.ok(path in probes, path);
    const answer = await dialect.own?.({ method: 'get', path, query: '', headers: {} as never });
    assert.equal(answer?.status, 200);
  }
  assert.ok(
    Object.keys(approvableOperations).length > manifest.dual_authorization_required_operations.length,
  );
});

test('the loads of the manifest are those that the module promises', () => {
  const { sign, verify, key_generation: generation } = manifest.performance;
  assert.deepEqual(
    [generation.p95_ms, generation.rps, sign.p95_ms, sign.rps, verify.p95_ms, verify.rps],
    [500, 100, 50, 1_000, 20, 2_000],
  );
});
