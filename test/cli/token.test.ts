import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { exportJWK, generateKeyPair, jwtVerify } from 'jose';
import { createMacaroonAuthenticator } from '../../src/auth/macaroon/authenticator.ts';
import { decodeDischarge } from '../../src/auth/macaroon/encoding.ts';
import { openCapabilityKeys } from '../../src/auth/macaroon/root-key.ts';
import { compileCache } from '../support/compile-cache.ts';
import { bearing } from '../support/credentials.ts';
import { startInProcess } from '../support/in-process.ts';
import { call } from '../support/service.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { intaglio } from './intaglio.ts';

const tokenLine = /^[A-Za-z0-9_-]+\n$/;

/** A data directory as a first start leaves it, and what reads its capabilities. */
function dataDirectory(context: TestContext) {
  const dataDir = temporaryDirectory(context);
  const made = openCapabilityKeys({ dataDir, amnesia: false, secretRule: { groupAllowed: false } });
  assert.ok(made.ok);
  const authenticator = createMacaroonAuthenticator({ rootKey: made.rootKeys, timeSkewToleranceMs: 0 });
  const callerOf = (token: string, utcMs = Date.now()) => {
    const caller = authenticator.authenticate(bearing(token.trim()), { utcMs });
    return caller.ok ? { tenant: caller.value.tenant, scopes: [...caller.value.scopes] } : undefined;
  };
  return { dataDir, callerOf };
}

const mintAcme = ['token', 'mint', '--tenant', 'acme', '--scope', 'kms:sign,kms:verify'];
const acme = { tenant: 'acme', scopes: ['kms:sign', 'kms:verify'] };

test('mint prints nothing but a capability that the service takes', async (context) => {
  const { dataDir, callerOf } = dataDirectory(context);
  const minted = await intaglio([...mintAcme, '--expires', '1h', '--data-dir', dataDir]);
  assert.deepEqual([minted.status, minted.stderr], [0, '']);
  assert.match(minted.stdout, tokenLine);
  const hourMs = 3_600_000;
  assert.deepEqual(callerOf(minted.stdout), acme);
  assert.deepEqual(callerOf(minted.stdout, Date.now() + hourMs / 2), acme);
  assert.equal(callerOf(minted.stdout, Date.now() + hourMs), undefined);
});

test('npm run -s passes the capability through and adds nothing', async (context) => {
  const { dataDir, callerOf } = dataDirectory(context);
  const { stdout } = await promisify(execFile)(
    'npm',
    ['run', '-s', 'intaglio', '--', ...mintAcme, '--data-dir', dataDir],
    {
      cwd: join(import.meta.dirname, '..', '..'),
      env: { PATH: process.env.PATH, HOME: dataDir, ...compileCache },
    },
  );
  assert.match(stdout, tokenLine);
  assert.deepEqual(callerOf(stdout), acme);
});

test('the data directory may come from the environment, and from ./data', async (context) => {
  const { dataDir, callerOf } = dataDirectory(context);
  const byVariable = await intaglio(mintAcme, { env: { KMS_DATA_DIR: dataDir } });
  assert.deepEqual(callerOf(byVariable.stdout), acme);

  const cwd = temporaryDirectory(context);
  // A thread has no working directory of its own.
  const program = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');
  const missing = spawnSync(process.execPath, [program, ...mintAcme], {
    ...{ cwd, encoding: 'utf8', env: { PATH: process.env.PATH, ...compileCache } },
  });
  assert.deepEqual([missing.status, missing.stdout], [1, '']);
  assert.match(missing.stderr, /there is no data\/macaroon\.key/);
  assert.match(missing.stderr, /npm start/);
  assert.deepEqual(readdirSync(cwd), []);
});

test('a capability expires after an hour unless told otherwise, and never only when told so', async (context) => {
  const { dataDir, callerOf } = dataDirectory(context);
  const mint = (...more: string[]) => intaglio([...mintAcme, '--data-dir', dataDir, ...more]);
  const [standard, never, dated, later] = await Promise.all([
    mint(),
    mint('--expires', 'never'),
    mint('--expires', '2099-01-01T00:00:00Z'),
    mint('--not-before', '2098-01-01T00:00:00Z', '--expires', 'never'),
  ]);
  const in2098 = Date.UTC(2098, 6);
  assert.equal(callerOf(standard.stdout, Date.now() + 3_600_001), undefined);
  assert.deepEqual(callerOf(never.stdout, Date.UTC(9000, 0)), acme);
  assert.deepEqual(callerOf(dated.stdout, in2098), acme);
  assert.equal(callerOf(dated.stdout, Date.UTC(2099, 0)), undefined);
  assert.equal(callerOf(later.stdout), undefined);
  assert.deepEqual(callerOf(later.stdout, in2098), acme);
});

