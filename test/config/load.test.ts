import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type Config, fieldNames, fields, flagOf, memberOf } from '../../src/config/fields.ts';
import { certificateMappings } from '../../src/config/identity/kinds.ts';
import type { Kind } from '../../src/config/kinds.ts';
import { type ConfigSources, loadConfig } from '../../src/config/load.ts';

type Given = Partial<Omit<ConfigSources, 'readFile'>> & { readonly file?: string };

/** Nothing of the process that runs the tests comes in: its environment may well hold KMS_ENGINE. */
function load({ file, ...given }: Given) {
  return loadConfig({
    argv: [],
    env: {},
    cores: 4,
    algorithmNames: ['ed25519', 'ml-dsa-65', 'ml-dsa'],
    readFile: (path) => {
      if (file === undefined || path !== 'settings.json') throw new Error('ENOENT');
      return file;
    },
    ...given,
  });
}

function config(given: Given): Config {
  const loaded = load(given);
  assert.ok(loaded.ok, loaded.ok ? '' : loaded.problems.join('\n'));
  return loaded.config;
}

function problems(given: Given): readonly string[] {
  const loaded = load(given);
  assert.ok(!loaded.ok);
  return loaded.problems;
}

const usualMapping = certificateMappings.parse(
  'uri:spiffe://*/tenant/{tenant}/environment/{environment}/plane/{plane}/module/{module}',
);

test('without any setting the documented defaults hold', () => {
  assert.deepEqual(config({}), {
    profile: 'none',
    bind: { host: '127.0.0.1', port: 7441 },
    listen: [{ scheme: 'http', insecure: false, host: '127.0.0.1', port: 7441 }],
    tlsCertFile: 'none',
    tlsKeyFile: 'none',
    tlsClientCaFile: 'none',
    trustedProxies: [],
    unixAllowedUids: 'any',
    dataDir: './data',
    dek: false,
    dekTenant: 'dek',
    dekSnapshotDays: 30,
    dekAllowPlainKek: false,
    engine: 'auto',
    backend: 'lmdb',
    amnesia: false,
    audience: '',
    rootKeyFile: './data/root.key',
    rootKeyFd: 0,
    maxPayloadBytes: 1_048_576,
    allowedAlgs: 'all',
    workers: 3,
    timeSkewToleranceMs: 2_000,
    rngReseedIntervalOps: 100_000,
    queuePerTenant: 512,
    queueTotal: 8_192,
    queueTargetMs: 5,
    batchMaxItems: 256,
    signDeadlineMs: 2_000,
    defaultDeadlineMs: 250,
    signRateLimit: 500,
    createRateLimit: 100,
    destroyRateLimit: 100,
    keysPerTenant: 1_000_000,
    rsaPool: 0,
    rateLimits: [],
    keyUsesPerDay: 0,
    placedKeyUsesPerDay: 10_000,
    rotation: {},
    rotationGraceDays: 7,
    tenantWeights: {},
    refusalsPerAddress: 1_000,
    keyCacheBytes: 4_194_304,
    groupReadableSecrets: false,
    allowCoreDumps: false,
    audit: 'on',
    auditDir: './data/audit',
    auditOrigin: 'localhost/intaglio/audit',
    auditDurability: 'written',
    auditKeyOverlapMs: 604_800_000,
    auditInputHash: 'hmac',
    auditRetention: { days: 0 },
    auditCheckpointRecords: 5_000,
    auditCheckpointIntervalMs: 1_000,
    redactLevel: 'hashes',
    correlationIdMode: 'passthrough',
    auditWitnessPolicy: 'none',
    auditWitnessFailure: 'open',
    policyFile: 'none',
    policyUrl: 'none',
    pqVerifyMode: 'none',
    pqProduceHybrid: true,
    pqRolloutPercent: 100,
    pqTenants: {},
    verifyCacheTtlMs: 300_000,
    verifyStale: 'serve',
    attestRequire: false,
    attestFailOpen: false,
    backendsRequired: false,
    pkcs11Module: 'none',
    pkcs11Token: 'none',
    pkcs11PinFile: 'none',
    pkcs11Sessions: 8,
    pkcs11: {},
    m33CertificateIdentity: usualMapping,
    m33Jwks: 'none',
    m33JwtIssuer: '',
    m33JwtAudience: '',
    m33JwtAlgs: ['EdDSA', 'Ed25519', 'ES256', 'PS256', 'RS256'],
    approverJwks: 'none',
    m33DevIdentity: false,
    m33DevApprovals: [],
    m33: false,
    m33DetailWrap: false,
    webhookTargets: 'public',
    environment: 'production',
    corsOrigins: [],
    tpm: 'none',
    tpmCounter: 0,
    pqCutover: 'none',
    pqGraceDays: 90,
    shutdownTimeoutMs: 5_000,
    maxConnections: 1_024,
    metricsNames: 'admin',
    maxConnectionsPerAddress: 0,
    logLevel: 'info',
    telemetryService: 'intaglio',
  });
});

