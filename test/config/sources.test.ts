import assert from 'node:assert/strict';
import test from 'node:test';
import { type ConfigSources, type LoadedConfig, loadConfig, type Origin } from '../../src/config/load.ts';
import { profiles } from '../../src/config/profiles.ts';
import type { Renamed } from '../../src/config/renamed.ts';

interface Case {
  readonly argv?: readonly string[];
  readonly env?: ConfigSources['env'];
  /** By path. */
  readonly files?: Readonly<Record<string, string>>;
  readonly renamed?: readonly Renamed[];
}

const retired: readonly Renamed[] = [{ variable: 'KMS_THREADS', name: 'workers', until: '0.3' }];

function load({ argv = [], env = {}, files = {}, renamed }: Case): LoadedConfig {
  return loadConfig({
    ...{ argv, env, cores: 4, algorithmNames: ['ed25519', 'ml-dsa-65'] },
    readFile: (path) => {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
      return text;
    },
    listDirectory: (directory) =>
      Object.keys(files)
        .filter((path) => path.startsWith(`${directory}/`))
        .map((path) => path.slice(directory.length + 1)),
    ...(renamed === undefined ? undefined : { renamed }),
  });
}

const yaml = (text: string): Case => ({ argv: ['--config', 's.yaml'], files: { 's.yaml': text } });
const json = (text: string): Case => ({ argv: ['--config', 's.json'], files: { 's.json': text } });
const credential = (name: string, text: string, env: ConfigSources['env'] = {}): Case => ({
  env: { CREDENTIALS_DIRECTORY: '/run/c', ...env },
  files: { [`/run/c/${name}`]: text },
});
const valueFile = (variable: string, text: string | undefined, env: ConfigSources['env'] = {}): Case => ({
  env: { [variable]: '/etc/v', ...env },
  files: text === undefined ? {} : { '/etc/v': text },
});

