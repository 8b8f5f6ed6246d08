import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { before, suite } from 'node:test';
import { Admission } from '../../src/admission/admission.ts';
import { unguarded } from '../../src/admission/flood-guard/flood-guard.ts';
import { openPlacedCallers } from '../../src/assemble/kms-v1/callers.ts';
import { createApprovals } from '../../src/auth/approvals.ts';
import { createDischargeReader } from '../../src/auth/macaroon/approval.ts';
import { macaroonKeyOf } from '../../src/auth/macaroon/key.ts';
import { StoreLedger } from '../../src/auth/macaroon/ledger.ts';
import { revokesNothing } from '../../src/auth/macaroon/revocations.ts';
import { readMacaroonKey } from '../../src/auth/macaroon/root-key.ts';
import { oneRootKey } from '../../src/auth/macaroon/root-keys.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createCancellation } from '../../src/core/cancellation.ts';
import { systemClock } from '../../src/core/clock.ts';
import { ok, type Result, refuse } from '../../src/core/result.ts';
import { type Caller, scopes } from '../../src/core/scope.ts';
import { type CallRequest, createRequestPath, type RequestPathParts } from '../../src/request-path.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { callerKey, keySetOf, tokenWith } from '../support/caller-tokens.ts';
import { bearing } from '../support/credentials.ts';
import { startInProcess } from '../support/in-process.ts';
import { mintFor } from '../support/requests.ts';
import { call, type InProcessService, temporaryDirectory } from '../support/service.ts';

const placed = { placed: { claimedCertificate: undefined } };

suite('approvals of the service', () => {
  let service: InProcessService;
  let second: string;
  before(async () => {
    service = await startInProcess();
    second = mintFor(service.dataDir, { tenant: 'acme', scopes, caveats: ['operation = token_discharge'] });
  });
  const post = (body: unknown, by = second) => call(service, by, 'POST', '/v1/kms/token/discharge', body);

  /** As another service with the same macaroon key and an empty account would judge it. */
  function judge() {
    const key = readMacaroonKey(service.dataDir, { groupAllowed: false });
    assert.ok(key.ok);
    return createApprovals({
      readers: [createDischargeReader(oneRootKey(macaroonKeyOf(key.rootKey)), revokesNothing)],
      ...{ ledger: new StoreLedger(new MemoryStore(), systemClock), clock: systemClock },
      ...{ timeSkewToleranceMs: 2_000, development: [] },
    });
  }
  const change = { tenant: 'acme', actor: 'id:0123456789abcdef' };

  test('a discharge without a caveat is an approval of a change of one key', async () => {
    const keyId = randomUUID();
    const made = await post({ operation: 'rotate', key_id: keyId.toUpperCase(), ttl_s: 60 });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    assert.ok(Date.parse(made.body.expires_at) <= Date.now() + 60_000);
    const approvals = judge();
    const asked = { ...change, operation: 'rotate', keyId };
    assert.ok((await approvals.check(made.body.discharge, asked)).ok);
    assert.ok(!(await approvals.check(made.body.discharge, asked)).ok);
  });

  test('where there is no key it is for a request, whatever the order of its members and without its approval', async () => {
    const request = { tenant_id: 'acme', environment: 'prod', plane: 'laptop', key_type: 'AES-256' };
    const text = '{"environment":"prod","key_type":"AES-256","plane":"laptop","tenant_id":"acme"}';
    const requestSha256 = createHash('sha256').update(text).digest('hex');
    for (const named of [
      { request },
      { request: { approval_token: 'x', ...request } },
      { request_sha256: requestSha256 },
    ]) {
      const made = await post({ operation: 'generate', ...named });
      assert.equal(made.status, 201, JSON.stringify(made.body));
      const checked = await judge().check(made.body.discharge, {
        ...{ ...change, operation: 'lifecycle_generate', requestSha256 },
      });
      assert.ok(checked.ok, JSON.stringify(checked));
    }
  });

  const keyId = randomUUID();
  for (const [what, body] of [
    ['nothing named', { operation: 'rotate' }],
    ['a kid', { operation: 'rotate', key_id: keyId, kid: `acme/p/ed25519/${keyId}` }],
    ['a request and its digest', { operation: 'generate', request: {}, request_sha256: 'a'.repeat(64) }],
    ['an operation that asks for none', { operation: 'verify', key_id: keyId }],
    ['a member that every object has', { operation: 'constructor', key_id: keyId }],
    ['a key_id that is none', { operation: 'rotate', key_id: 'key-123' }],
    ['more than an hour', { operation: 'rotate', key_id: keyId, ttl_s: 3_601 }],
    ['a caveat besides', { operation: 'rotate', key_id: keyId, caveat_id: 'AAAA' }],
  ] as const)
    test(`an approval with ${what} is refused`, async () => {
      assert.equal((await post(body)).status, 400);
    });

  test('who agrees needs the scope of the change', async () => {
    const body = { operation: 'revoke', key_id: keyId };
    const reader = mintFor(service.dataDir, { tenant: 'acme', scopes: ['kms:read', 'kms:rotate'] });
    assert.equal((await post(body, reader)).status, 403);
    assert.equal((await post({ ...body, operation: 'rotate' }, reader)).status, 201);
  });

  test('a capability for an environment, plane or module is of no use where nobody looks at these', async () => {
    for (const caveat of ['environment = dev', 'plane = laptop', 'module = m21']) {
      const narrow = mintFor(service.dataDir, { tenant: 'acme', scopes, caveats: [caveat] });
      assert.equal((await call(service, narrow, 'GET', '/v1/kms/keys')).status, 401, caveat);
    }
  });
});