test('some defaults follow from others and from the machine', () => {
  assert.equal(config({ argv: ['--data-dir', '/srv/kms'] }).rootKeyFile, '/srv/kms/root.key');
  assert.equal(config({ argv: ['--amnesia'] }).backend, 'memory');
  assert.equal(config({ cores: 1 }).workers, 1);
  assert.equal(config({ cores: 4_096 }).workers, 256);
});

test('a flag wins over the environment, that over the file, and that over the default', () => {
  const file = JSON.stringify({ workers: 2, queue_total: 9_000, batch_max_items: 100, log_level: 'warn' });
  const loaded = load({
    argv: ['--workers', '7', '--config=settings.json'],
    env: { KMS_WORKERS: '5', KMS_QUEUE_TOTAL: '10000', KMS_CONFIG: 'not-read.json' },
    file,
  });
  assert.ok(loaded.ok);
  const { workers, queueTotal, batchMaxItems, queuePerTenant, logLevel } = loaded.config;
  assert.deepEqual(
    [workers, queueTotal, batchMaxItems, queuePerTenant, logLevel],
    [7, 10_000, 100, 512, 'warn'],
  );
  const { origins } = loaded;
  assert.deepEqual(
    [origins.workers, origins.queueTotal, origins.batchMaxItems, origins.queuePerTenant],
    ['flag', 'environment', 'file', 'default'],
  );
});

test('the file may be named by KMS_CONFIG, and holds numbers, booleans and lists or their texts', () => {
  const file = JSON.stringify({
    amnesia: true,
    workers: '6',
    allowed_algs: ['ml-dsa-65', 'ed25519'],
    bind: '[::1]:0',
  });
  const loaded = config({ env: { KMS_CONFIG: 'settings.json' }, file });
  assert.deepEqual(
    [loaded.amnesia, loaded.workers, loaded.allowedAlgs, loaded.bind],
    [true, 6, ['ml-dsa-65', 'ed25519'], { host: '::1', port: 0 }],
  );
});

test('RON_KMS_ variables are the same settings, unless both are set and differ', () => {
  assert.equal(config({ env: { RON_KMS_WORKERS: '9' } }).workers, 9);
  assert.equal(config({ env: { RON_KMS_WORKERS: '9', KMS_WORKERS: '9' } }).workers, 9);
  assert.deepEqual(problems({ env: { RON_KMS_WORKERS: '9', KMS_WORKERS: '8' } }), [
    'KMS_WORKERS and RON_KMS_WORKERS are both set, and differ',
  ]);
  assert.match(
    problems({ env: { RON_KMS_WORKER: '9' } })[0] ?? '',
    /RON_KMS_WORKER; did you mean KMS_WORKERS\?/,
  );
});

test('what Kubernetes sets for a Service called kms is no setting and is told; nothing else passes for it', () => {
  const env = {
    KMS_SERVICE_HOST: '10.96.12.7',
    KMS_SERVICE_PORT: '7441',
    KMS_SERVICE_PORT_HTTP: '7441',
    KMS_PORT: 'tcp://10.96.12.7:7441',
    KMS_PORT_7441_TCP: 'tcp://10.96.12.7:7441',
    KMS_PORT_7441_TCP_PROTO: 'tcp',
    KMS_PORT_7441_TCP_PORT: '7441',
    KMS_PORT_7441_TCP_ADDR: '10.96.12.7',
    KMS_TLS_SERVICE_HOST: 'fd00::1',
    KMS_TLS_PORT: 'tcp://[fd00::1]:443',
    KMS_ENGINE: 'openssl',
  };
  const loaded = load({ env });
  assert.ok(loaded.ok);
  assert.equal(loaded.config.engine, 'openssl');
  assert.deepEqual(loaded.injected, Object.keys(env).slice(0, -1));
  for (const [name, value] of [
    ['KMS_PORT', '7441'],
    ['KMS_SERVICE_HOST', 'kms.example'],
    ['KMS_PORT_TCP', 'tcp'],
    ['KMS_BIND_PORT_X', '7441'],
    ['KMS_PORT_7441_TCP_ADDRESS', '10.0.0.1'],
  ] as const) {
    assert.match(problems({ env: { [name]: value } })[0] ?? '', new RegExp(`^unknown variable ${name}`));
  }
});