test('a mistake ends with status 1, words that help, and nothing on standard output', async (context) => {
  const { dataDir } = dataDirectory(context);
  const cases: readonly [string[], RegExp][] = [
    [['--tenant', 'acme', '--scope', 'kms:sing'], /unknown scope "kms:sing"; did you mean kms:sign\?/],
    [['--tenant', 'acme', '--scope', 'verify'], /did you mean kms:verify\?/],
    [['--tenant', 'acme', '--scope', 'kms:sign,'], /unknown scope ""/],
    [['--tenant', 'Acme Corp', '--scope', 'kms:sign'], /--tenant takes small letters/],
    [['--tenant', 'acme'], /--tenant and --scope are required/],
    [['--scope', 'kms:sign'], /--tenant and --scope are required/],
    [['--tenant', 'acme', '--scoope', 'kms:sign'], /Did you mean --scope\?/],
    [['--tenant', 'acme', '--scope', 'kms:sign', '--expires', '1 hour'], /--expires takes a duration/],
    [
      ['--tenant', 'acme', '--scope', 'kms:sign', '--expires', '2027-02-30T00:00:00Z'],
      /--expires takes a duration/,
    ],
    [['--tenant', 'acme', '--scope', 'kms:sign', '--not-before', 'never'], /--not-before takes a duration/],
  ];
  const outcomes = await Promise.all(
    cases.map(([args]) => intaglio(['token', 'mint', '--data-dir', dataDir, ...args])),
  );
  for (const [index, [args, expected]] of cases.entries()) {
    assert.deepEqual([outcomes[index]?.status, outcomes[index]?.stdout], [1, ''], args.join(' '));
    assert.match(outcomes[index]?.stderr ?? '', expected);
  }
});

test('attenuate narrows a capability, from an argument or from standard input', async (context) => {
  const { dataDir, callerOf } = dataDirectory(context);
  const wide = (await intaglio([...mintAcme, '--data-dir', dataDir])).stdout;
  const narrow = ['token', 'attenuate', '--scope', 'kms:verify', '--expires', '5m'];
  const [byInput, byDash, byArgument] = await Promise.all([
    intaglio(narrow, { input: wide }),
    intaglio([...narrow, '-'], { input: wide }),
    intaglio([...narrow, wide.trim()]),
  ]);
  for (const { status, stdout, stderr } of [byInput, byDash, byArgument]) {
    assert.deepEqual([status, stderr], [0, '']);
    assert.match(stdout, tokenLine);
    assert.deepEqual(callerOf(stdout), { tenant: 'acme', scopes: ['kms:verify'] });
    assert.equal(callerOf(stdout, Date.now() + 300_001), undefined);
  }
});

test('attenuate without anything to take away, and with something that is no capability, are refused', async () => {
  const [nothing, junk, long] = await Promise.all([
    intaglio(['token', 'attenuate'], { input: 'x' }),
    intaglio(['token', 'attenuate', '--scope', 'kms:sign'], { input: 'not a token' }),
    intaglio(['token', 'attenuate', '--scope', 'kms:sign'], { input: 'A'.repeat(200_000) }),
  ]);
  assert.match(nothing.stderr, /nothing to take away/);
  assert.match(junk.stderr, /not a capability/);
  assert.match(long.stderr, /not a capability/);
  for (const { status, stdout } of [nothing, junk, long]) assert.deepEqual([status, stdout], [1, '']);
});

test('inspect shows the caveats as JSON and says that nothing is verified', async (context) => {
  const { dataDir } = dataDirectory(context);
  const { stdout } = await intaglio([
    ...mintAcme,
    '--expires',
    '2099-01-01T00:00:00Z',
    '--data-dir',
    dataDir,
  ]);
  const inspected = JSON.parse((await intaglio(['token', 'inspect'], { input: stdout })).stdout);
  assert.match(inspected.actor, /^cap:[0-9a-f]{16}$/);
  assert.deepEqual(inspected.caveats, [
    'tenant = acme',
    'scope = kms:sign,kms:verify',
    'expires = 2099-01-01T00:00:00.000Z',
  ]);
  assert.equal(inspected.verified, false);
});

