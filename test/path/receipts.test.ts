import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { verifyReceipt } from '../../src/client/receipts.ts';
import { ok, refuse } from '../../src/core/result.ts';
import type { AnyEndpoint, Dialect } from '../../src/http/dialect.ts';
import { createEndpoint } from '../../src/http/dialects/intaglio/keys.ts';
import { signEndpoint, verifyEndpoint } from '../../src/http/dialects/intaglio/signatures.ts';
import type { Operations } from '../../src/operations/operations.ts';
import type { ListReceiptsRequest } from '../../src/operations/receipts/read-receipts.ts';
import { intaglio } from '../cli/intaglio.ts';
import { developmentMode } from '../support/development-mode.ts';
import { startInProcess } from '../support/in-process.ts';
import { placedCredentials } from '../support/kms-v1.ts';
import { call, helloWorldB3, type InProcessService, temporaryDirectory } from '../support/service.ts';

const keyId = '11111111-2222-4333-8444-555555555555';
const facts = { environment: 'prod', plane: 'laptop', keyId };

/** Signatures and reads of keys with receipts, and the receipts themselves. */
function receiptedDialect(operations: Operations): Dialect {
  const json = (bytes: Uint8Array) => JSON.parse(Buffer.from(bytes).toString() || '{}');
  const { sign, verify, create, receipts } = operations;
  const endpoints: Readonly<Record<string, AnyEndpoint>> = {
    sign: { ...signEndpoint(operations), operation: { ...sign, receipt: () => facts } },
    verify: { ...verifyEndpoint(operations), operation: { ...verify, receipt: () => facts } },
    create: {
      ...createEndpoint(operations),
      operation: {
        ...create,
        receipt: (request, _, made) => ({
          ...facts,
          plane: 'shared',
          alg: request?.alg,
          keyId: made && keyId,
        }),
      },
    },
    receipt: {
      operation: receipts.read,
      parse: ({ body }) => ok({ receiptId: json(body).id }),
      present: (body) => ({ status: 200, body }),
    },
    receipts: {
      operation: receipts.list,
      parse: ({ body }) => ok(json(body) as ListReceiptsRequest),
      present: (body) => ({ status: 200, body }),
    },
  };
  return {
    owns: (path) => path.startsWith('/receipted/'),
    credentials: placedCredentials,
    find(_method, path) {
      const endpoint = endpoints[path.slice('/receipted/'.length)];
      return endpoint === undefined ? refuse('NotFound') : ok({ endpoint, named: undefined });
    },
    presentFailure: (failure) => ({ status: 400, body: { code: failure.code } }),
  };
}

const dataDir = temporaryDirectory();
let service: InProcessService;
let [token, other, reader] = ['', '', ''];
let keys: string[] = [];
let kid = '';

const start = () =>
  startInProcess({
    ...{ dataDir, env: developmentMode },
    dialects: (operations) => [receiptedDialect(operations)],
  });

before(async () => {
  service = await start();
  token = await service.mint('acme');
  other = await service.mint('globex');
  reader = await service.mint('acme', 'kms:read');
  kid = (await ask('create', { purpose: 'p', alg: 'ed25519' })).body.kid;
  const auditor = await service.mint('acme', 'kms:audit');
  keys = (await call(service, auditor, 'GET', '/v1/kms/audit/vkeys')).body.vkeys;
});

const ask = (what: string, body: unknown, by: string | undefined = token) =>
  call(service, by, 'POST', `/receipted/${what}`, body);

const sign = () => ask('sign', { kid, payload_b3: helloWorldB3 });

/** The receipt that an answer names, as its caller reads it. */
async function receiptOf(answer: { readonly headers: Headers }, by = token) {
  const id = answer.headers.get('x-receipt-id');
  assert.ok(id, 'the answer names a receipt');
  const found = await ask('receipt', { id }, by);
  assert.equal(found.status, 200, JSON.stringify(found.body));
  assert.equal(found.body.receipt_id, id);
  return found.body;
}

