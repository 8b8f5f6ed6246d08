import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { intaglioDialect } from '../../../src/http/dialects/intaglio/index.ts';
import { dialectContract } from '../../contracts/dialect.ts';
import { codeOf, unwrap } from '../../support/keyring.ts';
import { openOperations, payloadBlake3 } from '../../support/operations.ts';

const { operations } = openOperations({ after });
const dialect = intaglioDialect(operations, { batchMaxItems: 2 });
const kid = 'acme/web/ed25519/01234567-89ab-4def-8123-456789abcdef';

dialectContract('intaglio', dialect, {
  routes: [
    ...(['sign', 'verify', 'sign/batch', 'verify/batch', 'mac', 'mac/verify'] as const).map(
      (path) => ['post', `/v1/kms/${path}`] as const,
    ),
    ['post', '/v1/kms/keys'],
    ['get', '/v1/kms/keys'],
    ['get', `/v1/kms/keys/${kid}`],
    ['post', `/v1/kms/keys/${encodeURIComponent(kid)}/rotate`],
    ['post', `/v1/kms/keys/${kid}/destroy`],
    ['get', '/v1/kms/audit/tile/0/000'],
    ['get', '/v1/kms/audit/checkpoint'],
  ],
  pieces: ['/v1', '/kms', '/v1/kms', '/keys', '/sign', '/batch', '/audit', '/tile', '/rotate', '/destroy'],
});

function parse(method: string, path: string, body: unknown, query = '') {
  const { endpoint, named } = unwrap(dialect.find(method, `/v1/kms${path}`));
  const text = body === undefined ? '' : JSON.stringify(body);
  return endpoint.parse({ named, query, body: Buffer.from(text) });
}

test('a sign request names its keys in one of three ways', () => {
  const typed = { input: payloadBlake3, alg: undefined, mode: undefined, opId: undefined, receipts: false };
  for (const [given, kids] of [
    [{ kid: 'a' }, ['a']],
    [{ kid_set: ['a', 'b'] }, ['a', 'b']],
    [{ kid_or_set: 'a' }, ['a']],
    [{ kid_or_set: ['a', 'b'] }, ['a', 'b']],
  ] as const) {
    const request = parse('post', '/sign', { ...given, payload_b3: payloadBlake3, policy: null });
    assert.deepEqual(unwrap(request), { kids, ...typed });
  }
  for (const given of [{}, { kid: 'a', kid_set: ['a'] }, { kid_set: ['a'], kid_or_set: 'a' }]) {
    assert.equal(codeOf(parse('post', '/sign', { ...given, payload_b3: payloadBlake3 })), 'BadRequest');
  }
});

test('base64 is bytes from here on, in its canonical form only', () => {
  const sig = { kid: 'a', signature_b64: 'AQID' };
  assert.deepEqual(unwrap(parse('post', '/verify', { payload_b3: payloadBlake3, sigs: [sig] })), {
    ...{ input: payloadBlake3, mode: undefined, window: undefined },
    signatures: [{ kid: 'a', alg: undefined, signature: Buffer.from([1, 2, 3]) }],
  });
  const mac = { kid: 'a', message_b64: '', mac_b64: 'AQID' };
  assert.deepEqual(unwrap(parse('post', '/mac/verify', mac)), {
    ...{ kid: 'a', message: Buffer.alloc(0), tag: Buffer.from([1, 2, 3]) },
  });
  for (const bad of ['AQI', 'AQ==x', 'AQI-', 'AR==']) {
    const bodies = { payload_b3: payloadBlake3, sigs: [sig, { ...sig, signature_b64: bad }] };
    const request = parse('post', '/verify', bodies);
    assert.ok(!request.ok && request.failure.hint === 'sigs.1.signature_b64 is not base64', bad);
    assert.equal(codeOf(parse('post', '/mac', { kid: 'a', message_b64: bad })), 'BadRequest');
  }
});

test('items of a batch are read when they are asked for, each by itself', () => {
  const items = [{ kid: 'a', payload_b3: payloadBlake3 }, { kid: 1 }];
  const batch = unwrap(parse('post', '/sign/batch', { items })) as { items(): { ok: boolean }[] };
  assert.deepEqual(
    batch.items().map(({ ok }) => ok),
    [true, false],
  );
  assert.equal(codeOf(parse('post', '/sign/batch', { items: [...items, ...items] })), 'BadRequest');
});

test('a change names its key in the path and may do without a body', () => {
  const rotate = parse('post', `/keys/${encodeURIComponent(kid)}/rotate`, undefined);
  assert.deepEqual(unwrap(rotate), { kid, name: undefined });
  const id = '01234567-89ab-4def-8123-456789abcdef';
  assert.deepEqual(unwrap(parse('post', `/keys/${kid}/destroy`, { version: 2, op_id: id })), {
    ...{ kid, version: 2, name: { id, spelled: { version: 2 } } },
  });
});

test('the error envelope has the published code, and the hint of the failure, of its route or of its kind', () => {
  const facts = { requestId: 'the-id', ts: '2026-01-01T00:00:00.000Z' };
  const errorOf = (...args: Parameters<typeof dialect.presentFailure>) => dialect.presentFailure(...args);
  assert.deepEqual(errorOf({ code: 'Unauthenticated' }, { ...facts, hint: undefined }), {
    status: 401,
    challenge: 'Bearer realm="intaglio"',
    body: {
      error: {
        code: 'NoCapability',
        message: 'a valid capability is required',
        retryable: false,
        hint: 'send Authorization: Bearer <capability>',
        ts: facts.ts,
        request_id: 'the-id',
      },
    },
  });
  const hintOf = (hint: string | undefined, ofRoute: string | undefined) => {
    const failure = hint === undefined ? { code: 'NotFound' as const } : { code: 'NotFound' as const, hint };
    return (errorOf(failure, { ...facts, hint: ofRoute }).body as { error: { hint: string } }).error.hint;
  };
  assert.equal(hintOf('own', 'of the route'), 'own');
  assert.equal(hintOf(undefined, 'of the route'), 'of the route');
  assert.equal(hintOf(undefined, undefined), 'check the kid, and the tenant of the capability');
});
