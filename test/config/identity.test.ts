import assert from 'node:assert/strict';
import test from 'node:test';
import { algorithmNames } from '../../src/algorithms/registry.ts';
import {
  certificateMappings,
  developmentApprovals,
  optionalTokenName,
  signatureAlgorithms,
} from '../../src/config/identity/kinds.ts';
import { loadConfig } from '../../src/config/load.ts';

function problemsOf(env: Readonly<Record<string, string>>): readonly string[] {
  const loaded = loadConfig({ argv: [], env, readFile: () => '', cores: 2, algorithmNames });
  return loaded.ok ? [] : loaded.problems;
}

const dev = { KMS_M33_DEV_IDENTITY: 'true' };

for (const listen of [
  'http://127.0.0.1:7441',
  'http://[::1]:0,unix:/run/kms.sock',
  'http://localhost:1,http://127.9.9.9:1',
])
  test(`development identity is taken with ${listen}`, () => {
    assert.deepEqual(problemsOf({ ...dev, KMS_LISTEN: listen }), []);
  });

for (const [name, env] of Object.entries({
  'plain HTTP for everybody': { KMS_LISTEN: 'http://0.0.0.0:7441?insecure' },
  'one listener of several beyond loopback': {
    KMS_LISTEN: 'http://127.0.0.1:7441,https://0.0.0.0:7443?client=require',
    KMS_TLS_CERT_FILE: 'a',
    KMS_TLS_KEY_FILE: 'b',
    KMS_TLS_CLIENT_CA_FILE: 'c',
  },
  'a host name': { KMS_LISTEN: 'http://kms.test:80?insecure' },
  'KMS_BIND beyond loopback': { KMS_BIND: '10.0.0.1:7441' },
}))
  test(`development identity refuses the start with ${name}`, () => {
    assert.match(
      problemsOf({ ...dev, ...env }).join('\n'),
      /KMS_M33_DEV_IDENTITY=true .* every listener is loopback/,
    );
  });

test('development identity refuses the start behind a proxy, which brings others to loopback', () => {
  assert.match(
    problemsOf({ ...dev, KMS_TRUSTED_PROXIES: '127.0.0.1' }).join('\n'),
    /KMS_M33_DEV_IDENTITY=true is refused with KMS_TRUSTED_PROXIES/,
  );
});

test('approvals of development are for development identity alone', () => {
  const approvals = { KMS_M33_DEV_APPROVALS: 'approval-token-123,other' };
  assert.match(problemsOf(approvals).join('\n'), /KMS_M33_DEV_APPROVALS is for development/);
  assert.deepEqual(problemsOf({ ...approvals, ...dev }), []);
});

test('keys, issuer and audience of tokens are set together', () => {
  const all = { KMS_M33_JWKS: 'a.json', KMS_M33_JWT_ISSUER: 'https://i.test', KMS_M33_JWT_AUDIENCE: 'kms' };
  assert.deepEqual(problemsOf(all), []);
  for (const name of Object.keys(all)) {
    const { [name as keyof typeof all]: _, ...others } = all;
    assert.match(problemsOf(others).join('\n'), /KMS_M33_JWKS, .* belong together/, name);
  }
});

test('neither none nor a symmetric algorithm can be named for tokens, and names are not repeated', () => {
  assert.deepEqual(signatureAlgorithms.parse('EdDSA, ES256,EdDSA'), ['EdDSA', 'ES256']);
  for (const text of ['none', 'HS256', 'ES256,HS512', '', 'es256', 'ES256,']) {
    assert.equal(signatureAlgorithms.parse(text), undefined, text);
  }
  assert.deepEqual(problemsOf({ KMS_M33_JWT_ALGS: 'ES256,none' }).length, 1);
});

for (const text of [
  'uri:spiffe://*/tenant/{tenant}/environment/{environment}/plane/{plane}/module/{module}',
  'uri:urn:kms:{tenant}:{environment}:{plane}:{module}',
  'uri:https://kms.test/?t={tenant}&e={environment}&p={plane}&m={module}',
  'dns:{module}.{plane}.{environment}.{tenant}.kms.test',
  'subject:tenant=O;environment=OU;plane=L;module=CN',
  'subject:module=2.5.4.5;plane=L;environment=OU;tenant=DC,dns:{module}.{plane}.{environment}.{tenant}',
])
  test(`a certificate's identity is ${text}, and is written so again`, () => {
    const parsed = certificateMappings.parse(text);
    assert.ok(parsed !== undefined);
    assert.equal(certificateMappings.format(parsed), text);
  });

for (const text of [
  '',
  'uri:',
  'uri:spiffe://{tenant}/{environment}/{plane}',
  'uri:spiffe://{tenant}/{tenant}/{environment}/{plane}/{module}',
  'uri:spiffe://{tenant}-{module}/{environment}/{plane}',
  'uri:spiffe://x{tenant}/{environment}/{plane}/{module}',
  'uri:spiffe://*x/{tenant}/{environment}/{plane}/{module}',
  'uri:spiffe://{tenant}/{environment}/{plane}/{module}/{user}',
  'uri:spiffe://{tenant}/{environment}/{plane}/{module}#x',
  'dns:{tenant}-{environment}.{plane}.{module}',
  'email:{tenant}.{environment}.{plane}.{module}',
  'subject:tenant=O;environment=OU;plane=L',
  'subject:tenant=O;environment=OU;plane=O;module=CN',
  'subject:tenant=O;environment=OU;plane=L;module=CN;tenant=DC',
  'subject:tenant=O;environment=OU;plane=L;module=',
  'subject:tenant=O;environment=OU;plane=L;user=CN',
  Array.from({ length: 9 }, () => 'subject:tenant=O;environment=OU;plane=L;module=CN').join(','),
  `dns:{module}.{plane}.{environment}.{tenant}.${'x'.repeat(256)}`,
])
  test(`no identity of a certificate is ${JSON.stringify(text.slice(0, 70))}`, () => {
    assert.equal(certificateMappings.parse(text), undefined);
  });

test('issuers, audiences and approvals of development are bounded printable texts', () => {
  assert.equal(optionalTokenName.parse('https://issuer.test/a'), 'https://issuer.test/a');
  for (const text of ['a b', 'x'.repeat(513), 'é', 1]) assert.equal(optionalTokenName.parse(text), undefined);
  assert.deepEqual(developmentApprovals.parse('a, b'), ['a', 'b']);
  assert.deepEqual(developmentApprovals.parse(''), []);
  for (const text of [',', 'a b', 'x'.repeat(129), Array.from({ length: 65 }, String).join(',')]) {
    assert.equal(developmentApprovals.parse(text), undefined, String(text).slice(0, 20));
  }
});