test('help has an example for every command', async () => {
  const helps = await Promise.all(
    [[], ['token', 'mint'], ['token', 'attenuate'], ['token', 'inspect']].map((words) =>
      intaglio([...words, '--help']),
    ),
  );
  for (const { status, stdout } of helps) {
    assert.equal(status, 0);
    assert.match(stdout, /npm run -s intaglio -- token/);
  }
});

test('every caveat has an option, and a malformed value is told by the option', async (context) => {
  const { dataDir } = dataDirectory(context);
  const digest = 'a'.repeat(64);
  const given = {
    '--kid': `acme/p/ed25519/11111111-2222-4333-8444-555555555555`,
    '--kid-prefix': 'acme/p/',
    '--purpose': 'p',
    '--alg': 'ed25519',
    '--operation': 'sign,verify',
    '--payload-b3': digest,
    '--address': '10.0.0.0/8',
    '--spiffe': 'spiffe://corp.example/payments',
    '--dns': 'payments.corp.example',
    '--subject': 'CN=payments',
    '--cert-sha256': digest,
    '--peer-uid': '1001',
    '--audience': 'kms',
    '--max-body-bytes': '1000',
    '--rate': '100/s',
    '--cost-us': '5000/s',
    '--max-uses': '3',
  };
  const minted = await intaglio([...mintAcme, '--data-dir', dataDir, ...Object.entries(given).flat()]);
  assert.equal(minted.status, 0, minted.stderr);
  const { caveats } = JSON.parse((await intaglio(['token', 'inspect'], { input: minted.stdout })).stdout);
  const expected = Object.entries(given).map(
    ([option, value]) => `${option.slice(2).replaceAll('-', '_')} = ${value}`,
  );
  assert.deepEqual(caveats.slice(3), expected);
  const wrong = await intaglio([...mintAcme, '--data-dir', dataDir, '--rate', '100']);
  assert.deepEqual([wrong.status, wrong.stdout], [1, '']);
  assert.match(wrong.stderr, /--rate has not the form/);
});

test('verify checks a capability with the keys of a data directory, new ones and old ones', async (context) => {
  const { dataDir } = dataDirectory(context);
  const at = ['--data-dir', dataDir];
  const old = (await intaglio([...mintAcme, ...at])).stdout;
  const rotated = await intaglio(['token', 'keys', '--rotate', ...at]);
  const { id } = JSON.parse(rotated.stdout);
  assert.ok(id > 0);
  const fresh = (await intaglio([...mintAcme, ...at])).stdout;
  const [keys, first, second, forged] = await Promise.all([
    intaglio(['token', 'keys', ...at]),
    intaglio(['token', 'verify', ...at], { input: old }),
    intaglio(['token', 'verify', ...at], { input: fresh }),
    intaglio(['token', 'verify', ...at], { input: `${fresh.trim().slice(0, -4)}AAAA` }),
  ]);
  assert.deepEqual(JSON.parse(keys.stdout), { keys: [{ id: 0 }, { id }] });
  for (const [index, { stdout }] of [first, second].entries()) {
    const { root_key, tenant, scopes, verified } = JSON.parse(stdout);
    assert.deepEqual(
      { root_key, tenant, scopes, verified },
      { root_key: [0, id][index], ...acme, verified: true },
    );
  }
  assert.deepEqual([forged.status, forged.stdout], [1, '']);
});