/** A table: what is given, and the setting that it comes to with its origin. */
const taken: readonly [
  string,
  Case,
  'workers' | 'amnesia' | 'bind' | 'allowedAlgs' | 'logLevel' | 'backend' | 'audit' | 'policyUrl',
  unknown,
  Origin,
][] = [
  ['a default', {}, 'workers', 3, 'default'],
  ['a flag with a blank', { argv: ['--workers', '7'] }, 'workers', 7, 'flag'],
  ['a flag with an equals sign', { argv: ['--workers=7'] }, 'workers', 7, 'flag'],
  ['a flag alone', { argv: ['--amnesia'] }, 'amnesia', true, 'flag'],
  ['a variable', { env: { KMS_WORKERS: '7' } }, 'workers', 7, 'environment'],
  ['a variable with the long prefix', { env: { RON_KMS_WORKERS: '7' } }, 'workers', 7, 'environment'],
  ['a JSON number', json('{"workers":7}'), 'workers', 7, 'file'],
  ['a JSON text', json('{"workers":"7"}'), 'workers', 7, 'file'],
  ['a YAML number', yaml('workers: 7\n'), 'workers', 7, 'file'],
  ['a YAML text', yaml('workers: "7"\n'), 'workers', 7, 'file'],
  ['a YAML boolean', yaml('amnesia: true\n'), 'amnesia', true, 'file'],
  [
    'a YAML list',
    yaml('allowed_algs:\n  - ed25519\n  - ml-dsa-65\n'),
    'allowedAlgs',
    ['ed25519', 'ml-dsa-65'],
    'file',
  ],
  ['YAML with comments', yaml('# ours\nworkers: 7 # all but one\n'), 'workers', 7, 'file'],
  ['YAML in the flow style', yaml('{workers: 7, log_level: warn}'), 'logLevel', 'warn', 'file'],
  ['JSON in a YAML file', yaml('{"workers": 7}'), 'workers', 7, 'file'],
  ['a .yml file', { argv: ['--config=s.yml'], files: { 's.yml': 'workers: 7' } }, 'workers', 7, 'file'],
  [
    'a file that a variable names',
    { env: { KMS_CONFIG: 's.yaml' }, files: { 's.yaml': 'workers: 7' } },
    'workers',
    7,
    'file',
  ],
  ['an IPv6 address in YAML', yaml('bind: "[::1]:0"'), 'bind', { host: '::1', port: 0 }, 'file'],
  [
    'an address in YAML is no number to the base of 60',
    yaml('bind: 127.0.0.1:7441'),
    'bind',
    { host: '127.0.0.1', port: 7441 },
    'file',
  ],
  ['a value in a file of its own', valueFile('KMS_WORKERS_FILE', '7'), 'workers', 7, 'environment'],
  ['… that ends with a line feed', valueFile('KMS_WORKERS_FILE', '7\n'), 'workers', 7, 'environment'],
  ['… of Windows', valueFile('KMS_WORKERS_FILE', '7\r\n'), 'workers', 7, 'environment'],
  ['… with the long prefix', valueFile('RON_KMS_WORKERS_FILE', '7'), 'workers', 7, 'environment'],
  [
    '… and the same value beside it',
    valueFile('KMS_WORKERS_FILE', '7', { KMS_WORKERS: '7' }),
    'workers',
    7,
    'environment',
  ],
  ['a credential', credential('kms.workers', '7\n'), 'workers', 7, 'credential'],
  ['a credential that is none of ours', credential('root.key', 'x'), 'workers', 3, 'default'],
  ['credentials of others that begin alike', credential('kmsd', 'x'), 'workers', 3, 'default'],
  [
    'a variable over a credential',
    credential('kms.workers', '7', { KMS_WORKERS: '5' }),
    'workers',
    5,
    'environment',
  ],
  [
    'a credential over a file',
    {
      ...credential('kms.workers', '7', { KMS_CONFIG: 's.json' }),
      files: { '/run/c/kms.workers': '7', 's.json': '{"workers":5}' },
    },
    'workers',
    7,
    'credential',
  ],
  [
    'a flag over all',
    {
      argv: ['--workers=9'],
      env: { KMS_WORKERS: '5', KMS_CONFIG: 's.json' },
      files: { 's.json': '{"workers":6}' },
    },
    'workers',
    9,
    'flag',
  ],
  ['a profile', { argv: ['--profile', 'micronode'] }, 'amnesia', true, 'profile'],
  ['a profile by variable', { env: { KMS_PROFILE: 'micronode' } }, 'backend', 'memory', 'profile'],
  ['a profile in a file', yaml('profile: micronode'), 'audit', 'off', 'profile'],
  [
    'what a profile says, said again',
    { argv: ['--profile=micronode', '--amnesia'] },
    'amnesia',
    true,
    'flag',
  ],
  [
    '… in another spelling',
    { argv: ['--profile=micronode'], env: { KMS_AMNESIA: '1' } },
    'amnesia',
    true,
    'environment',
  ],
  ['what a profile says nothing of', { argv: ['--profile=micronode', '--workers=2'] }, 'workers', 2, 'flag'],
  ['no profile', { env: { KMS_PROFILE: 'none' } }, 'amnesia', false, 'default'],
  ['an old variable', { env: { KMS_THREADS: '7' }, renamed: retired }, 'workers', 7, 'environment'],
  ['an old flag', { argv: ['--threads', '7'], renamed: retired }, 'workers', 7, 'flag'],
  ['an old member', { ...yaml('threads: 7'), renamed: retired }, 'workers', 7, 'file'],
  [
    'the name of a setting that ends like a file’s',
    { env: { KMS_POLICY_URL_FILE: '/etc/u' }, files: { '/etc/u': 'http://127.0.0.1:8181/v1/data/kms\n' } },
    'policyUrl',
    'http://127.0.0.1:8181/v1/data/kms',
    'environment',
  ],
];

for (const [what, given, name, value, origin] of taken) {
  test(`settings: ${what} is taken`, () => {
    const loaded = load(given);
    assert.ok(loaded.ok, loaded.ok ? '' : loaded.problems.join('\n'));
    assert.deepEqual([loaded.config[name], loaded.origins[name]], [value, origin]);
    assert.equal(loaded.warnings.length, given.renamed === undefined ? 0 : 1);
  });
}

