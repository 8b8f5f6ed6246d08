import assert from 'node:assert/strict';
import test from 'node:test';
import { migrateSettings } from '../../src/config/migrate.ts';
import type { Renamed } from '../../src/config/renamed.ts';

const renamed: readonly Renamed[] = [
  { variable: 'KMS_THREADS', name: 'workers', until: '0.3' },
  { variable: 'KMS_VERBOSITY', name: 'logLevel', until: '0.3' },
];

function migrated(path: string, text: string) {
  const result = migrateSettings(path, text, renamed);
  assert.ok(!('problem' in result), 'problem' in result ? result.problem : '');
  return result;
}

test('a YAML file keeps its comments, its order and its values', () => {
  const text = '# ours\nthreads: 7 # all but one\n\nbind: "[::1]:0"\nverbosity: warn\n';
  assert.deepEqual(migrated('s.yaml', text), {
    text: '# ours\nworkers: 7 # all but one\n\nbind: "[::1]:0"\nlog_level: warn\n',
    renames: [
      ['threads', 'workers'],
      ['verbosity', 'log_level'],
    ],
  });
});

test('a JSON file keeps its order and its values', () => {
  const { text } = migrated('s.json', '{"bind":"x:1","threads":7,"amnesia":true}');
  assert.equal(text, '{\n  "bind": "x:1",\n  "workers": 7,\n  "amnesia": true\n}\n');
});

test('a file that needs nothing stays as it is, to the byte', () => {
  for (const [path, text] of [
    ['s.json', '{ "workers" : 7 }'],
    ['s.yaml', 'workers:    7\n\n\n'],
  ] as const) {
    assert.deepEqual(migrated(path, text), { text, renames: [] });
  }
});

test('old and new name at once, and what is no settings file, are refused', () => {
  for (const [path, text, why] of [
    ['s.yaml', 'threads: 7\nworkers: 8\n', /has threads and workers, which are one setting/],
    ['s.json', '[]', /one JSON object/],
    ['s.yaml', 'a: &a 1\nb: *a\n', /holds YAML/],
  ] as const) {
    const result = migrateSettings(path, text, renamed);
    assert.match('problem' in result ? result.problem : '', why);
  }
});
