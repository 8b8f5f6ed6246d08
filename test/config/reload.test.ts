import assert from 'node:assert/strict';
import test from 'node:test';
import { fieldNames, fields } from '../../src/config/fields.ts';
import { type ConfigSources, type LoadedConfig, loadConfig } from '../../src/config/load.ts';
import { prepareAll, type Reloadable, type Reloaded, reloadedConfig } from '../../src/config/reload.ts';

const algorithmNames = ['ed25519', 'ml-dsa-65'];

interface Sources {
  readonly argv?: readonly string[];
  readonly env?: ConfigSources['env'];
  /** By path. */
  readonly files?: Readonly<Record<string, string>>;
}

function load({ argv = [], env = {}, files = {} }: Sources): LoadedConfig {
  return loadConfig({
    ...{ argv, env, cores: 4, algorithmNames },
    readFile: (path) => files[path] ?? assert.fail(`no ${path}`),
    listDirectory: (directory) =>
      Object.keys(files)
        .filter((path) => path.startsWith(`${directory}/`))
        .map((path) => path.slice(directory.length + 1)),
  });
}

function reload(before: Sources, after: Sources): Reloaded {
  const first = load(before);
  assert.ok(first.ok, first.ok ? '' : first.problems.join());
  return reloadedConfig(first.config, load(after), algorithmNames);
}

const json = (text: string): Sources => ({ argv: ['--config', 's.json'], files: { 's.json': text } });
const yaml = (text: string): Sources => ({ argv: ['--config', 's.yaml'], files: { 's.yaml': text } });
const env = (given: ConfigSources['env']): Sources => ({ env: given });

