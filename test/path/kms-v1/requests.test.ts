import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { errorEnvelope } from '../../../src/http/dialects/kms-v1/answers.ts';
import { developmentApproval, developmentMode } from '../../support/development-mode.ts';
import { startInProcess } from '../../support/in-process.ts';
import { developmentClient, generate, type KmsV1Answer, type KmsV1Client } from '../../support/kms-v1.ts';
import { assertFits } from '../../support/kms-v1-dialect.ts';
import { testPki } from '../../support/listener-kinds.ts';

const data = Buffer.from('Hello, World!').toString('base64');
const nobodys = '0b1e7d7e-6f57-4e0a-9d63-0a7f4f5d2c11';
const kib64 = Buffer.alloc(64 * 1024 + 1).toString('base64');
const pem = testPki.authority.cert;
const agreed = { 'x-approval-token': developmentApproval };

/** In bodies and paths these words stand for keys that are there. */
const keyTypes = { rsa: 'RSA-2048', ed: 'Ed25519', aes: 'AES-256', chacha: 'chacha20-poly1305' } as const;
type KeyName = keyof typeof keyTypes;

interface Refused {
  readonly name: string;
  readonly method?: string;
  readonly path: string;
  readonly body?: Readonly<Record<string, unknown>> | string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly status: number;
  readonly code: string;
}

const place = (body: Record<string, unknown>) => ({
  tenant_id: undefined,
  environment: undefined,
  plane: undefined,
  ...body,
});

const invalid = (name: string, path: string, body: Refused['body'], status = 422): Refused => ({
  ...{ name, path, status, code: 'INVALID_REQUEST' },
  ...(body === undefined ? undefined : { body }),
});

const usage = { key_usage: ['sign', 'verify'] };
const ed = { key_type: 'Ed25519', ...usage };
const generating = (name: string, body: Refused['body'], status = 422): Refused => ({
  ...invalid(`generate: ${name}`, '/keys', body, status),
  headers: agreed,
});