test('what is not ours in the environment is left alone', () => {
  assert.ok(load({ env: { PATH: '/bin', KMSX: '1', npm_config_kms_bind: 'x', KMS_BIND: undefined } }).ok);
});

const https = { KMS_LISTEN: 'https://0.0.0.0:1' };
const pair = { KMS_TLS_CERT_FILE: 'c', KMS_TLS_KEY_FILE: 'k' };

const refusals: readonly [string, Given, RegExp][] = [
  ['an unknown variable', { env: { KMS_BYND: 'x' } }, /^unknown variable KMS_BYND; did you mean KMS_BIND\?$/],
  ['a variable like no other', { env: { KMS_ZZZZZZZZ: 'x' } }, /^unknown variable KMS_ZZZZZZZZ$/],
  ['an unknown flag', { argv: ['--wokers', '3'] }, /^unknown flag --wokers; did you mean --workers\?$/],
  ['an argument that is no flag', { argv: ['serve-me'] }, /^an argument that is no flag$/],
  [
    'a flag with one dash',
    { argv: ['-bind', 'x:1'] },
    /^an argument that is no flag; did you mean --bind\?$/,
  ],
  ['a flag without its value', { argv: ['--data-dir'] }, /^--data-dir needs a value$/],
  [
    'a flag before another in place of its value',
    { argv: ['--workers', '--amnesia'] },
    /^--workers needs a value$/,
  ],
  ['--config without its value', { argv: ['--config'] }, /^--config needs a value$/],
  ['a flag given twice', { argv: ['--workers=1', '--workers=2'] }, /^--workers is given twice$/],
  ['a file that is not there', { argv: ['--config', 'nowhere'] }, /^--config must name a readable file/],
  [
    'a file that is not JSON',
    { argv: ['--config', 'settings.json'], file: '{' },
    /readable file that holds JSON$/,
  ],
  ['a file with a list', { argv: ['--config', 'settings.json'], file: '[]' }, /one JSON object/],
  ['a file that is null', { argv: ['--config', 'settings.json'], file: 'null' }, /one JSON object/],
  ['a huge file', { argv: ['--config', 'settings.json'], file: `"${'x'.repeat(70_000)}"` }, /at most 65536/],
  [
    'an unknown member',
    { argv: ['--config', 'settings.json'], file: '{"data-dir":"x"}' },
    /^unknown member "data-dir" in the file; did you mean data_dir\?$/,
  ],
  [
    'a member from the prototype',
    { argv: ['--config', 'settings.json'], file: '{"__proto__":{"workers":1}}' },
    /^unknown member "__proto__"/,
  ],
  [
    'a member of a wrong type',
    { argv: ['--config', 'settings.json'], file: '{"workers":true}' },
    /^workers in the file must be a whole number from 1 to 256$/,
  ],
  ['too small a number', { env: { KMS_WORKERS: '0' } }, /^KMS_WORKERS must be a whole number from 1 to 256$/],
  ['too large a number', { argv: ['--workers', '257'] }, /^--workers must be/],
  ['a fraction', { env: { KMS_WORKERS: '1.5' } }, /^KMS_WORKERS must be/],
  [
    'a negative number',
    { env: { KMS_TIME_SKEW_TOLERANCE_MS: '-1' } },
    /must be a whole number from 0 to 300000/,
  ],
  ['a number with a unit', { env: { KMS_MAX_PAYLOAD: '1MiB' } }, /^KMS_MAX_PAYLOAD must be/],
  ['a hexadecimal number', { env: { KMS_WORKERS: '0x2' } }, /^KMS_WORKERS must be/],
  ['an empty value', { env: { KMS_WORKERS: '' } }, /^KMS_WORKERS must be/],
  ['a word that is no boolean', { env: { KMS_AMNESIA: 'yes' } }, /^KMS_AMNESIA must be true or false$/],
  [
    'an unknown engine',
    { env: { KMS_ENGINE: 'Native' } },
    /^KMS_ENGINE must be one of auto, native, openssl; did you mean native\?$/,
  ],
  ['an address without a port', { env: { KMS_BIND: '127.0.0.1' } }, /^KMS_BIND must be host:port/],
  ['a port out of range', { env: { KMS_BIND: '127.0.0.1:65536' } }, /^KMS_BIND must be/],
  ['an IPv6 address without brackets', { env: { KMS_BIND: '::1:80' } }, /^KMS_BIND must be/],
  [
    'both forms of listeners',
    { env: { KMS_BIND: '127.0.0.1:0', KMS_LISTEN: 'unix:/a' } },
    /^KMS_BIND is the short form of KMS_LISTEN: set one of them$/,
  ],
  [
    'TLS without a certificate',
    { env: { KMS_LISTEN: 'https://0.0.0.0:1' } },
    /^an https listener needs KMS_TLS_CERT_FILE and KMS_TLS_KEY_FILE$/,
  ],
  ['a certificate without its key', { env: { ...https, KMS_TLS_CERT_FILE: 'c' } }, /belong together/],
  [
    'a certificate that nobody sees',
    { env: { KMS_TLS_CERT_FILE: 'c', KMS_TLS_KEY_FILE: 'k' } },
    /needs an https/,
  ],
  [
    'client certificates without an authority',
    { env: { ...pair, KMS_LISTEN: 'https://0.0.0.0:1?client=request' } },
    /needs KMS_TLS_CLIENT_CA_FILE$/,
  ],
  [
    'an authority for certificates that nobody asks for',
    { env: { ...https, ...pair, KMS_TLS_CLIENT_CA_FILE: 'a' } },
    /^KMS_TLS_CLIENT_CA_FILE needs/,
  ],
  ['allowed users of no socket', { env: { KMS_UNIX_ALLOWED_UIDS: '0' } }, /needs a unix: listener/],
  ['a path with a NUL', { env: { KMS_DATA_DIR: 'a\0b' } }, /^KMS_DATA_DIR must be/],
  [
    'an unknown algorithm',
    { env: { KMS_ALLOWED_ALGS: 'ed25519,ml-dsa-56' } },
    /^KMS_ALLOWED_ALGS has an unknown algorithm ml-dsa-56; did you mean ml-dsa-65\?$/,
  ],
  ['no algorithm at all', { env: { KMS_ALLOWED_ALGS: '' } }, /^KMS_ALLOWED_ALGS must be/],
  [
    'amnesia with a store that persists',
    { env: { KMS_AMNESIA: '1', KMS_BACKEND: 'lmdb' } },
    /KMS_BACKEND must be memory/,
  ],
  [
    'amnesia with a root key file',
    { argv: ['--amnesia', '--root-key-file=k'] },
    /KMS_ROOT_KEY_FILE must not be set/,
  ],
  [
    'keys that outlive their log',
    { env: { KMS_AUDIT: 'off' } },
    /^KMS_AUDIT=off is only for KMS_BACKEND=memory/,
  ],
  [
    'a log of keys in memory',
    { env: { KMS_AUDIT: 'on', KMS_BACKEND: 'memory' } },
    /^KMS_AUDIT=on needs a store that keeps the anchor/,
  ],
  [
    'evidence without a log whose keys sign it',
    { env: { KMS_BACKEND: 'memory', KMS_ATTEST_REQUIRE: '1' } },
    /^KMS_ATTEST_REQUIRE needs evidence that the keys of the audit log sign/,
  ],
  [
    'going on without evidence that nobody needs',
    { env: { KMS_ATTEST_FAIL_OPEN: '1' } },
    /^KMS_ATTEST_FAIL_OPEN says what happens without evidence/,
  ],
  [
    'a directory for no log',
    { env: { KMS_BACKEND: 'memory', KMS_AUDIT_DIR: '/a' } },
    /^KMS_AUDIT=off writes no log/,
  ],
  [
    'a directory for no log, with a profile',
    { argv: ['--profile=micronode', '--audit-dir=/a'] },
    /^KMS_AUDIT=off writes no log/,
  ],
  [
    'a root key with a profile that has its own',
    { argv: ['--profile=micronode', '--root-key-file=k'] },
    /KMS_ROOT_KEY_FILE must not be set$/,
  ],
  [
    'answers that wait for witnesses where there are none',
    { env: { KMS_AUDIT_DURABILITY: 'witnessed' } },
    /needs witnesses: KMS_AUDIT_WITNESS_POLICY$/,
  ],
  [
    'witnesses that are asked too rarely',
    { env: { KMS_AUDIT_WITNESS_POLICY: 'w', KMS_AUDIT_CHECKPOINT_INTERVAL_MS: '1001' } },
    /^KMS_AUDIT_CHECKPOINT_INTERVAL_MS must not be more than 1000/,
  ],
  [
    'a deadline of calls beyond that of signatures',
    { argv: ['--default-deadline-ms=2001'] },
    /^KMS_DEFAULT_DEADLINE_MS must not be more than KMS_SIGN_DEADLINE_MS$/,
  ],
  ['a level of redaction that is none', { env: { KMS_REDACT_LEVEL: 'name' } }, /; did you mean names\?$/],
  [
    'a correlation id of another form',
    { env: { KMS_CORRELATION_ID_MODE: 'uuid7' } },
    /; did you mean uuidv7\?$/,
  ],
  [
    'checkpoints too often',
    { env: { KMS_AUDIT_CHECKPOINT_INTERVAL_MS: '99' } },
    /must be a whole number from 100/,
  ],
  ['a root key from the output', { env: { KMS_ROOT_KEY_FD: '2' } }, /KMS_ROOT_KEY_FD must be 3 or more/],
  [
    'a root key from two places',
    { argv: ['--root-key-fd=3', '--root-key-file=k'] },
    /KMS_ROOT_KEY_FD and KMS_ROOT_KEY_FILE/,
  ],
  ['amnesia with a root key', { argv: ['--amnesia', '--root-key-fd=3'] }, /KMS_ROOT_KEY_FD must not be set/],
  [
    'a batch that no queue takes',
    { argv: ['--batch-max-items=513'] },
    /KMS_BATCH_MAX_ITEMS must not be more/,
  ],
  ['a tenant above all', { argv: ['--queue-total=511'] }, /KMS_QUEUE_PER_TENANT must not be more/],
  [
    'a deadline beyond the stop',
    { argv: ['--sign-deadline-ms=5001'] },
    /KMS_SIGN_DEADLINE_MS must not be more/,
  ],
];