/** Settings of before and after, and the members that change with their values. */
const taken: readonly [
  string,
  Sources,
  Sources,
  readonly [member: string, before: string, after: string][],
][] = [
  ['nothing changed', json('{}'), json('{}'), []],
  ['the same value in another spelling', json('{"sign_rate_limit":7}'), json('{"sign_rate_limit":"7"}'), []],
  ['a rate', json('{}'), json('{"sign_rate_limit":7}'), [['sign_rate_limit', '500', '7']]],
  ['a rate that is taken away', json('{"sign_rate_limit":7}'), json('{}'), [['sign_rate_limit', '7', '500']]],
  [
    'a phase',
    json('{"pq_verify_mode":"and"}'),
    json('{"pq_verify_mode":"or"}'),
    [['pq_verify_mode', 'and', 'or']],
  ],
  [
    'a percentage of the phase',
    json('{"pq_verify_mode":"and"}'),
    json('{"pq_verify_mode":"and","pq_rollout_percent":10}'),
    [['pq_rollout_percent', '100', '10']],
  ],
  [
    'a phase of a tenant',
    json('{}'),
    json('{"pq_tenants":"a=and,b/c=off"}'),
    [['pq_tenants', '', 'a=and,b/c=off']],
  ],
  ['halves', json('{}'), json('{"pq_produce_hybrid":false}'), [['pq_produce_hybrid', 'true', 'false']]],
  [
    'a cut-over',
    json('{}'),
    json('{"pq_cutover":"2027-01-31T01:00:00+01:00"}'),
    [['pq_cutover', 'none', '2027-01-31T00:00:00.000Z']],
  ],
  ['a time of grace', json('{}'), json('{"pq_grace_days":7}'), [['pq_grace_days', '90', '7']]],
  [
    'the trust in what is known of keys whose backend is away',
    json('{}'),
    json('{"verify_cache_ttl_ms":60000,"verify_stale":"refuse"}'),
    [
      ['verify_cache_ttl_ms', '300000', '60000'],
      ['verify_stale', 'serve', 'refuse'],
    ],
  ],
  ['a rate of creates', json('{}'), json('{"create_rate_limit":7}'), [['create_rate_limit', '100', '7']]],
  [
    'a rate of destructions',
    json('{}'),
    json('{"destroy_rate_limit":7}'),
    [['destroy_rate_limit', '100', '7']],
  ],
  ['rates by scope', json('{}'), json('{"rate_limits":"sign=9/d"}'), [['rate_limits', '', 'sign=9/d']]],
  ['a limit of a key', json('{}'), json('{"key_uses_per_day":9}'), [['key_uses_per_day', '0', '9']]],
  [
    'a limit of what is made with a key',
    json('{}'),
    json('{"m33_key_uses_per_day":9}'),
    [['m33_key_uses_per_day', '10000', '9']],
  ],
  [
    'schedules of new keys',
    json('{}'),
    json('{"rotation":"ed25519=365,rsa-2048=90","rotation_grace_days":9}'),
    [
      ['rotation', 'off', 'ed25519=365,rsa-2048=90'],
      ['rotation_grace_days', '7', '9'],
    ],
  ],
  ['a limit of keys', json('{}'), json('{"keys_per_tenant":9}'), [['keys_per_tenant', '1000000', '9']]],
  ['a limit of a batch', json('{}'), json('{"batch_max_items":9}'), [['batch_max_items', '256', '9']]],
  [
    'a limit of refusals',
    json('{}'),
    json('{"refusals_per_address":9}'),
    [['refusals_per_address', '1000', '9']],
  ],
  [
    'a place in the queue',
    json('{}'),
    json('{"queue_per_tenant":300}'),
    [['queue_per_tenant', '512', '300']],
  ],
  ['all places', json('{}'), json('{"queue_total":9000}'), [['queue_total', '8192', '9000']]],
  ['the target of queues', json('{}'), json('{"queue_target_ms":9}'), [['queue_target_ms', '5', '9']]],
  ['shares', json('{}'), json('{"tenant_weights":"acme=4"}'), [['tenant_weights', '', 'acme=4']]],
  ['a deadline', json('{}'), json('{"default_deadline_ms":9}'), [['default_deadline_ms', '250', '9']]],
  [
    'two deadlines that fit only together',
    json('{}'),
    json('{"default_deadline_ms":2500,"sign_deadline_ms":3000}'),
    [
      ['sign_deadline_ms', '2000', '3000'],
      ['default_deadline_ms', '250', '2500'],
    ],
  ],
  [
    'the time of a stop',
    json('{}'),
    json('{"shutdown_timeout_ms":9000}'),
    [['shutdown_timeout_ms', '5000', '9000']],
  ],
  ['algorithms', json('{}'), json('{"allowed_algs":["ed25519"]}'), [['allowed_algs', 'all', 'ed25519']]],
  [
    'the durability of records',
    json('{}'),
    json('{"audit_durability":"synced"}'),
    [['audit_durability', 'written', 'synced']],
  ],
  ['the level of the log', json('{}'), json('{"log_level":"debug"}'), [['log_level', 'info', 'debug']]],
  [
    'what the log leaves out',
    json('{}'),
    json('{"redact_level":"names"}'),
    [['redact_level', 'hashes', 'names']],
  ],
  [
    'correlation ids',
    json('{}'),
    json('{"correlation_id_mode":"uuidv7"}'),
    [['correlation_id_mode', 'passthrough', 'uuidv7']],
  ],
  [
    'pages that may call, and the envelope of errors',
    json('{"m33":true}'),
    json('{"m33":true,"m33_detail_wrap":true,"cors_origins":["https://app.test"]}'),
    [
      ['m33_detail_wrap', 'false', 'true'],
      ['cors_origins', '', 'https://app.test'],
    ],
  ],
  ['names in metrics', json('{}'), json('{"metrics_names":"open"}'), [['metrics_names', 'admin', 'open']]],
  ['a YAML file', yaml('log_level: info\n'), yaml('log_level: warn\n'), [['log_level', 'info', 'warn']]],
  [
    'a value in a file of its own',
    { env: { KMS_SIGN_RATE_LIMIT_FILE: 'v' }, files: { v: '7\n' } },
    { env: { KMS_SIGN_RATE_LIMIT_FILE: 'v' }, files: { v: '8\n' } },
    [['sign_rate_limit', '7', '8']],
  ],
  [
    'a credential of systemd',
    { env: { CREDENTIALS_DIRECTORY: 'c' }, files: { 'c/kms.sign_rate_limit': '7' } },
    { env: { CREDENTIALS_DIRECTORY: 'c' }, files: { 'c/kms.sign_rate_limit': '8' } },
    [['sign_rate_limit', '7', '8']],
  ],
  [
    'a setting that a flag still covers',
    { ...json('{"sign_rate_limit":7}'), argv: ['--config=s.json', '--sign-rate-limit=9'] },
    { ...json('{"sign_rate_limit":8}'), argv: ['--config=s.json', '--sign-rate-limit=9'] },
    [],
  ],
  [
    'a setting that a variable still covers',
    { ...json('{"sign_rate_limit":7}'), env: { KMS_SIGN_RATE_LIMIT: '9' } },
    { ...json('{"sign_rate_limit":8}'), env: { KMS_SIGN_RATE_LIMIT: '9' } },
    [],
  ],
];