/** A table: what is given, and the one refusal that it has. */
const refused: readonly [string, Case, RegExp][] = [
  ['YAML that is none', yaml('workers: [7'), /^--config must name a readable file that holds YAML$/],
  ['YAML with a list', yaml('- workers'), /one YAML mapping/],
  ['an empty YAML file', yaml(''), /one YAML mapping/],
  ['a YAML text', yaml('workers'), /one YAML mapping/],
  ['two YAML documents', yaml('workers: 7\n---\nworkers: 8\n'), /holds YAML$/],
  ['a YAML member given twice', yaml('workers: 7\nworkers: 8\n'), /holds YAML$/],
  ['a YAML alias', yaml('workers: &w 7\nqueue_total: *w\n'), /holds YAML$/],
  ['a tag of somebody’s', yaml('workers: !count 7\n'), /holds YAML$/],
  ['a merge key', yaml('<<: {workers: 7}\n'), /^unknown member "<<" in the file/],
  ['a member from the prototype', yaml('__proto__: {workers: 7}\n'), /^unknown member "__proto__"/],
  [
    'an unknown YAML member',
    yaml('wokers: 7'),
    /^unknown member "wokers" in the file; did you mean workers\?$/,
  ],
  [
    'a YAML number out of range',
    yaml('workers: 0'),
    /^workers in the file must be a whole number from 1 to 256$/,
  ],
  ['a word of YAML 1.1', yaml('amnesia: yes'), /^amnesia in the file must be true or false$/],
  ['nothing for a value', yaml('workers:'), /^workers in the file must be/],
  ['a huge YAML file', yaml(`workers: 7 # ${'x'.repeat(70_000)}`), /at most 65536/],
  ['a YAML file that is not there', { argv: ['--config=other.yaml'] }, /^--config must name a readable file/],
  [
    'a value’s file that is not there',
    valueFile('KMS_WORKERS_FILE', undefined),
    /^KMS_WORKERS_FILE must name a readable file/,
  ],
  [
    'a value’s file with a wrong value',
    valueFile('KMS_WORKERS_FILE', 'many'),
    /^KMS_WORKERS_FILE must be a whole number/,
  ],
  ['a value’s file with blanks', valueFile('KMS_WORKERS_FILE', ' 7'), /^KMS_WORKERS_FILE must be/],
  [
    'a value’s file that is huge',
    valueFile('KMS_WORKERS_FILE', '7'.repeat(70_000)),
    /^KMS_WORKERS_FILE must name/,
  ],
  [
    'a value and a file with another',
    valueFile('KMS_WORKERS_FILE', '7', { KMS_WORKERS: '8' }),
    /^KMS_WORKERS(_FILE)? and KMS_WORKERS(_FILE)? are both set, and differ$/,
  ],
  [
    'a file for a setting that is not',
    valueFile('KMS_WOKERS_FILE', '7'),
    /^unknown variable KMS_WOKERS_FILE/,
  ],
  [
    'an unknown credential',
    credential('kms.wokers', '7'),
    /^unknown credential kms\.wokers; did you mean kms\.workers\?$/,
  ],
  [
    'a wrong value in a credential',
    credential('kms.workers', '0'),
    /^the credential kms\.workers must be a whole number/,
  ],
  [
    'an unknown profile',
    { argv: ['--profile', 'mikronode'] },
    /^--profile must be one of none, micronode, macronode; did you mean micronode\?$/,
  ],
  [
    'a profile of keys in a token, without one',
    { argv: ['--profile', 'macronode'] },
    /^KMS_PROFILE=macronode needs a token: KMS_PKCS11_MODULE/,
  ],
  [
    'a flag against the profile',
    { argv: ['--profile=micronode', '--amnesia=false'] },
    /^--amnesia contradicts the profile micronode, which has amnesia true$/,
  ],
  [
    'a variable against the profile',
    { env: { KMS_PROFILE: 'micronode', KMS_BACKEND: 'lmdb' } },
    /^KMS_BACKEND contradicts the profile micronode, which has backend memory$/,
  ],
  [
    'a member against its own profile',
    yaml('profile: micronode\naudit: "on"\n'),
    /^audit in the file contradicts the profile micronode/,
  ],
  [
    'an old name beside the new one',
    { ...yaml('threads: 7\nworkers: 7\n'), renamed: retired },
    /^workers is in the file twice, under its old name and its new one$/,
  ],
  [
    'an old variable beside the new one, with another value',
    { env: { KMS_THREADS: '7', KMS_WORKERS: '8' }, renamed: retired },
    /^KMS_THREADS and KMS_WORKERS are both set, and differ$/,
  ],
  [
    'an old flag beside the new one',
    { argv: ['--threads=7', '--workers=7'], renamed: retired },
    /^--workers is given twice$/,
  ],
  [
    'an old name whose time is over',
    { env: { KMS_THREADS: '7' }, renamed: [] },
    /^unknown variable KMS_THREADS/,
  ],
  ['a level that is near another', { env: { KMS_LOG_LEVEL: 'eror' } }, /; did you mean error\?$/],
  [
    'a span without a unit',
    { env: { KMS_AUDIT_RETENTION: '7' } },
    /^KMS_AUDIT_RETENTION must be none, or days or years/,
  ],
  ['a span of more than a century', { env: { KMS_AUDIT_RETENTION: '101y' } }, /^KMS_AUDIT_RETENTION must be/],
  ['a span of no days', { env: { KMS_AUDIT_RETENTION: '0d' } }, /^KMS_AUDIT_RETENTION must be/],
];

