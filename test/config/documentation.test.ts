import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { type FieldName, fieldNames, fields, flagOf, memberOf } from '../../src/config/fields.ts';
import { profiles } from '../../src/config/profiles.ts';

const path = join(import.meta.dirname, '..', '..', 'docs', 'configuration.md');
const documentation = readFileSync(path, 'utf8');

const takesEffect = {
  reload: 'A change takes effect at a reload (SIGHUP) or the next start.',
  restart: 'A change takes effect at the next start.',
} as const;

function section(name: FieldName): string {
  const { variable, kind, standardText, meaning, change } = fields[name];
  return `### ${variable}

Flag \`${flagOf(name)}\`, file member \`${memberOf(name)}\`. Accepts ${kind.accepts}. Default: \`${standardText}\`. ${takesEffect[change]}

${meaning}
`;
}

test('docs/configuration.md says of every setting exactly what its declaration says', () => {
  const marker = '<!-- One section for each entry of src/config/fields.ts; a test compares them. -->\n\n';
  const [before, reference] = documentation.split(marker);
  // Written anew with INTAGLIO_CONFIGURATION=write.
  if (process.env.INTAGLIO_CONFIGURATION === 'write') {
    writeFileSync(path, `${before}${marker}${fieldNames.map(section).join('\n')}`);
    return;
  }
  assert.equal(reference, fieldNames.map(section).join('\n'));
});

test('docs/configuration.md says of every profile what its declaration says', () => {
  for (const [profile, { meaning, settings }] of Object.entries(profiles)) {
    const set = Object.entries(settings).map(([member, text]) => `\`${member}\` ${text}`);
    const row = `| \`${profile}\` | ${meaning} | ${set.join(', ')} |`;
    assert.ok(documentation.includes(row), row);
  }
});

test('no two settings share a variable', () => {
  assert.equal(new Set(fieldNames.map((name) => fields[name].variable)).size, fieldNames.length);
});

test('every default is one that its own setting accepts', () => {
  for (const name of fieldNames) {
    for (const amnesia of [true, false]) {
      const { kind, standard } = fields[name];
      const bind = { host: '127.0.0.1', port: 7441 };
      const backend = amnesia ? 'memory' : 'lmdb';
      const value = standard({ cores: 2, dataDir: './data', amnesia, backend, bind });
      const text = (kind.format as (given: unknown) => string)(value);
      assert.deepEqual(kind.parse(text), value);
    }
  }
});