test('a signature has a receipt made from its one record, and it verifies offline', async () => {
  const signed = await sign();
  assert.equal(signed.status, 200);
  const { receipt_id, ts, signature, audit, ...receipt } = await receiptOf(signed);
  assert.deepEqual(receipt, {
    ...{ tenant_id: 'acme', environment: 'prod', plane: 'laptop', module: 'M33', operation: 'sign' },
    requesting_module: receipt.requesting_module,
    kms_context: {
      ...{ key_id: keyId, operation_type: 'cryptographic', algorithm: 'ed25519', key_size_bits: 256 },
      ...{ success: true, error_code: null },
    },
  });
  const auditor = await service.mint('acme', 'kms:audit');
  const path = `/v1/kms/audit/records?from=${audit.index}&limit=2`;
  const [{ index, record }, next] = (await call(service, auditor, 'GET', path)).body.records;
  assert.equal(index, audit.index);
  assert.equal(record.key_id, kid.split('#')[0]);
  assert.deepEqual(record.data, {
    ...{ environment: 'prod', plane: 'laptop', key_id: keyId },
    module: receipt.requesting_module,
  });
  assert.equal(next.record.purpose, 'receipt_read', 'the signature has no other record');
  const whole = { receipt_id, ts, ...receipt, audit, signature };
  assert.deepEqual(verifyReceipt(whole, { keys, tenant: 'acme' }), { ok: true, receipt: whole });
  assert.deepEqual((await ask('receipt', { id: receipt_id })).body, whole, 'the same again');
});

test('an altered receipt does not verify, nor one of another tenant, nor by another key', async () => {
  const receipt = await receiptOf(await sign());
  const reasonOf = (altered: unknown, more = {}) => {
    const verdict = verifyReceipt(altered, { keys, ...more });
    return verdict.ok ? 'valid' : verdict.reason;
  };
  for (const member of Object.keys(receipt)) {
    if (member === 'signature') continue;
    assert.equal(
      reasonOf({ ...receipt, [member]: `${receipt[member]}x` }).replace('malformed', 'bad_signature'),
      'bad_signature',
      member,
    );
  }
  for (const [member, value] of Object.entries(receipt.kms_context))
    assert.notEqual(
      reasonOf({
        ...receipt,
        kms_context: { ...receipt.kms_context, [member]: value === true ? false : 'x' },
      }),
      'valid',
      member,
    );
  assert.equal(reasonOf({ ...receipt, more: 1 }), 'bad_signature');
  assert.equal(reasonOf(receipt, { keys: [] }), 'untrusted_key');
  assert.equal(reasonOf(receipt, { tenant: 'globex' }), 'wrong_tenant');
  assert.equal(reasonOf({}), 'malformed');
  assert.equal(reasonOf(null), 'malformed');
});

test('refused calls have receipts with their reason; without a capability there is none', async () => {
  const unknown = 'acme/p/ed25519/00000000-0000-4000-8000-000000000000';
  const refused = [
    ['KEY_NOT_FOUND', 'NotFound', await ask('sign', { kid: unknown, payload_b3: helloWorldB3 })],
    ['INVALID_REQUEST', 'BadRequest', await ask('sign', '{')],
    ['UNAUTHORIZED', 'NoCapability', await ask('sign', { kid, payload_b3: helloWorldB3 }, reader)],
    ['INVALID_REQUEST', 'Unsupported', await ask('create', { purpose: 'p', alg: 'rot13' })],
  ] as const;
  for (const [code, kind, answer] of refused) {
    assert.equal(answer.body.code, kind);
    const { kms_context: context, environment, operation } = await receiptOf(answer);
    assert.deepEqual([context.success, context.error_code], [false, code], operation);
    assert.equal(environment, 'prod');
  }
  const stranger = await ask('sign', { kid, payload_b3: helloWorldB3 }, 'nonsense');
  assert.equal(stranger.headers.get('x-receipt-id'), null);
});

test('a verification of a wrong signature was done, and its receipt says so', async () => {
  const sigs = [{ kid, signature_b64: Buffer.alloc(64).toString('base64') }];
  const answer = await ask('verify', { payload_b3: helloWorldB3, sigs });
  assert.equal(answer.status, 200);
  const { kms_context: context } = await receiptOf(answer);
  assert.deepEqual([context.success, context.error_code], [true, null]);
});

