import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';

const directory = new URL('../../docs/vectors/', import.meta.url);

test('docs/vectors: SHA256SUMS names every file of vectors with its digest', () => {
  const sums = readFileSync(new URL('SHA256SUMS', directory), 'utf8');
  const files = readdirSync(directory).filter((name) => name.endsWith('.json'));
  const lines = files.sort().map((name) => {
    const digest = createHash('sha256').update(readFileSync(new URL(name, directory)));
    return `${digest.digest('hex')}  ${name}\n`;
  });
  assert.equal(sums, lines.join(''));
});