for (const [what, given, expected] of refusals) {
  test(`${what} is refused, once and in words that help`, () => {
    const found = problems(given);
    assert.equal(found.length, 1, found.join('\n'));
    assert.match(found[0] ?? '', expected);
  });
}

test('everything that is wrong is told at once', () => {
  assert.equal(problems({ argv: ['--workers', '0'], env: { KMS_X: '', KMS_AMNESIA: 'maybe' } }).length, 3);
});

test('a refusal repeats no value, which might be a secret in the wrong place', () => {
  const secret = 'hunter2-hunter2';
  const given = [
    ...fieldNames.map((name) => ({ env: { [fields[name].variable]: `\0${secret}` } })),
    { argv: [`--tokn=${secret}`, '--passwd', secret, secret] },
    { argv: ['--config', secret] },
  ];
  for (const one of given) {
    const loaded = load(one);
    assert.ok(!loaded.ok);
    assert.equal(loaded.problems.join().includes(secret), false, loaded.problems.join());
  }
});

test('the configuration is frozen through and through', () => {
  const loaded = config({ env: { KMS_ALLOWED_ALGS: 'ed25519' } });
  assert.ok(Object.isFrozen(loaded) && Object.isFrozen(loaded.bind) && Object.isFrozen(loaded.allowedAlgs));
});