test('a change of a key has a receipt with the key that it made', async () => {
  const answer = await ask('create', { purpose: 'q', alg: 'rsa-2048' });
  const { kms_context: context, plane } = await receiptOf(answer);
  assert.equal(plane, 'shared');
  assert.deepEqual(context, {
    ...{ key_id: keyId, operation_type: 'key_lifecycle', algorithm: 'rsa-2048', key_size_bits: 2048 },
    ...{ success: true, error_code: null },
  });
});

test('receipts are listed the newest first, by key, operation and time, page by page', async () => {
  const ids: string[] = [];
  for (let n = 0; n < 5; n++) ids.unshift((await sign()).headers.get('x-receipt-id') as string);
  const listed = async (filter: object) => (await ask('receipts', filter)).body;
  const idsOf = ({ receipts }: { receipts: { receipt_id: string }[] }) =>
    receipts.map((one) => one.receipt_id);
  assert.deepEqual(idsOf(await listed({ operation: 'sign', limit: 5 })), ids);
  assert.deepEqual(
    idsOf(await listed({ keyId: keyId.toUpperCase(), operation: 'sign', limit: 2 })),
    ids.slice(0, 2),
  );
  const first = await listed({ operation: 'sign', limit: 2 });
  const second = await listed({ operation: 'sign', limit: 3, cursor: first.nextCursor });
  assert.deepEqual([...idsOf(first), ...idsOf(second)], ids);
  const [, , third] = (await listed({ operation: 'sign', limit: 5 })).receipts;
  const atMs = Date.parse(third.ts);
  assert.ok(
    idsOf(await listed({ operation: 'sign', sinceMs: atMs, untilMs: atMs })).includes(third.receipt_id),
  );
  assert.deepEqual(idsOf(await listed({ sinceMs: Date.now() + 60_000 })), []);
  assert.deepEqual(idsOf(await listed({ untilMs: 1_000 })), []);
  assert.equal((await ask('receipts', { cursor: 'x' })).body.code, 'BadRequest');
  for (const receipt of (await listed({ limit: 200 })).receipts)
    assert.ok(verifyReceipt(receipt, { keys }).ok);
});

test('no tenant sees a receipt of another', async () => {
  const mine = (await sign()).headers.get('x-receipt-id');
  assert.equal((await ask('receipt', { id: mine }, other)).body.code, 'NotFound');
  const { receipts } = (await ask('receipts', { limit: 200 }, other)).body;
  assert.ok(receipts.every((one: { tenant_id: string }) => one.tenant_id === 'globex'));
  for (const id of ['', 'x', keyId, `${mine}0`, `ffffffff-ffff-8${mine?.slice(15)}`])
    assert.equal((await ask('receipt', { id })).body.code, 'NotFound');
});

test('the command verifies receipts and pages of them offline, and a restart loses none', async () => {
  const answer = await sign();
  const receipt = await receiptOf(answer);
  await service.stop();
  service = await start();
  assert.deepEqual(await receiptOf(answer), receipt);
  const file = (name: string, text: string) => {
    const path = join(dataDir, name);
    writeFileSync(path, text);
    return path;
  };
  const trusted = ['--keys', file('vkeys', keys.join('\n'))];
  const verify = (content: unknown, ...more: string[]) =>
    intaglio(['receipt', 'verify', file('receipt.json', JSON.stringify(content)), ...trusted, ...more]);
  const valid = await verify(receipt, '--tenant', 'acme');
  assert.equal(valid.status, 0, valid.stderr);
  assert.match(valid.stdout, /^valid: .*, sign of acme with 1111.*, done; record \d+ of/);
  const page = (await ask('receipts', { limit: 3 })).body;
  assert.equal((await verify(page, '--json')).stdout.trim().split('\n').length, 3);
  const altered = await verify({ ...receipt, tenant_id: 'globex' });
  assert.deepEqual([altered.status, altered.stdout], [1, '']);
  assert.match(altered.stderr, /bad_signature/);
});
