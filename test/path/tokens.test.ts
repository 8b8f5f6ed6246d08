import assert from 'node:assert/strict';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { before, suite } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { SignJWT } from 'jose';
import { attenuateToken, bindToken, inspectToken } from '../../src/auth/macaroon/mint.ts';
import { startInProcess } from '../support/in-process.ts';
import { assertFailed } from '../support/requests.ts';
import {
  call,
  callForBytes,
  helloWorldB3,
  type InProcessService,
  type JsonAnswer,
  temporaryDirectory,
} from '../support/service.ts';

let service: InProcessService;
let admin: string;

before(async () => {
  service = await startInProcess();
  admin = service.token;
});

const post = (token: string, path: string, body: unknown, headers?: Readonly<Record<string, string>>) =>
  call(service, token, 'POST', `/v1/kms${path}`, body, headers);

async function mint(body: Readonly<Record<string, unknown>>, by = admin): Promise<string> {
  const minted = await post(by, '/token/mint', body);
  assert.equal(minted.status, 201, JSON.stringify(minted.body));
  return minted.body.token;
}

async function makeKey(token: string): Promise<string> {
  const made = await post(token, '/keys', { purpose: 'p', alg: 'ed25519' });
  assert.equal(made.status, 201, JSON.stringify(made.body));
  return made.body.kid.replace('#v1', '');
}

const everything = ['kms:create', 'kms:read', 'kms:sign', 'kms:verify', 'kms:rotate', 'kms:destroy'];

suite('minting over HTTP', () => {
  test('the operator mints for any tenant, with an end, caveats and a pseudonym', async () => {
    const minted = await post(admin, '/token/mint', {
      tenant: 'acme',
      scopes: ['kms:create', 'kms:sign'],
      ttl_s: 60,
      caveats: ['operation = create'],
    });
    assert.equal(minted.status, 201);
    assert.match(minted.body.actor, /^cap:[0-9a-f]{16}$/);
    const endMs = Date.parse(minted.body.expires_at) - Date.now();
    assert.ok(endMs > 50_000 && endMs <= 60_000);
    const kid = await makeKey(minted.body.token);
    assert.match(kid, /^acme\//);
    assertFailed(
      await post(minted.body.token, '/sign', { kid, payload_b3: helloWorldB3 }),
      403,
      'NoCapability',
    );
  });

  test('an administrator of a tenant mints for that tenant alone, and no more than it has', async () => {
    const ownAdmin = await mint({ tenant: 'acme', scopes: ['kms:admin', 'kms:sign'], ttl_s: 600 });
    assert.equal((await post(ownAdmin, '/token/mint', { scopes: ['kms:sign'], ttl_s: 60 })).status, 201);
    for (const body of [
      { scopes: ['kms:sign'], ttl_s: 60, tenant: 'other' },
      { scopes: ['kms:destroy'], ttl_s: 60 },
      { scopes: ['kms:sign'], ttl_s: 3_600 },
    ]) {
      assertFailed(await post(ownAdmin, '/token/mint', body), 403, 'NoCapability');
    }
    const signer = await mint({ tenant: 'acme', scopes: ['kms:sign'] });
    assertFailed(await post(signer, '/token/mint', { scopes: ['kms:sign'] }), 403, 'NoCapability');
  });

  test('a wish that cannot be met is refused', async () => {
    for (const body of [
      { scopes: [] },
      { scopes: ['kms:everything'] },
      { scopes: ['kms:sign'], ttl_s: 0 },
      { scopes: ['kms:sign'], ttl_s: 60, expires_at: '2099-01-01T00:00:00Z' },
      { scopes: ['kms:sign'], expires_at: '2099-01-01T00:00:00Z' },
      { scopes: ['kms:sign'], expires_at: '2020-01-01T00:00:00Z' },
      { scopes: ['kms:sign'], expires_at: 'tomorrow, at noon UTC' },
      { scopes: ['kms:sign'], caveats: ['colour = blue'] },
      { scopes: ['kms:sign'], caveats: ['tenant=acme'] },
      { scopes: ['kms:sign'], tenant: 'No Tenant' },
    ]) {
      assertFailed(await post(admin, '/token/mint', body), 400, 'BadRequest');
    }
  });

  test('what was minted and revoked is in the audit log', async () => {
    const minted = await post(admin, '/token/mint', { scopes: ['kms:sign'] });
    assert.equal(minted.status, 201);
    await post(admin, '/token/revoke', { token: minted.body.token });
    const { text } = await callForBytes(service, admin, 'GET', '/v1/kms/audit/records');
    assert.match(text, new RegExp(`"capability":"${minted.body.actor}"[^}]*}[^}]*"type":"token.mint"`));
    assert.match(text, /"type":"token\.revoke"/);
    assert.equal(text.includes(minted.body.token), false);
  });
});

suite('a first capability', () => {
  const identity = {
    name: 'payments',
    grant: {
      ...{ tenant: 'acme', scopes: ['kms:read'] as const, ttlMs: 60_000 },
      caveats: ['operation = list'],
    },
  };

  test('is had for evidence that the policy file knows, by a key of the issuer', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const dataDir = temporaryDirectory();
    writeFileSync(
      join(dataDir, 'jwks.json'),
      JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'a', alg: 'EdDSA' }] }),
    );
    const { name, grant } = identity;
    const { ttlMs, ...granted } = grant;
    writeFileSync(
      join(dataDir, 'policy.yaml'),
      // JSON is YAML.
      JSON.stringify({
        issuers: [
          {
            ...{ issuer: 'https://ci.example', audience: 'kms', algorithms: ['EdDSA'] },
            jwks_file: join(dataDir, 'jwks.json'),
          },
        ],
        identities: [
          {
            ...{ name, when: { issuer: 'https://ci.example', subject: 'job:*' } },
            grant: { ...granted, ttl_s: ttlMs / 1_000 },
          },
        ],
      }),
    );
    const entered = await startInProcess({ env: { KMS_POLICY_FILE: join(dataDir, 'policy.yaml') } });
    const jwt = (subject: string) =>
      new SignJWT({})
        .setProtectedHeader({ alg: 'EdDSA', kid: 'a' })
        .setIssuer('https://ci.example')
        .setAudience('kms')
        .setSubject(subject)
        .setIssuedAt()
        .setExpirationTime('5m')
        .sign(privateKey);
    const ask = (body: object, token?: string) => call(entered, token, 'POST', '/v1/kms/token', body);
    const good = await jwt('job:1');
    for (const answer of [await ask({ jwt: good }), await ask({}, good)]) {
      assert.equal(answer.status, 201, JSON.stringify(answer.body));
      assert.equal((await call(entered, answer.body.token, 'GET', '/v1/kms/keys')).status, 200);
      assertFailed(await post(answer.body.token, '/sign', {}), 401, 'NoCapability');
    }
    assertFailed(await ask({ jwt: await jwt('person:1') }), 403, 'NoCapability');
    for (const answer of [await ask({}), await ask({ jwt: `${good}x` }), await ask({}, entered.token)])
      assertFailed(answer, 401, 'NoCapability');
    assertFailed(await ask({ other: 1 }), 400, 'BadRequest');
    const { text } = await callForBytes(entered, entered.token, 'GET', '/v1/kms/audit/records');
    assert.match(text, /"actor":"identity:payments"/);
    assert.equal(await entered.stop(), 0);
  });

  test('is not had where no policy file says who is who', async () => {
    assertFailed(await post(admin, '/token', {}), 401, 'NoCapability');
    assertFailed(await call(service, undefined, 'POST', '/v1/kms/token', {}), 401, 'NoCapability');
  });
});