test('discharge, revoke and keys ask the service, and a discharge is bound to its capability', async (context) => {
  const service = await startInProcess({ listen: true });
  const directory = temporaryDirectory(context);
  const file = (name: string, text: string) => {
    writeFileSync(join(directory, name), text);
    return join(directory, name);
  };
  const at = ['--url', service.url, '--token-file'];
  const admin = file('admin.token', service.token);
  const mintDual = ['token', 'mint', '--tenant', 'acme', '--scope', 'kms:create', '--dual-control'];
  const first = (await intaglio([...mintDual, '--data-dir', service.dataDir])).stdout.trim();
  const second = file('second.token', await service.mint('acme'));
  const { third_party } = JSON.parse((await intaglio(['token', 'inspect'], { input: first })).stdout);
  const request = { op_id: randomUUID(), purpose: 'p', alg: 'ed25519' };
  const agreed = await intaglio([
    ...['token', 'discharge', '--caveat-id', third_party[0].id, '--operation', 'create'],
    ...['--request', JSON.stringify(request), ...at, second],
  ]);
  assert.equal(agreed.status, 0, agreed.stderr);
  const bound = await intaglio(['token', 'discharge', '--bind', agreed.stdout.trim()], { input: first });
  const made = await call(service, first, 'POST', '/v1/kms/keys', request, {
    'x-kms-discharge': bound.stdout.trim(),
  });
  assert.equal(made.status, 201, JSON.stringify(made.body));

  const keys = await intaglio(['token', 'keys', ...at, admin]);
  assert.deepEqual(JSON.parse(keys.stdout), { keys: [{ id: 0, newest: true, revoked: false }] });
  const victim = await service.mint('acme');
  const revoked = await intaglio(['token', 'revoke', ...at, admin, '-'], { input: victim });
  assert.deepEqual([revoked.status, revoked.stdout, revoked.stderr], [0, '', '']);
  assert.equal((await call(service, victim, 'GET', '/v1/kms/keys')).status, 401);
  assert.equal(await service.stop(), 0);
});

test('approve asks the service for an approval, or signs one itself, and says what is wrong', async (context) => {
  const service = await startInProcess({ listen: true });
  const directory = temporaryDirectory(context);
  const file = (name: string, text: string) => {
    writeFileSync(join(directory, name), text);
    return join(directory, name);
  };
  const second = file('second.token', await service.mint('acme'));
  const at = ['--url', service.url, '--token-file', second];
  const keyId = randomUUID();
  const agreed = await intaglio([
    'approve',
    '--operation',
    'rotate',
    '--key-id',
    keyId,
    '--ttl',
    '90s',
    ...at,
  ]);
  assert.equal(agreed.status, 0, agreed.stderr);
  const said = decodeDischarge(agreed.stdout.trim())?.caveats.join();
  assert.match(said ?? '', new RegExp(`tenant = acme,operation = rotate,kid = ${keyId},approver = cap:`));
  const ofRequest = await intaglio(['approve', '--operation', 'generate', '--request', '{"a":1}', ...at]);
  const digest = createHash('sha256').update('{"a":1}').digest('hex');
  assert.match(
    decodeDischarge(ofRequest.stdout.trim())?.caveats.join() ?? '',
    new RegExp(`request_sha256 = ${digest}`),
  );

  const { privateKey, publicKey } = await generateKeyPair('Ed25519', { extractable: true });
  const named = { kid: 'a1', alg: 'Ed25519' };
  const key = file('alice.jwk', JSON.stringify({ ...(await exportJWK(privateKey)), ...named }));
  const own = ['--signing-key', key, '--approver', 'alice', '--tenant', 'acme'];
  const signed = await intaglio([
    'approve',
    '--operation',
    'revoke',
    '--key-id',
    keyId.toUpperCase(),
    ...own,
  ]);
  assert.equal(signed.status, 0, signed.stderr);
  const { payload, protectedHeader } = await jwtVerify(signed.stdout.trim(), publicKey);
  const { jti, iat, exp, ...others } = payload;
  assert.deepEqual(others, { sub: 'alice', tenant_id: 'acme', operation: 'revoke', key_id: keyId });
  assert.deepEqual([protectedHeader, (exp ?? 0) - (iat ?? 0)], [named, 900]);
  assert.match(String(jti), /^[0-9a-f-]{36}$/);

  const publicOnly = file('public.jwk', JSON.stringify({ ...(await exportJWK(publicKey)), ...named }));
  for (const [args, why] of [
    [['--operation', 'rotates', '--key-id', keyId, ...own], /did you mean rotate\?/],
    [['--operation', 'generate', '--request', '[]', ...own], /--request is not a JSON object/],
    [
      ['--operation', 'rotate', '--key-id', keyId, '--signing-key', publicOnly, ...own.slice(2)],
      /no private key/,
    ],
    [
      ['--operation', 'rotate', '--key-id', keyId, '--signing-key', second, ...own.slice(2)],
      /is no JSON Web Key/,
    ],
  ] as const) {
    const outcome = await intaglio(['approve', ...args]);
    assert.deepEqual([outcome.status, outcome.stdout], [1, ''], why.source);
    assert.match(outcome.stderr, why);
  }
  assert.equal(await service.stop(), 0);
});
