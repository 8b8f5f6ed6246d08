import assert from 'node:assert/strict';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { exportJWK, SignJWT } from 'jose';
import { errorEnvelope } from '../../../src/http/dialects/kms-v1/answers.ts';
import { describedCalls } from '../../../src/http/dialects/kms-v1/described.ts';
import { makeCertificate } from '../../support/certificates.ts';
import {
  change,
  generate,
  type KmsV1Answer,
  type KmsV1Client,
  type MutualTls,
  startMutualTls,
} from '../../support/kms-v1.ts';
import { assertFits } from '../../support/kms-v1-dialect.ts';
import { testPki } from '../../support/listener-kinds.ts';
import { temporaryDirectory } from '../../support/service.ts';

const here = { tenant_id: 'tenant123', environment: 'prod', plane: 'laptop' };
const data = Buffer.from('Hello, World!').toString('base64');
const signs = { key_type: 'Ed25519', key_usage: ['sign', 'verify'] };
const seals = { key_type: 'AES-256', key_usage: ['encrypt', 'decrypt'] };
const pem = testPki.authority.cert;

const issuer = generateKeyPairSync('ed25519');

function jsonWebToken(claims: Readonly<Record<string, unknown>>, key = issuer.privateKey): Promise<string> {
  return new SignJWT({ ...here, module: 'web', ...claims })
    .setProtectedHeader({ alg: 'EdDSA', kid: 'issuer' })
    .setIssuer('https://iam.test')
    .setAudience('kms')
    .setSubject('web')
    .setExpirationTime('5m')
    .sign(key);
}

