import assert from 'node:assert/strict';
import test from 'node:test';
import { algorithmNames } from '../../src/algorithms/registry.ts';
import { loadConfig } from '../../src/config/load.ts';
import { otherNames } from '../../src/config/m33/other-names.ts';

function load(env: Readonly<Record<string, string>>, argv: readonly string[] = []) {
  return loadConfig({ argv, env, readFile: () => '', cores: 2, algorithmNames });
}

function configOf(env: Readonly<Record<string, string>>, argv: readonly string[] = []) {
  const loaded = load(env, argv);
  assert.ok(loaded.ok, loaded.ok ? '' : loaded.problems.join('\n'));
  return loaded.config;
}

function problemsOf(env: Readonly<Record<string, string>>): string {
  const loaded = load(env);
  return loaded.ok ? '' : loaded.problems.join('\n');
}

const m33 = { KMS_M33: 'true' };
const token = { KMS_PKCS11_TOKEN: 'kms' };

test('names of the module are other names of settings, however the surface was asked for', () => {
  const env = {
    ...{ ENVIRONMENT: 'development', CORS_ORIGINS: 'https://a.test, https://b.test:8443' },
    ...{ HSM_ENDPOINT: '/usr/lib/softhsm.so', HSM_CREDENTIALS: '/run/pin', ...token },
  };
  for (const config of [configOf({ ...m33, ...env }), configOf(env, ['--m33'])]) {
    const { environment, corsOrigins, pkcs11Module, pkcs11PinFile } = config;
    assert.deepEqual(
      [environment, pkcs11Module, pkcs11PinFile],
      ['development', '/usr/lib/softhsm.so', '/run/pin'],
    );
    assert.deepEqual(corsOrigins, ['https://a.test', 'https://b.test:8443']);
  }
});

test('without the surface these names are somebody else’s, whatever they hold', () => {
  const env = { ENVIRONMENT: 'not a label', CORS_ORIGINS: 'x', HSM_ENDPOINT: 'y', HSM_CREDENTIALS: '1234' };
  const { environment, corsOrigins, pkcs11Module } = configOf(env);
  assert.deepEqual([environment, corsOrigins, pkcs11Module], ['production', [], 'none']);
});

test('a setting under both of its names has to say the same, and a flag is stronger than both', () => {
  const env = { ...m33, ENVIRONMENT: 'staging', KMS_ENVIRONMENT: 'staging' };
  assert.equal(configOf(env).environment, 'staging');
  assert.match(
    problemsOf({ ...env, KMS_ENVIRONMENT: 'other' }),
    /KMS_ENVIRONMENT and ENVIRONMENT are both set, and differ/,
  );
  assert.equal(configOf({ ...m33, ENVIRONMENT: 'staging' }, ['--environment', 'flag']).environment, 'flag');
});

test('an address and a PIN are told to be no module and no place of a PIN, and are not repeated', () => {
  const endpoint = problemsOf({
    ...m33,
    ...token,
    HSM_ENDPOINT: 'hsm.example.com',
    HSM_CREDENTIALS: '/run/pin',
  });
  assert.match(endpoint, /HSM_ENDPOINT must be the path of a PKCS#11 module/);
  const pin = problemsOf({
    ...m33,
    ...token,
    HSM_ENDPOINT: '/usr/lib/x.so',
    HSM_CREDENTIALS: 'kanarienvogel',
  });
  assert.match(pin, /HSM_CREDENTIALS must say where the PIN is/);
  assert.ok(!pin.includes('kanarienvogel'));
});

test('every page may call in development alone', () => {
  assert.match(problemsOf({ ...m33, CORS_ORIGINS: '*' }), /KMS_CORS_ORIGINS=\* lets every web page call/);
  assert.match(problemsOf({ ...m33, ENVIRONMENT: 'staging', CORS_ORIGINS: '*' }), /lets every web page call/);
  assert.deepEqual(configOf({ ...m33, ENVIRONMENT: 'development', CORS_ORIGINS: '*' }).corsOrigins, ['*']);
});

for (const origins of [
  'https://a.test/',
  'https://a.test/x',
  'a.test',
  'https://A.test',
  'ftp://a.test',
  'null',
])
  test(`${origins} is no origin as browsers send it`, () => {
    assert.match(
      problemsOf({ ...m33, KMS_CORS_ORIGINS: origins }),
      /KMS_CORS_ORIGINS must be origins such as/,
    );
  });

test('settings of the surface do nothing without it, and say so', () => {
  for (const [variable, value] of [
    ['KMS_M33_DETAIL_WRAP', 'true'],
    ['KMS_CORS_ORIGINS', 'https://a.test'],
  ] as const)
    assert.match(problemsOf({ [variable]: value }), /set KMS_M33=true/);
  assert.equal(Object.keys(otherNames).length, 4);
});