test('limits are of the authenticated caller, whatever name or address a header claims', async () => {
  const service = await startInProcess({ env: { KMS_RATE_LIMITS: 'create=5/d' } });
  const token = mintFor(service.dataDir, { tenant: 'acme', scopes });
  const create = (n: number) =>
    call(
      service,
      token,
      'POST',
      '/v1/kms/keys',
      { purpose: 'p', alg: 'ed25519' },
      {
        ...{ 'x-client-id': `client-${n}`, 'x-client-certificate': `CN=client-${n}` },
        ...{ 'x-forwarded-for': `10.0.0.${n}`, 'x-real-ip': `10.0.1.${n}` },
      },
    );
  const statuses: number[] = [];
  for (let n = 0; n < 8; n++) statuses.push((await create(n)).status);
  assert.deepEqual(statuses, [201, 201, 201, 201, 201, 429, 429, 429]);
  assert.equal(await service.stop(), 0);
});

suite('callers whose placement is known', () => {
  const claims = {
    ...{ iss: 'https://issuer.test', aud: 'kms', sub: 'build', exp: Math.ceil(Date.now() / 1_000) + 600 },
    ...{ tenant_id: 'acme', environment: 'prod', plane: 'laptop', module: 'm21' },
  };

  function opened(env: Readonly<Record<string, string>>) {
    const load = (given: Readonly<Record<string, string>>) => {
      const loaded = loadConfig({
        ...{ argv: [], env: given, readFile: () => '', cores: 2, algorithmNames: [] },
      });
      return loaded.ok ? loaded.config : assert.fail(loaded.problems.join());
    };
    const lines: string[] = [];
    const log = { warn: (_: unknown, text: string) => void lines.push(text) };
    const callers = openPlacedCallers(load(env), log as never, {
      capabilities: { authenticate: () => refuse('Unauthenticated', 'capabilities') },
      discharges: async () => undefined,
      ledger: new StoreLedger(new MemoryStore(), systemClock),
    });
    return { callers, lines, prepare: () => callers.prepare(load(env)) };
  }

  async function codeOf({ callers }: ReturnType<typeof opened>, token: string): Promise<string> {
    const credentials = { ...bearing(token), ...placed };
    const request = { utcMs: Date.now() };
    const { authenticator } = callers;
    const answer =
      (await authenticator.authenticateLater?.(credentials, request)) ??
      authenticator.authenticate(credentials, request);
    return answer.ok ? 'ok' : answer.failure.code;
  }

  test('files of keys are read again by a reload, whole or not at all', async () => {
    const directory = temporaryDirectory();
    const [callersFile, approversFile] = [join(directory, 'callers.json'), join(directory, 'approvers.json')];
    const [old, young] = [await callerKey('k1'), await callerKey('k2')];
    const write = (path: string, text: string) => writeFileSync(path, text);
    write(callersFile, JSON.stringify(keySetOf(old)));
    write(approversFile, JSON.stringify(keySetOf(old)));
    const subject = opened({
      ...{ KMS_M33_JWKS: callersFile, KMS_APPROVER_JWKS: approversFile },
      ...{ KMS_M33_JWT_ISSUER: claims.iss, KMS_M33_JWT_AUDIENCE: claims.aud },
    });
    const [byOld, byYoung] = [await tokenWith(old, claims), await tokenWith(young, claims)];
    const keyId = randomUUID();
    const approvalBy = (key: typeof old) =>
      tokenWith(key, {
        ...{ sub: 'alice', exp: claims.exp, jti: randomUUID() },
        ...{ tenant_id: 'acme', operation: 'rotate', key_id: keyId },
      });
    const change = { tenant: 'acme', operation: 'rotate', actor: 'id:0', keyId };
    const agreed = async (key: typeof old) =>
      (await subject.callers.approvals.check(await approvalBy(key), change)).ok;
    const all = async () => [
      ...[await codeOf(subject, byOld), await codeOf(subject, byYoung)],
      ...[await agreed(old), await agreed(young)],
    ];
    const asBefore = ['ok', 'Unauthenticated', true, false];
    assert.deepEqual(await all(), asBefore);

    write(callersFile, '{"keys":[]}');
    write(approversFile, JSON.stringify(keySetOf(young)));
    const refused = subject.prepare();
    assert.ok('problems' in refused);
    assert.match(refused.problems.join(), /^KMS_M33_JWKS: .*callers\.json is no JWK Set/);
    assert.deepEqual(await all(), asBefore);

    write(callersFile, JSON.stringify(keySetOf(young)));
    const prepared = subject.prepare();
    assert.ok('commit' in prepared);
    assert.deepEqual(await all(), asBefore, 'nothing changes before it is committed');
    prepared.commit();
    assert.deepEqual(await all(), ['Unauthenticated', 'ok', false, true]);
    assert.deepEqual(Object.keys(prepared.contents ?? {}), ['m33_jwks', 'approver_jwks']);
    const again = subject.prepare();
    assert.ok('commit' in again && again.contents === undefined);
  });

  test('a file of keys that cannot be used refuses the start, and no key is in the line', async () => {
    const directory = temporaryDirectory();
    const file = join(directory, 'keys.json');
    const missing = join(directory, 'missing.json');
    assert.throws(
      () => opened({ KMS_APPROVER_JWKS: missing }),
      /KMS_APPROVER_JWKS: .* cannot be read \(ENOENT\)/,
    );
    const key = await callerKey('k1');
    writeFileSync(file, JSON.stringify({ keys: [{ ...key.jwk, d: 'c2VjcmV0' }] }));
    assert.throws(
      () => opened({ KMS_APPROVER_JWKS: file }),
      ({ message }: Error) => /has a private key/.test(message) && !message.includes('c2VjcmV0'),
    );
  });

  test('development is loud at the start, and nothing else is', () => {
    assert.match(opened({ KMS_M33_DEV_IDENTITY: 'true' }).lines.join(), /^DEVELOPMENT IDENTITY: /);
    assert.deepEqual(opened({}).lines, []);
  });
});