for (const [what, given, expected] of refused) {
  test(`settings: ${what} is refused, once and in words that help`, () => {
    const loaded = load(given);
    assert.ok(!loaded.ok);
    assert.equal(loaded.problems.length, 1, loaded.problems.join('\n'));
    assert.match(loaded.problems[0] ?? '', expected);
  });
}

test('there are more than sixty cases of both kinds', () => {
  assert.ok(taken.length + refused.length > 60, `${taken.length + refused.length}`);
});

test('an old name is taken with a warning that names the new one and the end', () => {
  const loaded = load({ env: { KMS_THREADS: '7' }, renamed: retired });
  assert.ok(loaded.ok);
  assert.deepEqual(loaded.warnings, [
    'KMS_THREADS is now called KMS_WORKERS; the old name is taken until 0.3 (config migrate rewrites files)',
  ]);
});

test('a span is in days, and a year has no day too few', () => {
  const daysOf = (text: string) => {
    const loaded = load({ env: { KMS_AUDIT_RETENTION: text } });
    assert.ok(loaded.ok);
    return loaded.config.auditRetention.days;
  };
  assert.deepEqual(['none', '1d', '2557d', '7y', '100y'].map(daysOf), [0, 1, 2_557, 2_562, 36_600]);
});

test('no refusal repeats what a file of a value or a credential holds', () => {
  const secret = 'hunter2-hunter2';
  for (const given of [
    valueFile('KMS_WORKERS_FILE', secret),
    valueFile('KMS_ENGINE_FILE', secret),
    credential('kms.engine', secret),
    yaml(`engine: ${secret}`),
    yaml(`${'a: ['}${secret}`),
  ]) {
    const loaded = load(given);
    assert.ok(!loaded.ok);
    assert.equal(loaded.problems.join().includes(secret), false);
  }
});

test('every profile fits together, with what it needs', () => {
  const token = ['--pkcs11-module=/m.so', '--pkcs11-token=t', '--pkcs11-pin-file=/pin'];
  for (const name of Object.keys(profiles)) {
    const loaded = load({ argv: ['--profile', name, ...(name === 'macronode' ? token : [])] });
    assert.ok(loaded.ok, loaded.ok ? '' : loaded.problems.join());
  }
});

test('variables of commands that ask a service are none of the service', () => {
  const env = { KMS_URL: 'http://127.0.0.1:7441', KMS_TOKEN_FILE: '/run/token' };
  const loaded = loadConfig({ argv: [], env, readFile: () => '', cores: 1, algorithmNames: ['ed25519'] });
  assert.ok(loaded.ok, loaded.ok ? '' : loaded.problems.join());
});