suite('revocation', () => {
  const refusedAsRevoked = (answer: JsonAnswer) => {
    const { hint } = assertFailed(answer, 401, 'NoCapability');
    assert.match(hint ?? '', /revoked/);
  };
  const list = (token: string) => call(service, token, 'GET', '/v1/kms/keys');

  test('a capability and all that came from it hold no longer, and its siblings go on', async () => {
    const [token, sibling] = [
      await mint({ tenant: 'acme', scopes: ['kms:read'] }),
      await mint({ tenant: 'acme', scopes: ['kms:read'] }),
    ];
    const narrowed = attenuateToken(token, { caveats: ['operation = list'] });
    assert.ok(narrowed.ok);
    for (const one of [token, sibling, narrowed.value]) assert.equal((await list(one)).status, 200);
    assert.equal((await post(admin, '/token/revoke', { token: narrowed.value })).status, 200);
    refusedAsRevoked(await list(token));
    refusedAsRevoked(await list(narrowed.value));
    assert.equal((await list(sibling)).status, 200);
  });

  test('the pseudonym of a log line is enough', async () => {
    const minted = await post(admin, '/token/mint', { tenant: 'acme', scopes: ['kms:read'] });
    assert.equal((await post(admin, '/token/revoke', { actor: minted.body.actor, tenant: '*' })).status, 200);
    refusedAsRevoked(await list(minted.body.token));
  });

  test('a tenant, by time: those of before end, those of after hold', async () => {
    const early = await mint({ tenant: 'timed', scopes: ['kms:read'] });
    await delay(5);
    assert.equal((await post(admin, '/token/revoke', { tenant: 'timed' })).status, 200);
    await delay(5);
    const late = await mint({ tenant: 'timed', scopes: ['kms:read'] });
    refusedAsRevoked(await list(early));
    assert.equal((await list(late)).status, 200);
    // An earlier time takes nothing back.
    assert.equal(
      (await post(admin, '/token/revoke', { tenant: 'timed', issued_before: '2020-01-01T00:00:00Z' })).status,
      200,
    );
    refusedAsRevoked(await list(early));
  });

  test('a tenant revokes its own alone, and learns nothing of others', async () => {
    const ownAdmin = await mint({ tenant: 'acme', scopes: ['kms:admin'] });
    const other = await mint({ tenant: 'other', scopes: ['kms:read'] });
    const foreign = await post(ownAdmin, '/token/revoke', { token: other });
    const forged = await post(ownAdmin, '/token/revoke', { token: `${other.slice(0, -4)}AAAA` });
    for (const answer of [foreign, forged]) assertFailed(answer, 404, 'NotFound');
    assert.equal(foreign.body.error.hint, forged.body.error.hint);
    for (const body of [
      { tenant: 'other' },
      { tenant: '*' },
      { root_key: 0 },
      { actor: 'cap:0123456789abcdef', tenant: '*' },
    ]) {
      assertFailed(await post(ownAdmin, '/token/revoke', body), 403, 'NoCapability');
    }
    assert.equal((await list(other)).status, 200);
  });

  test('nothing, several things and malformed ones are refused', async () => {
    for (const body of [
      {},
      { token: 'x', actor: 'cap:0123456789abcdef' },
      { token: 'x', tenant: 'acme' },
      { tenant: 'A b' },
      { actor: 'cap:1' },
      { issued_before: '2099-01-01T00:00:00Z' },
    ]) {
      assertFailed(await post(admin, '/token/revoke', body), 400, 'BadRequest');
    }
    assertFailed(await post(admin, '/token/revoke', { root_key: 77 }), 404, 'NotFound');
  });
});