describe('/kms/v1 over mutual TLS', () => {
  let tls: MutualTls;
  let owner: KmsV1Client;
  let keys: { readonly signing: string; readonly sealing: string };
  let signature = '';
  let sealed = { ciphertext: '', iv: '' };
  let anchor = '';

  before(async () => {
    const jwks = join(temporaryDirectory(), 'issuer.json');
    const jwk = { ...(await exportJWK(issuer.publicKey)), kid: 'issuer' };
    writeFileSync(jwks, JSON.stringify({ keys: [jwk] }));
    tls = await startMutualTls({
      // Nothing is sent there: no event of the test is one that the webhook asks for.
      KMS_WEBHOOK_TARGETS: 'private',
      ...{ KMS_M33_JWKS: jwks, KMS_M33_JWT_ISSUER: 'https://iam.test', KMS_M33_JWT_AUDIENCE: 'kms' },
    });
    owner = tls.client(here);
    keys = { signing: await generate(owner, signs), sealing: await generate(owner, seals) };
    signature = (await owner.send('POST', '/sign', { body: { key_id: keys.signing, data } })).body.signature;
    sealed = (await owner.send('POST', '/encrypt', { body: { key_id: keys.sealing, plaintext: data } })).body;
    anchor = (await addAnchor(owner)).body.trust_anchor_id;
  });
  after(() => tls.end());

  const query = (client: KmsV1Client) => new URLSearchParams({ ...client.place });

  const addAnchor = async (client: KmsV1Client, by: KmsV1Client = client) => {
    const body = { certificate: Buffer.from(pem).toString('base64'), anchor_type: 'internal_ca' };
    const approval = await by.approval('trust_anchor', { request: { ...client.place, ...body } });
    return client.send('POST', '/trust-anchors', { body, headers: { 'x-approval-token': approval } });
  };

  test('every route that needs no more than a caller answers in its published shape', async () => {
    const { signing: key_id, sealing } = keys;
    const place = query(owner);
    const asked: readonly (readonly [name: keyof typeof describedCalls, answer: KmsV1Answer])[] = [
      ['list_keys', await owner.send('GET', `/keys?${place}`)],
      ['read_key', await owner.send('GET', `/keys/${key_id}?${place}`)],
      ['sign', await owner.send('POST', '/sign', { body: { key_id, data, algorithm: 'EdDSA' } })],
      ['verify', await owner.send('POST', '/verify', { body: { key_id, data, signature } })],
      ['encrypt', await owner.send('POST', '/encrypt', { body: { key_id: sealing, plaintext: data } })],
      [
        'decrypt',
        await owner.send('POST', '/decrypt', {
          body: { key_id: sealing, ciphertext: sealed.ciphertext, iv: sealed.iv },
        }),
      ],
      ['list_trust_anchors', await owner.send('GET', `/trust-anchors?${place}`)],
      ['read_trust_anchor', await owner.send('GET', `/trust-anchors/${anchor}?${place}`)],
      [
        'validate_chain',
        await owner.send('POST', '/trust-anchors/validate', { body: { chain: [testPki.client.cert] } }),
      ],
      ['list_certificates', await owner.send('GET', `/certificates?${place}`)],
      ['list_receipts', await owner.send('GET', '/receipts?limit=2')],
      ['list_webhooks', await owner.send('GET', '/webhooks')],
    ];
    for (const [name, { status, body, text, headers }] of asked) {
      assert.equal(status, describedCalls[name].status, `${name}: ${text}`);
      assertFits(describedCalls[name].answer, body);
      assert.match(String(headers['x-receipt-id']), /^[0-9a-f-]{36}$/, name);
    }
  });

  test('every change that needs an agreement is done with one, and not a second time with the same', async () => {
    const key = await generate(owner, signs);
    for (const [operation, members, wanted] of [
      ['rotate', {}, 'rotate_key'],
      ['archive', {}, 'archive_key'],
      ['revoke', { revocation_reason: 'compromised' }, 'revoke_key'],
    ] as const) {
      const approval = await owner.approval(operation, { keyId: key });
      const asked = { body: { ...members, approval_token: approval } };
      const done = await owner.send('POST', `/keys/${key}/${operation}`, asked);
      assert.equal(done.status, 200, done.text);
      assertFits(describedCalls[wanted].answer, done.body);
      // An archived key is archived, whoever asks.
      if (operation !== 'rotate') continue;
      const again = await owner.send('POST', `/keys/${key}/${operation}`, asked);
      assert.equal(again.status, 409, again.text);
    }
  });

  test('a webhook is made, listed without its secret, and deleted, each change with an agreement', async () => {
    const body = { url: 'https://receiver.invalid/hook', event_types: ['trust_anchor_updated'] };
    const bare = await owner.send('POST', '/webhooks', { body });
    assert.deepEqual([bare.status, bare.body.error.code], [403, 'UNAUTHORIZED']);
    const approval = await owner.approval('webhook', { request: { ...here, ...body } });
    const made = await owner.send('POST', '/webhooks', { body, headers: { 'x-approval-token': approval } });
    assert.equal(made.status, 201, made.text);
    assertFits(describedCalls.create_webhook.answer, made.body);
    const listed = await owner.send('GET', '/webhooks');
    assert.ok(!listed.text.includes(made.body.secret));
    assertFits(describedCalls.list_webhooks.answer, listed.body);
    const keyId = made.body.webhook_id;
    const other = tls.client({ ...here, tenant_id: 'tenant456' });
    const path = `/webhooks/${keyId}`;
    const strange = await other.send('DELETE', path, {
      headers: { 'x-approval-token': await other.approval('webhook_remove', { keyId }) },
    });
    assert.equal(strange.status, 404);
    for (const [names, status] of [
      [{ tenant_id: 'tenant456' }, 403],
      [{ plane: 'shared' }, 403],
    ] as const) {
      const approval_token = await owner.approval('webhook_remove', { keyId });
      const elsewhere = await owner.send('DELETE', path, { body: { ...names, approval_token } });
      assert.equal(elsewhere.status, status, elsewhere.text);
    }
    const gone = await owner.send('DELETE', path, {
      headers: { 'x-approval-token': await owner.approval('webhook_remove', { keyId }) },
    });
    assert.equal(gone.status, 200, gone.text);
    assertFits(describedCalls.delete_webhook.answer, gone.body);
  });

  test('a trust anchor is added once however often, and removed with an agreement', async () => {
    const added = await addAnchor(owner);
    assert.deepEqual(
      [added.status, added.body],
      [201, { trust_anchor_id: anchor, anchor_type: 'internal_ca' }],
    );
    const other = tls.client({ ...here, tenant_id: 'tenant456' });
    const own = await addAnchor(other);
    assert.notEqual(own.body.trust_anchor_id, anchor);
    const keyId = own.body.trust_anchor_id;
    const approval = await other.approval('trust_anchor_remove', { keyId });
    const removed = await other.send('DELETE', `/trust-anchors/${keyId}`, {
      body: { approval_token: approval },
    });
    assert.equal(removed.status, 200, removed.text);
    assertFits(describedCalls.remove_trust_anchor.answer, removed.body);
    const third = (await addAnchor(other)).body.trust_anchor_id;
    const byQuery = await other.send('DELETE', `/trust-anchors/${third}?${query(other)}`, {
      headers: { 'x-approval-token': await other.approval('trust_anchor_remove', { keyId: third }) },
    });
    assert.equal(byQuery.status, 200, byQuery.text);
  });

  /** Of a caller, what it names, and what comes of it; none of them is of the key's place. */
  const others: readonly {
    readonly name: string;
    readonly is: Partial<typeof here>;
    readonly names: Partial<typeof here>;
    readonly status: number;
    readonly code: string;
  }[] = [
    {
      name: 'another tenant',
      is: { tenant_id: 'tenant456' },
      names: { tenant_id: 'tenant456' },
      status: 404,
      code: 'KEY_NOT_FOUND',
    },
    {
      name: 'another tenant that names the owner',
      is: { tenant_id: 'tenant456' },
      names: {},
      status: 403,
      code: 'UNAUTHORIZED',
    },
    {
      name: 'another environment',
      is: { environment: 'dev' },
      names: { environment: 'dev' },
      status: 403,
      code: 'UNAUTHORIZED',
    },
    {
      name: 'another environment that names the owner’s',
      is: { environment: 'dev' },
      names: {},
      status: 403,
      code: 'UNAUTHORIZED',
    },
    {
      name: 'another plane',
      is: { plane: 'shared' },
      names: { plane: 'shared' },
      status: 403,
      code: 'UNAUTHORIZED',
    },
    {
      name: 'another plane that names the owner’s',
      is: { plane: 'shared' },
      names: {},
      status: 403,
      code: 'UNAUTHORIZED',
    },
    {
      name: 'the owner that names another tenant',
      is: {},
      names: { tenant_id: 'tenant456' },
      status: 403,
      code: 'UNAUTHORIZED',
    },
    {
      name: 'the owner that names another environment',
      is: {},
      names: { environment: 'dev' },
      status: 403,
      code: 'UNAUTHORIZED',
    },
    {
      name: 'the owner that names another plane',
      is: {},
      names: { plane: 'shared' },
      status: 403,
      code: 'UNAUTHORIZED',
    },
  ];
  const operations = ['sign', 'verify', 'encrypt', 'decrypt', 'read', 'rotate', 'revoke', 'archive'] as const;

  const askAs = async (client: KmsV1Client, operation: (typeof operations)[number], place: typeof here) => {
    const { signing, sealing } = keys;
    const { ciphertext, iv } = sealed;
    const bodies = {
      sign: { key_id: signing, data },
      verify: { key_id: signing, data, signature },
      encrypt: { key_id: sealing, plaintext: data },
      decrypt: { key_id: sealing, ciphertext, iv },
    };
    if (operation === 'read')
      return client.send('GET', `/keys/${signing}?${new URLSearchParams({ ...place })}`);
    if (operation in bodies)
      return client.send('POST', `/${operation}`, { body: { ...bodies[operation as 'sign'], ...place } });
    const reason = operation === 'revoke' ? { revocation_reason: 'retired' } : {};
    return change(client, signing, operation as 'rotate', { ...place, ...reason });
  };

  for (const { name, is, names, status, code } of others) {
    test(`${name} has no use of a key: ${status} ${code} for each operation`, async () => {
      const client = tls.client({ ...here, ...is });
      for (const operation of operations) {
        const answer = await askAs(client, operation, { ...here, ...names });
        assert.deepEqual(
          [answer.status, answer.body?.error?.code],
          [status, code],
          `${operation}: ${answer.text}`,
        );
      }
    });
  }

  for (const names of [{ tenant_id: 'tenant456' }, { environment: 'dev' }, { plane: 'shared' }])
    test(`nothing is made or listed elsewhere by naming ${Object.values(names)}`, async () => {
      const elsewhere = { ...here, ...names };
      const approval = await owner.approval('generate', { request: { ...elsewhere, ...signs } });
      const headers = { 'x-approval-token': approval };
      const place = new URLSearchParams({ ...elsewhere });
      for (const answer of [
        await owner.send('POST', '/keys', { body: { ...signs, ...names }, headers }),
        await owner.send('GET', `/keys?${place}`),
        await owner.send('GET', `/trust-anchors?${place}`),
        await owner.send('GET', `/certificates?${place}`),
      ])
        assert.deepEqual([answer.status, answer.body.error.code], [403, 'UNAUTHORIZED'], answer.text);
    });

  test('what others ask for, they see nothing of: no key, no receipt, no anchor', async () => {
    const receipt = String(
      (await owner.send('POST', '/sign', { body: { key_id: keys.signing, data } })).headers['x-receipt-id'],
    );
    for (const is of [{ tenant_id: 'tenant456' }, { environment: 'dev' }, { plane: 'shared' }]) {
      const client = tls.client({ ...here, ...is });
      const listed = await client.send('GET', `/keys?${query(client)}`);
      assert.ok(!listed.text.includes(keys.signing));
      assert.equal((await client.send('GET', `/receipts/${receipt}`)).status, 404);
      assert.ok(!(await client.send('GET', '/receipts?limit=200')).text.includes(receipt));
      const anchors = await client.send('GET', `/trust-anchors?${query(client)}`);
      assert.ok(!anchors.text.includes(anchor), anchors.text);
    }
    assert.equal((await owner.send('GET', `/receipts/${receipt}`)).body.receipt_id, receipt);
  });

  test('a certificate that names nobody, and one of another mapping, is 401 in the envelope', async () => {
    const nobody = makeCertificate({
      subject: [['CN', 'x']],
      issuer: testPki.authority,
      uris: ['spiffe://kms.test/x'],
    });
    for (const certificate of [nobody, testPki.client]) {
      const { status, body, headers } = await tls
        .stranger(certificate)
        .send('POST', '/sign', { body: { key_id: keys.signing, data } });
      assert.deepEqual([status, body.error.code], [401, 'UNAUTHENTICATED']);
      assertFits(errorEnvelope, body);
      assert.match(String(headers['x-trace-id']), /^[0-9a-f]{32}$/);
      assert.equal(headers['x-receipt-id'], undefined);
      assert.match(String(headers['www-authenticate']), /^Bearer/);
    }
  });

  test('a header that claims a certificate is nothing outside of development', async () => {
    const { status } = await tls.stranger(testPki.client).send('POST', '/sign', {
      body: { key_id: keys.signing, data },
      headers: { 'x-client-certificate': 'mock' },
    });
    assert.equal(status, 401);
  });

  test('without a certificate there is no connection', async () => {
    await assert.rejects(tls.stranger().send('GET', '/health'));
  });

  test('a forged JSON Web Token is 401 beside a certificate that holds', async () => {
    const forged = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{"sub":"x"}').toString('base64url')}.`;
    const { status, body } = await owner.send('POST', '/sign', {
      ...{ body: { key_id: keys.signing, data }, headers: { authorization: `Bearer ${forged}` } },
    });
    assert.deepEqual([status, body.error.code], [401, 'UNAUTHENTICATED']);
  });

  for (const [name, claims, status] of [
    ['that agrees', {}, 200],
    ['of another tenant', { tenant_id: 'tenant456' }, 401],
    ['of another environment', { environment: 'dev' }, 401],
    ['of another plane', { plane: 'shared' }, 401],
    ['of another module', { module: 'other' }, 401],
    ['whose scope is not to sign', { scope: 'kms:verify' }, 403],
  ] as const)
    test(`a JSON Web Token ${name} is ${status} beside a certificate`, async () => {
      const authorization = `Bearer ${await jsonWebToken(claims)}`;
      const asked = { body: { key_id: keys.signing, data }, headers: { authorization } };
      assert.equal((await owner.send('POST', '/sign', asked)).status, status);
    });

  test('a JSON Web Token by another key is 401', async () => {
    const other = generateKeyPairSync('ed25519').privateKey;
    const authorization = `Bearer ${await jsonWebToken({}, other)}`;
    const { status, body } = await owner.send('POST', '/sign', {
      ...{ body: { key_id: keys.signing, data }, headers: { authorization } },
    });
    assert.deepEqual([status, body.error.code], [401, 'UNAUTHENTICATED']);
  });

  test('a signature beside a rotation is by the key that its answer names', async () => {
    const first = await generate(owner, signs);
    const sign = () => owner.send('POST', '/sign', { body: { key_id: first, data } });
    const [rotated, ...signed] = await Promise.all([
      change(owner, first, 'rotate'),
      ...Array.from({ length: 20 }, sign),
    ]);
    assert.equal(rotated.status, 200);
    for (const { status, body } of signed) {
      if (status === 409) assert.equal(body.error.code, 'KEY_INACTIVE');
      else {
        assert.deepEqual([status, body.key_id], [200, first]);
        const verified = await owner.send('POST', '/verify', {
          body: { key_id: first, data, signature: body.signature },
        });
        assert.equal(verified.body.valid, true);
      }
    }
  });

  test('a capability of another tenant is 401 beside a certificate', async () => {
    const token = await tls.service.mint('tenant456');
    const { status, body } = await owner.send('POST', '/sign', {
      ...{ body: { key_id: keys.signing, data }, headers: { authorization: `Bearer ${token}` } },
    });
    assert.deepEqual([status, body.error.code], [401, 'UNAUTHENTICATED']);
  });

  test('an agreement serves for its own change alone', async () => {
    const [one, two] = [await generate(owner, signs), await generate(owner, signs)];
    for (const [operation, of] of [
      ['rotate', { keyId: two }],
      ['archive', { keyId: one }],
      ['rotate', { request: { ...here } }],
    ] as const) {
      const approval = await owner.approval(operation, of);
      const { status, body } = await owner.send('POST', `/keys/${one}/rotate`, {
        ...{ body: {}, headers: { 'x-approval-token': approval } },
      });
      assert.deepEqual([status, body.error.code], [403, 'UNAUTHORIZED']);
    }
    const other = tls.client({ ...here, tenant_id: 'tenant456' });
    const foreign = await other.approval('rotate', { keyId: one });
    assert.equal(
      (await owner.send('POST', `/keys/${one}/rotate`, { body: { approval_token: foreign } })).status,
      403,
    );
    const generating = await owner.approval('generate', { request: { ...here, ...signs, key_alias: 'a' } });
    const { status } = await owner.send('POST', '/keys', {
      body: { ...signs, key_alias: 'b', approval_token: generating },
    });
    assert.equal(status, 403);
  });

  test('a module that the key’s access names may use it, and another one is POLICY_VIOLATION', async () => {
    const key_id = await generate(owner, { ...signs, access_policy: { allowed_modules: ['billing'] } });
    const refused = await owner.send('POST', '/sign', { body: { key_id, data } });
    assert.deepEqual([refused.status, refused.body.error.code], [403, 'POLICY_VIOLATION']);
    const billing = tls.client(here, 'billing');
    assert.equal((await billing.send('POST', '/sign', { body: { key_id, data } })).status, 200);
  });

  test('a key whose access asks for an agreement is used with one', async () => {
    const key_id = await generate(owner, { ...signs, access_policy: { requires_approval: true } });
    const refused = await owner.send('POST', '/sign', { body: { key_id, data } });
    assert.deepEqual([refused.status, refused.body.error.code], [403, 'UNAUTHORIZED']);
    const approval_token = await owner.approval('sign', { keyId: key_id });
    const signed = await owner.send('POST', '/sign', { body: { key_id, data, approval_token } });
    assert.equal(signed.status, 200, signed.text);
  });

  test('a use that the key was not made for is POLICY_VIOLATION', async () => {
    const key_id = await generate(owner, { ...signs, key_usage: 'sign' });
    const { status, body } = await owner.send('POST', '/verify', { body: { key_id, data, signature } });
    assert.deepEqual([status, body.error.code], [403, 'POLICY_VIOLATION']);
  });

  test('a limit of uses a day is kept by sixteen callers at once, and what is beyond is 429', async () => {
    const key_id = await generate(owner, { ...signs, access_policy: { max_usage_per_day: 20 } });
    const clients = Array.from({ length: 16 }, () => tls.client(here));
    const answers = await Promise.all(
      clients.flatMap((client, n) =>
        [0, 1].map(() =>
          client.send('POST', '/sign', { body: { key_id, data }, headers: { 'x-client-id': String(n) } }),
        ),
      ),
    );
    const done = answers.filter(({ status }) => status === 200).length;
    assert.equal(done, 20);
    const refused = answers.filter(({ status }) => status !== 200);
    for (const { status, body, headers } of refused) {
      assert.deepEqual([status, body.error.code, body.error.retryable], [429, 'RATE_LIMITED', true]);
      assert.ok(Number(headers['retry-after']) > 0);
      assert.match(String(headers['x-trace-id']), /^[0-9a-f]{32}$/);
    }
    const verified = await owner.send('POST', '/verify', { body: { key_id, data, signature } });
    assert.equal(verified.status, 200);
  });

  test('an alias is one key’s in its place, and free in another', async () => {
    const wanted = { ...signs, key_alias: `alias-${randomUUID()}` };
    await generate(owner, wanted);
    const approval_token = await owner.approval('generate', { request: { ...here, ...wanted } });
    const taken = await owner.send('POST', '/keys', { body: { ...wanted, approval_token } });
    assert.equal(taken.status, 409);
    await generate(tls.client({ ...here, plane: 'shared' }), wanted);
  });

  test('an op_id makes one key, however often it is sent', async () => {
    const wanted = { ...signs, op_id: randomUUID() };
    assert.equal(await generate(owner, wanted), await generate(owner, wanted));
  });
});
