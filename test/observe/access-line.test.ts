import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { accessFields, accessLine } from '../../src/observe/access-line.ts';

test('a line has what is known, in the order of the table, with times of three digits', () => {
  const line = accessLine({ result: 'ok', status: 200, kids: ['a'], durationMs: 1.23456, tenant: undefined });
  assert.deepEqual(Object.entries(line), [
    ['status', 200],
    ['result', 'ok'],
    ['kid', 'a'],
    ['duration_ms', 1.235],
  ]);
  assert.deepEqual(accessLine({ result: 'ok', kids: ['a', 'b'] }).kid, ['a', 'b']);
});

test('the page on telemetry lists the fields that there are, and no others', () => {
  const page = readFileSync(new URL('../../docs/telemetry.md', import.meta.url), 'utf8');
  const table = page.slice(page.indexOf('| field |'), page.indexOf('A field that is not known'));
  const listed = table
    .split('\n')
    .slice(2)
    .flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`(\w+)`/g)].map(([, field]) => field));
  assert.deepEqual(listed.sort(), Object.values<string>(accessFields).sort());
});