suite('root keys', () => {
  test('a new one is taken at once for new capabilities, the old ones go on, and a revoked one ends', async () => {
    const old = await mint({ tenant: 'acme', scopes: ['kms:read'] });
    const rotated = await post(admin, '/token/keys', {});
    assert.equal(rotated.status, 201);
    const { id } = rotated.body;
    const fresh = await mint({ tenant: 'acme', scopes: ['kms:read'] });
    const inspected = inspectToken(fresh);
    assert.ok(inspected.ok);
    assert.equal(inspected.value.root_key, id);
    const list = (token: string) => call(service, token, 'GET', '/v1/kms/keys');
    for (const token of [old, fresh]) assert.equal((await list(token)).status, 200);
    assert.equal((await post(admin, '/token/revoke', { root_key: id })).status, 200);
    assertFailed(await list(fresh), 401, 'NoCapability');
    assert.equal((await list(old)).status, 200);
    const { body } = await call(service, admin, 'GET', '/v1/kms/token/keys');
    assert.deepEqual(
      body.keys.find((key: { id: number }) => key.id === id),
      { id, newest: false, revoked: true },
    );
    const newer = inspectToken(await mint({ tenant: 'acme', scopes: ['kms:read'] }));
    assert.ok(newer.ok && newer.value.root_key !== id);
  });

  test('a key file that is taken away ends its capabilities within the second, without a restart', async () => {
    const { body } = await post(admin, '/token/keys', {});
    const token = await mint({ tenant: 'acme', scopes: ['kms:read'] });
    rmSync(join(service.dataDir, `macaroon.${body.id}.key`));
    await service.logged(
      (line) => line.includes('macaroon keys have changed') && line.includes(`"removed":[${body.id}]`),
    );
    assertFailed(await call(service, token, 'GET', '/v1/kms/keys'), 401, 'NoCapability');
  });

  test('only the operator sees and makes them', async () => {
    const ownAdmin = await mint({ tenant: 'acme', scopes: ['kms:admin'] });
    assertFailed(await call(service, ownAdmin, 'GET', '/v1/kms/token/keys'), 403, 'NoCapability');
    assertFailed(await post(ownAdmin, '/token/keys', {}), 403, 'NoCapability');
    assert.ok(readdirSync(service.dataDir).includes('macaroon.key'));
  });
});