const refused: readonly Refused[] = [
  generating('a use that there is not', { ...ed, key_usage: ['fly'] }),
  generating('no use at all', { ...ed, key_usage: [] }),
  generating('a use twice', { ...ed, key_usage: ['sign', 'sign'] }),
  generating('a member that nobody knows', { ...ed, exportable: true }),
  generating('no type', { ...usage }),
  generating('a number as type', { ...ed, key_type: 25519 }),
  generating('a type that there is not', { ...ed, key_type: 'DES' }, 400),
  generating('uses that are not of its type', { key_type: 'AES-256', key_usage: ['sign'] }, 400),
  generating('uses of two kinds', { ...ed, key_usage: ['sign', 'encrypt'] }, 400),
  generating('an alias with a blank', { ...ed, key_alias: 'a b' }, 400),
  generating('an alias that is too long', { ...ed, key_alias: 'a'.repeat(129) }),
  generating('an end that is past', { ...ed, valid_until: '2020-01-01T00:00:00Z' }, 400),
  generating('an end that is no time', { ...ed, valid_until: 'tomorrow' }),
  generating('a day that its month has not', { ...ed, valid_until: '2027-02-30T00:00:00Z' }, 400),
  generating('an end with an offset', { ...ed, valid_until: '2030-01-01T00:00:00+01:00' }),
  generating('an access policy of another shape', { ...ed, access_policy: { owner: 'me' } }),
  generating('no use a day', { ...ed, access_policy: { max_usage_per_day: 0 } }),
  generating('no module', { ...ed, access_policy: { allowed_modules: [] } }),
  generating('an op_id that is no UUID', { ...ed, op_id: '1' }),
  generating(
    'an environment that there is not',
    place({ ...ed, tenant_id: 'mock-tenant', environment: 'production', plane: 'laptop' }),
  ),
  generating(
    'a plane that there is not',
    place({ ...ed, tenant_id: 'mock-tenant', environment: 'dev', plane: 'moon' }),
  ),
  generating('no place', place({ ...ed })),
  generating('no tenant', place({ ...ed, environment: 'dev', plane: 'laptop' })),
  generating('a list', '[]'),
  generating('a text', '"key"'),
  generating('no JSON', '{', 400),
  generating('nothing', '', 400),
  generating('a member twice', '{"tenant_id":"a","tenant_id":"b"}'),
  { ...generating('two agreements that differ', { ...ed, approval_token: 'other' }, 400) },
  { ...generating('no agreement', ed, 403), headers: {}, code: 'UNAUTHORIZED' },
  {
    ...generating('an agreement that nobody gave', ed, 403),
    headers: { 'x-approval-token': 'x' },
    code: 'UNAUTHORIZED',
  },
  invalid('sign: base64 without padding', '/sign', { key_id: 'ed', data: 'SGk' }, 400),
  invalid('sign: base64 of the URL alphabet', '/sign', { key_id: 'ed', data: '_-8=' }, 400),
  invalid('sign: base64 with a line feed', '/sign', { key_id: 'ed', data: 'SGVs\nbG8=' }, 400),
  invalid('sign: base64 whose last bits are set', '/sign', { key_id: 'ed', data: 'SGl=' }, 400),
  invalid('sign: no data', '/sign', { key_id: 'ed' }),
  invalid('sign: data that is no text', '/sign', { key_id: 'ed', data: 1 }),
  invalid('sign: a member that nobody knows', '/sign', { key_id: 'ed', data, hash: 'sha1' }),
  invalid('sign: data of more than 64 KiB', '/sign', { key_id: 'ed', data: kib64 }, 413),
  invalid(
    'sign: an algorithm of another key',
    '/sign',
    { key_id: 'ed', data, algorithm: 'RSA-PSS-SHA256' },
    400,
  ),
  invalid(
    'sign: an algorithm that there is not',
    '/sign',
    { key_id: 'rsa', data, algorithm: 'MD5-RSA' },
    400,
  ),
  { ...invalid('sign: by a key that only encrypts', '/sign', { key_id: 'aes', data }, 400) },
  invalid('verify: no signature', '/verify', { key_id: 'ed', data }),
  invalid('verify: a signature that is no base64', '/verify', { key_id: 'ed', data, signature: '***' }, 400),
  invalid(
    'verify: an algorithm of another key',
    '/verify',
    { key_id: 'rsa', data, signature: data, algorithm: 'EdDSA' },
    400,
  ),
  invalid('encrypt: by a key that only signs', '/encrypt', { key_id: 'ed', plaintext: data }, 400),
  invalid(
    'encrypt: an algorithm of another key',
    '/encrypt',
    { key_id: 'aes', plaintext: data, algorithm: 'CHACHA20-POLY1305' },
    400,
  ),
  invalid('encrypt: aad that is no base64', '/encrypt', { key_id: 'aes', plaintext: data, aad: '*' }, 400),
  invalid('encrypt: an iv of the caller’s choice', '/encrypt', {
    key_id: 'aes',
    plaintext: data,
    iv: 'MTIzNDU2Nzg5MDEy',
  }),
  invalid('encrypt: more than 64 KiB', '/encrypt', { key_id: 'aes', plaintext: kib64 }, 413),
  invalid(
    'decrypt: what does not decrypt',
    '/decrypt',
    { key_id: 'aes', ciphertext: 'A'.repeat(44), iv: 'MTIzNDU2Nzg5MDEy' },
    400,
  ),
  invalid(
    'decrypt: an iv that is too short',
    '/decrypt',
    { key_id: 'aes', ciphertext: 'A'.repeat(44), iv: 'MTIz' },
    400,
  ),
  invalid(
    'decrypt: a ciphertext without room for its tag',
    '/decrypt',
    { key_id: 'aes', ciphertext: 'AAAA', iv: 'MTIzNDU2Nzg5MDEy' },
    400,
  ),
  invalid('decrypt: no iv', '/decrypt', { key_id: 'aes', ciphertext: 'A'.repeat(44) }),
  { ...invalid('rotate: a member that nobody knows', '/keys/ed/rotate', { force: true }), headers: agreed },
  { ...invalid('rotate: no agreement', '/keys/ed/rotate', {}, 403), code: 'UNAUTHORIZED' },
  { ...invalid('archive: no agreement', '/keys/ed/archive', {}, 403), code: 'UNAUTHORIZED' },
  {
    ...invalid('revoke: no agreement', '/keys/ed/revoke', { revocation_reason: 'retired' }, 403),
    code: 'UNAUTHORIZED',
  },
  { ...invalid('revoke: no reason', '/keys/ed/revoke', {}), headers: agreed },
  {
    ...invalid('revoke: a reason that there is not', '/keys/ed/revoke', { revocation_reason: 'bored' }),
    headers: agreed,
  },
  ...['/sign', '/verify', '/encrypt', '/decrypt'].map((path) => ({
    ...{ name: `${path} by a key that there is not`, path, status: 404, code: 'KEY_NOT_FOUND' },
    body: {
      key_id: nobodys,
      ...(path === '/encrypt'
        ? { plaintext: data }
        : path === '/decrypt'
          ? { ciphertext: 'A'.repeat(44), iv: 'MTIzNDU2Nzg5MDEy' }
          : { data }),
      ...(path === '/verify' ? { signature: data } : undefined),
    },
  })),
  {
    ...invalid('sign: by a name that is no UUID', '/sign', { key_id: 'key-123', data }, 404),
    code: 'KEY_NOT_FOUND',
  },
  ...['rotate', 'archive', 'revoke'].map((action) => ({
    ...{ name: `${action} of a key that there is not`, path: `/keys/${nobodys}/${action}`, headers: agreed },
    body: action === 'revoke' ? { revocation_reason: 'retired' } : {},
    ...{ status: 404, code: 'KEY_NOT_FOUND' },
  })),
  { ...invalid('read: no place', '/keys/ed', undefined), method: 'GET' },
  {
    ...invalid(
      'read: a parameter that nobody knows',
      '/keys/ed?tenant_id=mock-tenant&environment=dev&plane=laptop&secret=1',
      undefined,
    ),
    method: 'GET',
  },
  {
    ...invalid(
      'list: a limit of none',
      '/keys?tenant_id=mock-tenant&environment=dev&plane=laptop&limit=0',
      undefined,
    ),
    method: 'GET',
  },
  {
    ...invalid(
      'list: a state that there is not',
      '/keys?tenant_id=mock-tenant&environment=dev&plane=laptop&key_state=lost',
      undefined,
    ),
    method: 'GET',
  },
  {
    ...invalid(
      'list: a cursor of nothing',
      '/keys?tenant_id=mock-tenant&environment=dev&plane=laptop&cursor=x',
      undefined,
      400,
    ),
    method: 'GET',
  },
  { ...invalid('a query beside a body', '/sign?x=1', { key_id: 'ed', data }, 400) },
  {
    ...invalid(
      'trust anchor: no agreement',
      '/trust-anchors',
      { certificate: pem, anchor_type: 'root' },
      403,
    ),
    code: 'UNAUTHORIZED',
  },
  {
    ...invalid('trust anchor: garbage', '/trust-anchors', { certificate: 'AAAA', anchor_type: 'root' }, 400),
    headers: agreed,
  },
  {
    ...invalid('trust anchor: no base64', '/trust-anchors', { certificate: '*', anchor_type: 'root' }, 400),
    headers: agreed,
  },
  {
    ...invalid('trust anchor: a type that there is not', '/trust-anchors', {
      certificate: 'AAAA',
      anchor_type: 'leaf',
    }),
    headers: agreed,
  },
  {
    ...invalid(
      'trust anchor that there is not',
      `/trust-anchors/${nobodys}?tenant_id=mock-tenant&environment=dev&plane=laptop`,
      undefined,
      404,
    ),
    method: 'GET',
    code: 'KEY_NOT_FOUND',
  },
  {
    ...invalid('certificate: garbage', '/certificates', { csr: 'AAAA', anchor_id: nobodys }, 404),
    headers: agreed,
    code: 'KEY_NOT_FOUND',
  },
  { ...invalid('validate: no chain', '/trust-anchors/validate', { chain: [] }) },
  {
    ...invalid('receipt that there is not', `/receipts/${nobodys}`, undefined, 404),
    method: 'GET',
    code: 'KEY_NOT_FOUND',
  },
  { ...invalid('receipts: a parameter that nobody knows', '/receipts?tenant=x', undefined), method: 'GET' },
  { ...invalid('receipts: a limit beyond all', '/receipts?limit=201', undefined), method: 'GET' },
  { ...invalid('events: a type that there is not', '/events?types=key_lost', undefined), method: 'GET' },
  invalid('a path that there is not', '/nothing', {}, 404),
  invalid('a path in another case', '/Sign', { key_id: 'ed', data }, 404),
  invalid('an action that there is not', '/keys/ed/export', {}, 404),
  { ...invalid('a method that there is not', '/sign', undefined, 405), method: 'GET' },
  { ...invalid('a method that there is not for a key', '/keys/ed', undefined, 405), method: 'DELETE' },
  { ...invalid('a probe that is posted', '/health', {}, 405) },
  {
    ...invalid('a body that is compressed', '/sign', { key_id: 'ed', data }, 415),
    headers: { 'content-encoding': 'gzip' },
  },
];