test('every setting can be given as flag, variable and member, and its text reads back to the same value', () => {
  const standard = config({});
  for (const name of fieldNames) {
    const text = (fields[name].kind as Kind<unknown>).format(standard[name]);
    for (const given of [
      { argv: [flagOf(name), text] },
      { argv: [`${flagOf(name)}=${text}`] },
      { env: { [fields[name].variable]: text } },
      { argv: ['--config', 'settings.json'], file: JSON.stringify({ [memberOf(name)]: text }) },
    ]) {
      assert.deepEqual(config(given), standard, name);
    }
  }
});

test('no arguments, variables or file make the loader throw', () => {
  const word = fc.oneof(fc.string(), fc.constantFrom(...fieldNames.map(flagOf), '--config', '--', '-', '='));
  const variable = fc.constantFrom(
    ...fieldNames.map((name) => fields[name].variable),
    'KMS_CONFIG',
    'KMS_',
    'RON_KMS_',
  );
  fc.assert(
    fc.property(
      fc.array(word, { maxLength: 6 }),
      fc.dictionary(variable, fc.string(), { maxKeys: 4 }),
      fc.json(),
      (argv, env, file) => {
        const loaded = load({ argv, env, file });
        assert.equal(typeof loaded.ok, 'boolean');
      },
    ),
  );
});