for (const [what, before, after, expected] of taken) {
  test(`reload: ${what} is taken`, () => {
    const reloaded = reload(before, after);
    assert.ok(reloaded.ok, reloaded.ok ? '' : reloaded.problems.join('\n'));
    assert.deepEqual(
      reloaded.changed.map(({ member, before: old, after: now }) => [member, old, now]),
      expected,
    );
    assert.deepEqual(reloaded.needRestart, []);
    const wanted = load(after);
    assert.ok(wanted.ok && Object.isFrozen(reloaded.config));
    assert.deepEqual(reloaded.config, wanted.config);
  });
}

/** Each setting whose change waits for the next start, in a form that fits with all others. */
const restarts: readonly [string, Sources, Sources, readonly string[]][] = [
  ['an address', env({}), env({ KMS_BIND: '127.0.0.1:1' }), ['KMS_BIND', 'KMS_LISTEN']],
  ['listeners', env({}), env({ KMS_LISTEN: 'unix:/run/k' }), ['KMS_LISTEN']],
  [
    'a listener with its certificate',
    env({}),
    env({ KMS_LISTEN: 'https://127.0.0.1:1', KMS_TLS_CERT_FILE: 'c', KMS_TLS_KEY_FILE: 'k' }),
    ['KMS_LISTEN', 'KMS_TLS_CERT_FILE', 'KMS_TLS_KEY_FILE'],
  ],
  [
    'a data directory',
    env({}),
    env({ KMS_DATA_DIR: '/d' }),
    ['KMS_DATA_DIR', 'KMS_ROOT_KEY_FILE', 'KMS_AUDIT_DIR'],
  ],
  ['an audit directory', env({}), env({ KMS_AUDIT_DIR: '/a' }), ['KMS_AUDIT_DIR']],
  [
    'a profile',
    env({ KMS_PQ_VERIFY_MODE: 'or' }),
    env({ KMS_PROFILE: 'micronode', KMS_PQ_VERIFY_MODE: 'or' }),
    ['KMS_PROFILE', 'KMS_BACKEND', 'KMS_AMNESIA', 'KMS_AUDIT'],
  ],
  ['workers', env({}), env({ KMS_WORKERS: '2' }), ['KMS_WORKERS']],
  ['the size of bodies', env({}), env({ KMS_MAX_PAYLOAD: '4096' }), ['KMS_MAX_PAYLOAD']],
  ['checkpoints', env({}), env({ KMS_AUDIT_CHECKPOINT_RECORDS: '9' }), ['KMS_AUDIT_CHECKPOINT_RECORDS']],
  ['the place of the policy', env({}), env({ KMS_POLICY_FILE: 'p' }), ['KMS_POLICY_FILE']],
  ['connections', env({}), env({ KMS_MAX_CONNECTIONS: '9' }), ['KMS_MAX_CONNECTIONS']],
  ['a name in metrics', env({}), env({ KMS_TELEMETRY_SERVICE: 'x' }), ['KMS_TELEMETRY_SERVICE']],
];

for (const [what, before, after, expected] of restarts) {
  test(`reload: ${what} takes a restart, which is told, and the rest is taken`, () => {
    const more = { KMS_SIGN_RATE_LIMIT: '7' };
    const reloaded = reload(before, { ...after, env: { ...after.env, ...more } });
    assert.ok(reloaded.ok, reloaded.ok ? '' : reloaded.problems.join('\n'));
    assert.deepEqual([...reloaded.needRestart].sort(), [...expected].sort());
    const first = load({ ...before, env: { ...before.env, ...more } });
    assert.ok(first.ok);
    assert.deepEqual(reloaded.config, first.config);
  });
}