suite('dual control', () => {
  interface Asked {
    readonly operation: string;
    readonly kid?: string;
    readonly request: Readonly<Record<string, unknown>>;
  }
  let kid: string;
  let first: string;
  let second: string;

  before(async () => {
    const all = await mint({ tenant: 'dual', scopes: everything });
    kid = await makeKey(all);
    first = await mint({ tenant: 'dual', scopes: everything, dual_control: true });
    second = await mint({ tenant: 'dual', scopes: everything, caveats: ['operation = token_discharge'] });
  });

  const caveatId = (token: string) => {
    const inspected = inspectToken(token);
    assert.ok(inspected.ok);
    return inspected.value.third_party?.[0]?.id;
  };
  const agree = (asked: Asked, by = second, more: object = {}) =>
    post(by, '/token/discharge', { caveat_id: caveatId(first), ...asked, ...more });
  const bound = (answer: JsonAnswer, token = first) => {
    assert.equal(answer.status, 201, JSON.stringify(answer.body));
    const discharge = bindToken(token, answer.body.discharge);
    assert.ok(discharge.ok);
    return { 'x-kms-discharge': discharge.value };
  };

  test('alone the capability does nothing, and with an agreement the one call, once', async () => {
    const request = { op_id: randomUUID() };
    const path = `/keys/${encodeURIComponent(kid)}/rotate`;
    assertFailed(await post(first, path, request), 401, 'NoCapability');
    assertFailed(await call(service, first, 'GET', '/v1/kms/keys'), 401, 'NoCapability');
    const discharge = bound(await agree({ operation: 'rotate', kid, request }));
    const rotated = await post(first, path, request, discharge);
    assert.equal(rotated.status, 200, JSON.stringify(rotated.body));
    assertFailed(await post(first, path, request, discharge), 409, 'Conflict');
    // A second agreement to the same does not make it twice.
    assertFailed(
      await post(first, path, request, bound(await agree({ operation: 'rotate', kid, request }))),
      409,
      'Conflict',
    );
  });

  test('the agreement holds for its operation, kid, op_id and request alone', async () => {
    const request = { op_id: randomUUID(), version: 1 };
    const discharge = bound(await agree({ operation: 'destroy', kid, request }));
    const other = `/keys/${encodeURIComponent(kid.replace(/.{4}$/, '0000'))}`;
    const path = `/keys/${encodeURIComponent(kid)}`;
    for (const [to, body, status] of [
      [`${path}/rotate`, { op_id: request.op_id }, 403],
      [`${path}/destroy`, { ...request, op_id: randomUUID() }, 403],
      [`${path}/destroy`, { op_id: request.op_id }, 404],
      [`${path}/destroy`, { version: 1 }, 403],
      [`${other}/destroy`, request, 404],
    ] as const) {
      assert.equal((await post(first, to, body, discharge)).status, status, `${to} ${JSON.stringify(body)}`);
    }
    assert.equal((await post(first, `${path}/destroy`, request, discharge)).status, 200);
  });

  test('where there is no kid yet the request itself is agreed to', async () => {
    const request = { op_id: randomUUID(), purpose: 'q', alg: 'ed25519' };
    const discharge = bound(await agree({ operation: 'create', request }));
    assertFailed(await post(first, '/keys', { ...request, purpose: 'r' }, discharge), 403, 'NoCapability');
    assert.equal((await post(first, '/keys', request, discharge)).status, 201);
  });

  test('a signature too, of the one payload', async () => {
    const request = { op_id: randomUUID(), kid, payload_b3: helloWorldB3 };
    const discharge = bound(await agree({ operation: 'sign', request }));
    const other = { ...request, payload_b3: helloWorldB3.replace(/^d/, 'e') };
    assertFailed(await post(first, '/sign', other, discharge), 403, 'NoCapability');
    const signed = await post(first, '/sign', request, discharge);
    assert.equal(signed.status, 200);
    // The same key by another name is no other call.
    for (const name of [kid, signed.body.kid]) {
      assertFailed(await post(first, '/sign', { ...request, kid: name }, discharge), 409, 'Conflict');
    }
  });

  test('nobody agrees for another tenant, to what he may not do, or alone', async () => {
    const asked = { operation: 'rotate', kid, request: { op_id: randomUUID() } };
    const reader = await mint({ tenant: 'dual', scopes: ['kms:read'] });
    assertFailed(await agree(asked, reader), 403, 'NoCapability');
    const stranger = await mint({ tenant: 'other', scopes: everything });
    assertFailed(await agree(asked, stranger), 404, 'NotFound');
    const narrow = await mint({ tenant: 'dual', scopes: everything, caveats: ['purpose = other'] });
    assertFailed(await agree(asked, narrow), 404, 'NotFound');
    // A capability for dual control needs a second principal for this as well.
    assertFailed(await agree(asked, first), 401, 'NoCapability');
  });

  test('what cannot be agreed to is refused', async () => {
    for (const body of [
      { operation: 'rotate', kid, request: {} },
      { operation: 'verify', kid, request: { op_id: randomUUID() } },
      { operation: 'token_discharge', request: {} },
      { operation: 'constructor', request: {} },
      { operation: 'rotate', request: { op_id: randomUUID() } },
      { operation: 'create', request: { op_id: randomUUID() } },
      { operation: 'rotate', kid, request: { op_id: randomUUID() }, ttl_s: 3_601 },
      { operation: 'rotate', kid, request: { op_id: randomUUID() }, caveat_id: 'AAAA' },
    ]) {
      assertFailed(
        await post(second, '/token/discharge', { caveat_id: caveatId(first), ...body }),
        400,
        'BadRequest',
      );
    }
  });

  test('a discharge that is not bound, bound to another, altered, doubled or too much is refused', async () => {
    const request = { op_id: randomUUID() };
    const path = `/keys/${encodeURIComponent(kid)}/rotate`;
    const answer = await agree({ operation: 'rotate', kid, request });
    const other = await mint({ tenant: 'dual', scopes: everything, dual_control: true });
    const good = bound(answer)['x-kms-discharge'];
    const extra = bound(await agree({ operation: 'rotate', kid, request: { op_id: randomUUID() } }))[
      'x-kms-discharge'
    ];
    for (const header of [
      answer.body.discharge,
      bound(answer, other)['x-kms-discharge'],
      `${good.slice(0, -3)}AAA`,
      `${good},${good}`,
      `${good},${extra}`,
      [good, 'A', 'A', 'A', 'A'].join(),
      'nonsense',
      '',
    ]) {
      assertFailed(await post(first, path, request, { 'x-kms-discharge': header }), 401, 'NoCapability');
    }
    assert.equal((await post(first, path, request, { 'x-kms-discharge': ` ${good} ` })).status, 200);
  });

  test('of many calls at once with one agreement one is done', async () => {
    const request = { op_id: randomUUID(), kid, payload_b3: helloWorldB3 };
    const discharge = bound(await agree({ operation: 'sign', request }));
    const again = bound(await agree({ operation: 'sign', request }));
    const sent = Array.from({ length: 12 }, (_, n) => {
      const kinds = [request, { ...request, op_id: randomUUID() }, { ...request, kid: `${kid}#v1` }];
      return post(first, '/sign', kinds[n % 3], n % 2 === 0 ? discharge : again);
    });
    const statuses = (await Promise.all(sent)).map(({ status }) => status);
    assert.equal(statuses.filter((status) => status === 200).length, 1, statuses.join());
    assert.deepEqual([...new Set(statuses)].sort(), [200, 403, 409]);
  });

  test('an agreement is for no item of a batch, and none is used by one', async () => {
    const request = { op_id: randomUUID(), kid, payload_b3: helloWorldB3 };
    const discharge = bound(await agree({ operation: 'sign', request }));
    const batch = await post(first, '/sign/batch', { items: [request, request] }, discharge);
    assert.ok(!JSON.stringify(batch.body).includes('signature_b64'), JSON.stringify(batch.body));
    assert.equal((await post(first, '/sign', request, discharge)).status, 200);
  });

  test('an agreement ends with the capability of who agreed', async () => {
    const path = `/keys/${encodeURIComponent(kid)}/rotate`;
    const approver = await mint({ tenant: 'dual', scopes: everything });
    const another = { op_id: randomUUID() };
    const discharge = bound(await agree({ operation: 'rotate', kid, request: another }, approver));
    assert.equal((await post(admin, '/token/revoke', { token: approver })).status, 200);
    assertFailed(await post(first, path, another, discharge), 401, 'NoCapability');
  });

  test('what was agreed to stays used, and what was revoked stays revoked, after a restart', async () => {
    const request = { op_id: randomUUID() };
    const path = `/keys/${encodeURIComponent(kid)}/rotate`;
    const discharge = bound(await agree({ operation: 'rotate', kid, request }));
    assert.equal((await post(first, path, request, discharge)).status, 200);
    const gone = await mint({ tenant: 'dual', scopes: ['kms:read'] });
    await post(admin, '/token/revoke', { token: gone });
    const { dataDir } = service;
    await service.stop();
    service = await startInProcess({ dataDir });
    admin = service.token;
    assertFailed(await post(first, path, request, discharge), 409, 'Conflict');
    assertFailed(await call(service, gone, 'GET', '/v1/kms/keys'), 401, 'NoCapability');
    assert.equal((await call(service, second, 'GET', '/v1/kms/keys')).status, 403);
  });
});