suite('a caller who is known a moment later', () => {
  const caller: Caller = { tenant: 'acme', actor: 'id:0', scopes: new Set(['kms:sign']) };

  function pathOf(later: Promise<Result<Caller>> | undefined) {
    const parsed: string[] = [];
    const admission = new Admission({
      ...{ rates: {}, defaultDeadlineMs: 250, batchDeadlineMs: 250, maxDeadlineMs: 2_000 },
    });
    const path = createRequestPath({
      ...{ admission, clock: systemClock, floodGuard: unguarded },
      signatures: { refusal: () => undefined },
      authenticator: {
        authenticate: () => refuse('Unauthenticated', 'at once'),
        authenticateLater: () => later,
      },
    } as unknown as RequestPathParts);
    const body = Buffer.from('as it was sent');
    const cancellation = createCancellation();
    const answer = path({
      operation: { name: 'sign', kind: 'crypto', scope: 'kms:sign', batch: false },
      parse(given: Uint8Array) {
        parsed.push(Buffer.from(given).toString());
        return refuse('BadRequest', 'parsed');
      },
      ...{ body, cancellation, credentials: bearing('x'), deadlineWish: undefined },
      withinAllowance: () => true,
    } as unknown as CallRequest<unknown, unknown>);
    // The listener's memory is another request's now.
    body.fill('z');
    return { answer, parsed };
  }
  const hintOf = (answer: Result<unknown>) => !answer.ok && answer.failure.hint;

  test('has its own body parsed once it is known, and not before', async () => {
    const { promise, resolve } = Promise.withResolvers<Result<Caller>>();
    const { answer, parsed } = pathOf(promise);
    assert.ok(answer instanceof Promise);
    assert.deepEqual(parsed, []);
    resolve(ok(caller));
    assert.equal(hintOf(await answer), 'parsed');
    assert.deepEqual(parsed, ['as it was sent']);
  });

  test('is refused where it is nobody then, and at once where nothing takes longer', async () => {
    const nobody = pathOf(Promise.resolve(refuse('Unauthenticated', 'later')));
    assert.equal(hintOf(await nobody.answer), 'later');
    assert.deepEqual(nobody.parsed, []);
    const at = pathOf(undefined);
    assert.ok(!(at.answer instanceof Promise));
    assert.equal(hintOf(at.answer), 'at once');
  });
});