const refused: readonly [string, Sources, Sources, RegExp][] = [
  [
    'a number out of range',
    json('{}'),
    json('{"sign_rate_limit":-1}'),
    /^sign_rate_limit in the file must be/,
  ],
  ['an unknown member', json('{}'), json('{"sign_rate":1}'), /^unknown member "sign_rate"/],
  ['a file that is half written', json('{}'), json('{"sign_rate_limit":'), /readable file that holds JSON$/],
  ['a file that is gone', json('{}'), { argv: ['--config', 's.json'] }, /must name a readable file/],
  ['an unknown algorithm', json('{}'), json('{"allowed_algs":"ed25518"}'), /unknown algorithm ed25518/],
  ['deadlines that contradict', json('{}'), json('{"default_deadline_ms":2001}'), /^KMS_DEFAULT_DEADLINE_MS/],
  ['a batch that no queue takes', json('{}'), json('{"queue_per_tenant":255}'), /^KMS_BATCH_MAX_ITEMS/],
  ['a tenant above all', json('{}'), json('{"queue_total":511}'), /^KMS_QUEUE_PER_TENANT/],
  ['a deadline beyond the stop', json('{}'), json('{"shutdown_timeout_ms":1999}'), /^KMS_SIGN_DEADLINE_MS/],
  [
    'a profile against a setting',
    json('{}'),
    json('{"profile":"micronode","backend":"lmdb"}'),
    /contradicts/,
  ],
  ['a percentage of no phase', json('{}'), json('{"pq_rollout_percent":1}'), /^KMS_PQ_ROLLOUT_PERCENT says/],
  [
    'halves where both are needed',
    json('{"pq_verify_mode":"and"}'),
    json('{"pq_verify_mode":"and","pq_produce_hybrid":false}'),
    /^KMS_PQ_PRODUCE_HYBRID=false/,
  ],
  ['a phase that is none', json('{}'), json('{"pq_tenants":"a=none"}'), /^pq_tenants in the file must be/],
  [
    'a purpose without its tenant',
    json('{}'),
    json('{"pq_tenants":"/a=or"}'),
    /^pq_tenants in the file must be/,
  ],
  ['a day that is not', json('{}'), json('{"pq_cutover":"2027-02-29T00:00:00Z"}'), /^pq_cutover in the file/],
  ['a profile of keys in a token, without one', json('{}'), json('{"profile":"macronode"}'), /needs a token/],
  [
    'what fits only with a setting that takes a restart',
    json('{}'),
    json('{"audit_durability":"witnessed","audit_witness_policy":"w"}'),
    /^KMS_AUDIT_DURABILITY=witnessed needs witnesses.* \(as long as nothing is restarted\)$/,
  ],
];

for (const [what, before, after, expected] of refused) {
  test(`reload: ${what} is refused, once and in words that help`, () => {
    const reloaded = reload(before, after);
    assert.ok(!reloaded.ok);
    assert.equal(reloaded.problems.length, 1, reloaded.problems.join('\n'));
    assert.match(reloaded.problems[0] ?? '', expected);
  });
}

test('every setting says when a change of it counts, and the table has each that a reload takes', () => {
  const tried = new Set(
    taken.flatMap(([, , , changes]) => changes.map(([member]) => `KMS_${member.toUpperCase()}`)),
  );
  const reloading = fieldNames.filter((name) => fields[name].change === 'reload');
  assert.deepEqual(
    reloading.map((name) => fields[name].variable).filter((variable) => !tried.has(variable)),
    [],
  );
  assert.ok(taken.length + restarts.length + refused.length > 50);
});

test('long values are told by their digest, so that a record of the log holds every difference', () => {
  const weights = Array.from({ length: 1_000 }, (_, n) => `tenant-${n}=2`).join();
  const reloaded = reload(json('{}'), json(JSON.stringify({ tenant_weights: weights })));
  assert.ok(reloaded.ok);
  assert.match(reloaded.changed[0]?.after ?? '', /^sha256:[0-9a-f]{32}$/);
});

test('where one part cannot take the settings, none does', () => {
  const loaded = load({});
  assert.ok(loaded.ok);
  const done: string[] = [];
  const part = (name: string): Reloadable => ({
    prepare: () => ({ commit: () => void done.push(name), contents: { [name]: 'x' } }),
  });
  const broken: Reloadable = { prepare: () => ({ problems: ['the third is broken'] }) };
  assert.deepEqual(prepareAll([part('one'), part('two'), broken], loaded.config), {
    problems: ['the third is broken'],
  });
  assert.deepEqual(done, []);
  const prepared = prepareAll([part('one'), part('two')], loaded.config);
  assert.ok('commit' in prepared);
  prepared.commit();
  assert.deepEqual([done, prepared.contents], [['one', 'two'], { one: 'x', two: 'x' }]);
});