describe('requests that are refused', () => {
  let service: Awaited<ReturnType<typeof startInProcess>>;
  let client: KmsV1Client;
  const keys = {} as Record<KeyName, string>;

  before(async () => {
    service = await startInProcess({ env: developmentMode });
    client = developmentClient(service);
    for (const [name, key_type] of Object.entries(keyTypes)) {
      const key_usage = name === 'aes' || name === 'chacha' ? ['encrypt', 'decrypt'] : ['sign', 'verify'];
      keys[name as KeyName] = await generate(client, { key_type, key_usage });
    }
  });
  after(() => service.stop());

  const send = ({ method = 'POST', path, body, headers = {} }: Refused): Promise<KmsV1Answer> => {
    const named = (text: string) => keys[text as KeyName] ?? text;
    const given =
      typeof body === 'object' && typeof body.key_id === 'string'
        ? { ...body, key_id: named(body.key_id) }
        : body;
    const at = path.replace(/^\/keys\/(\w+)(?=[/?]|$)/, (_, name: string) => `/keys/${named(name)}`);
    return client.send(method, at, { ...(given === undefined ? undefined : { body: given }), headers });
  };

  for (const each of refused) {
    test(`${each.name}: ${each.status} ${each.code}`, async () => {
      const { status, body, text, headers } = await send(each);
      assert.equal(status, each.status, text);
      assert.equal(body.error.code, each.code);
      assertFits(errorEnvelope, body);
      assert.match(String(headers['x-trace-id']), /^[0-9a-f]{32}$/);
      assert.match(String(headers['x-span-id']), /^[0-9a-f]{16}$/);
      assert.equal(headers['x-request-id'], body.error.details.request_id);
      if (status === 405) assert.ok(String(headers.allow).length > 0);
    });
  }

  test('a refusal repeats nothing of what was sent', async () => {
    for (const body of [
      { ...ed, kanarienvogel: 'kanarienvogel' },
      { ...ed, key_type: 'kanarienvogel' },
      { ...ed, approval_token: 'kanarienvogel' },
    ]) {
      const { text } = await client.send('POST', '/keys', { body });
      assert.ok(!text.includes('kanarienvogel'), text);
    }
    assert.ok(!service.log.join('\n').includes('kanarienvogel'));
  });

  test('a body beyond the limit is 413 before it is read', async () => {
    const { status, body } = await client.send('POST', '/sign', {
      body: { key_id: keys.ed, data },
      headers: { 'content-length': String(2 ** 21) },
    });
    assert.deepEqual([status, body.error.code], [413, 'INVALID_REQUEST']);
  });

  test('a key of another shape of name is the same key', async () => {
    const { status } = await client.send('POST', '/sign', { body: { key_id: keys.ed.toUpperCase(), data } });
    assert.equal(status, 200);
  });

  test('a refused change changes nothing', async () => {
    const query = new URLSearchParams({ ...client.place });
    for (const key of [keys.ed, keys.rsa]) {
      const { body } = await client.send('GET', `/keys/${key}?${query}`);
      assert.deepEqual([body.key_state, body.rotation_count], ['active', 0]);
    }
  });

  test('the metrics count every refusal by its code, those of 400 and 404 too', async () => {
    const { text } = await client.send('GET', '/metrics');
    for (const code of ['INVALID_REQUEST', 'UNAUTHORIZED', 'KEY_NOT_FOUND'])
      assert.match(text, new RegExp(`^kms_request_errors_total\\{error_code="${code}"\\} [1-9]`, 'm'));
    assert.match(text, /^kms_requests_total\{operation="generate_key",status="error"\} [1-9]/m);
    assert.match(text, /^kms_requests_total\{operation="none",status="error"\} [1-9]/m);
  });

  test('KMS_M33_DETAIL_WRAP nests the envelope under detail', async () => {
    service.reload({ KMS_M33_DETAIL_WRAP: 'true' });
    const { status, body } = await client.send('POST', '/sign', { body: { key_id: nobodys, data } });
    assert.equal(status, 404);
    assert.deepEqual(Object.keys(body), ['detail']);
    assert.equal(body.detail.error.code, 'KEY_NOT_FOUND');
    service.reload({ KMS_M33_DETAIL_WRAP: 'false' });
  });
});
