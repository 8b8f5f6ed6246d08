import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { openCheckpoint } from '../../src/audit/format/checkpoint.ts';
import { parseVkey } from '../../src/audit/format/note.ts';
import { verifyTlogProof } from '../../src/audit/format/tlog-proof.ts';
import { startInProcess } from '../support/in-process.ts';
import { call, callForBytes, helloWorldB3, type InProcessService } from '../support/service.ts';

let service: InProcessService;
let acme: string;
let auditor: string;
let kid: string;
let receipts: { kid: string; index: number; seq: number }[];

before(async () => {
  service = await startInProcess();
  acme = await service.mint('acme', 'kms:create,kms:sign,kms:verify,kms:audit');
  auditor = service.token;
  kid = (await call(service, acme, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' })).body.kid;
  receipts = [];
  for (let n = 0; n < 5; n++) {
    const signed = await call(service, acme, 'POST', '/v1/kms/sign', {
      kid,
      payload_b3: helloWorldB3,
      receipt: true,
    });
    receipts.push(...signed.body.receipts);
  }
  await call(service, auditor, 'POST', '/v1/kms/keys', { purpose: 'other', alg: 'ed25519' });
});

after(() => service.stop());

async function bytes(token: string, path: string): Promise<Buffer> {
  const answer = await callForBytes(service, token, 'GET', `/v1/kms/audit/${path}`);
  assert.equal(answer.status, 200, path);
  return answer.bytes;
}

/** Until a checkpoint holds the record: one is made each second. */
async function proofOf(index: number, token = acme): Promise<Buffer> {
  for (;;) {
    const answer = await callForBytes(service, token, 'GET', `/v1/kms/audit/proof?index=${index}`);
    if (answer.status === 200) return answer.bytes;
    assert.equal(answer.status, 404);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test('a receipt names the record of a signature: its position in the log, and its number among the key’s', () => {
  assert.deepEqual(
    receipts.map(({ kid: of, seq }) => [of, seq]),
    // The first record of the key is its creation.
    [2, 3, 4, 5, 6].map((seq) => [kid, seq]),
  );
});

test('without being asked for, a receipt is not there', async () => {
  const signed = await call(service, acme, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
  assert.deepEqual(Object.keys(signed.body), ['kid', 'sigs']);
});

test('a record is proved by the proof, the checkpoint in it, and the keys of the log', async () => {
  const [first] = receipts;
  assert.ok(first);
  const proof = await proofOf(first.index);
  const { vkeys } = (await call(service, acme, 'GET', '/v1/kms/audit/vkeys')).body as { vkeys: string[] };
  assert.equal(vkeys.length, 2);
  const keys = vkeys.map((vkey) => {
    const parsed = parseVkey(vkey);
    assert.ok(parsed.ok);
    return parsed.value;
  });
  const page = await call(service, acme, 'GET', `/v1/kms/audit/records?from=${first.index}&limit=1`);
  const record = page.body.records[0].record;
  const checkpoint = await bytes(acme, 'checkpoint');
  const opened = openCheckpoint(checkpoint, 'localhost/intaglio/audit', keys);
  assert.ok(opened.ok, 'the checkpoint has the signatures of both keys');
  const entry = Buffer.from(JSON.stringify(record));
  const proven = verifyTlogProof(proof, entry, 'localhost/intaglio/audit', keys);
  assert.ok(proven.ok, 'the record as it is answered is the leaf, byte for byte');
  entry[20] = (entry[20] as number) ^ 1;
  assert.ok(!verifyTlogProof(proof, entry, 'localhost/intaglio/audit', keys).ok);
});

test('a record says who used which key for what, and not the payload', async () => {
  const page = await call(service, acme, 'GET', '/v1/kms/audit/records');
  const { record } = page.body.records.find((entry: { index: number }) => entry.index === receipts[0]?.index);
  assert.equal(record.tenant, 'acme');
  assert.equal(`${record.key_id}#v${record.key_version}`, kid);
  assert.equal(record.purpose, 'sign');
  assert.equal(record.result, 'ok');
  assert.match(record.actor, /^cap:[0-9a-f]{16}$/);
  assert.match(record.input_hash, /^hmac-sha256:/);
  assert.ok(!JSON.stringify(page.body).includes(helloWorldB3));
});

test('a tenant sees its own records and proofs, the operator’s auditor all', async () => {
  const own = (await call(service, acme, 'GET', '/v1/kms/audit/records')).body.records;
  assert.ok(own.length >= 6);
  assert.ok(own.every(({ record }: { record: { tenant: string } }) => record.tenant === 'acme'));
  const all = (await call(service, auditor, 'GET', '/v1/kms/audit/records')).body.records;
  const foreign = all.find(({ record }: { record: { tenant: string } }) => record.tenant === 'default');
  assert.ok(foreign);
  await proofOf(foreign.index, auditor);
  const refused = await call(service, acme, 'GET', `/v1/kms/audit/proof?index=${foreign.index}`);
  assert.equal(refused.status, 404);
  const bundle = await call(service, acme, 'GET', '/v1/kms/audit/tile/entries/000.p/1');
  assert.equal(bundle.status, 403);
});

test('tiles and bundles are served as other tools expect them', async () => {
  await proofOf(receipts[0]?.index as number);
  const [, size] = (await bytes(auditor, 'checkpoint')).toString().split('\n');
  assert.equal((await bytes(acme, `tile/0/000.p/${size}`)).length, 32 * Number(size));
  assert.ok((await bytes(auditor, `tile/entries/000.p/${size}`)).includes('"tenant":"acme"'));
});

for (const [path, status] of [
  ['tile/0/999', 404],
  ['tile/../../root.key', 404],
  ['tile/0/000.p/0', 404],
  ['proof', 400],
  ['proof?index=-1', 400],
  ['proof?index=99999999', 404],
  ['proof?index=1&index=2', 400],
  ['records?limit=0', 400],
  ['records?limit=1001', 400],
  ['records?from=x', 400],
  ['records?colour=red', 400],
  ['checkpoint?x=1', 400],
] as const) {
  test(`GET /audit/${path} is ${status}`, async () => {
    assert.equal((await call(service, auditor, 'GET', `/v1/kms/audit/${path}`)).status, status);
  });
}

test('without the scope nothing of the log is shown', async () => {
  const reader = await service.mint('acme', 'kms:read');
  for (const path of ['checkpoint', 'vkeys', 'records', 'proof?index=0', 'tile/0/000.p/1']) {
    assert.equal((await call(service, reader, 'GET', `/v1/kms/audit/${path}`)).status, 403);
  }
});

test('a refusal that concerns a key of the caller is recorded; one about somebody else’s is not', async () => {
  const owner = await service.mint('refused', 'kms:create,kms:read,kms:rotate,kms:sign,kms:audit');
  const made = await call(service, owner, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' });
  const path = `/v1/kms/keys/${encodeURIComponent(made.body.kid)}`;
  await call(service, owner, 'POST', `${path}/rotate`, {});
  assert.equal(
    (await call(service, owner, 'POST', '/v1/kms/sign', { kid: made.body.kid, payload_b3: helloWorldB3 }))
      .status,
    409,
  );
  assert.equal((await call(service, owner, 'GET', `${path}/export`)).status, 403);
  await call(service, owner, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
  const { records } = (await call(service, owner, 'GET', '/v1/kms/audit/records')).body;
  assert.deepEqual(
    records.map(({ record }: { record: { purpose: string; result: string; seq: number } }) => [
      record.seq,
      record.purpose,
      record.result,
    ]),
    [
      [1, 'create', 'ok'],
      [2, 'rotate', 'ok'],
      [3, 'sign', 'denied:Conflict'],
      [4, 'export', 'denied:ExportForbidden'],
    ],
  );
});

type Recorded = readonly [seq: number, purpose: string, result: string];

/** Once there are `count` of them: some are written after the answer has left. */
async function recordsOf(token: string, count: number): Promise<Recorded[]> {
  for (;;) {
    const { records } = (await call(service, token, 'GET', '/v1/kms/audit/records')).body as {
      records: { record: { seq: number; purpose: string; result: string } }[];
    };
    if (records.length >= count)
      return records.map(({ record: { seq, purpose, result } }) => [seq, purpose, result]);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('items of a batch that are refused are recorded like calls of their own', async () => {
  const owner = await service.mint('batches', 'kms:create,kms:sign,kms:verify,kms:rotate,kms:audit');
  const made = await call(service, owner, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' });
  const rotated = await call(
    service,
    owner,
    'POST',
    `/v1/kms/keys/${encodeURIComponent(made.body.kid)}/rotate`,
    {},
  );
  const item = (of: string, more = {}) => ({ kid: of, payload_b3: helloWorldB3, ...more });
  const signed = await call(service, owner, 'POST', '/v1/kms/sign/batch', {
    items: [
      item(made.body.kid),
      item(rotated.body.kid),
      item(rotated.body.kid, { policy: { mode: 'pq_only' } }),
      item(kid),
      { colour: 'red' },
    ],
  });
  assert.deepEqual(
    signed.body.results.map(({ error }: { error?: { code: string } }) => error?.code),
    ['Conflict', undefined, 'PolicyViolation', 'NotFound', 'BadRequest'],
  );
  const records = await recordsOf(owner, 5);
  assert.deepEqual(
    records
      .slice(2)
      .map(([, purpose, result]) => [purpose, result])
      .sort(),
    [
      ['sign_batch', 'denied:Conflict'],
      ['sign_batch', 'denied:PolicyViolation'],
      ['sign_batch', 'ok'],
    ],
  );
  assert.deepEqual(
    records.map(([seq]) => seq),
    [1, 2, 3, 4, 5],
  );
});

test('a missing scope is recorded for keys of the caller’s own that there are, up to a bound', async () => {
  const owner = await service.mint('scopes', 'kms:create,kms:audit');
  const reader = await service.mint('scopes', 'kms:read');
  const made = await call(service, owner, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' });
  const own = made.body.kid as string;
  const refused = async (path: string, body: object) =>
    assert.equal((await call(service, reader, 'POST', path, body)).status, 403);
  await refused('/v1/kms/sign', { kid_set: [own, own], payload_b3: helloWorldB3 });
  await refused('/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
  await refused('/v1/kms/sign', {
    kid: own.replace(/.(?=#v1$)/, (digit) => (digit === '0' ? '1' : '0')),
    payload_b3: helloWorldB3,
  });
  await refused('/v1/kms/sign', { colour: 'red' });
  await refused('/v1/kms/verify/batch', {
    items: [{ payload_b3: helloWorldB3, sigs: [{ kid: own, signature_b64: 'AAAA' }] }],
  });
  await refused(`/v1/kms/keys/${encodeURIComponent(own)}/destroy`, {});
  const denied = (await recordsOf(owner, 4)).slice(1);
  assert.deepEqual(denied, [
    [2, 'sign', 'denied:NoCapability'],
    [3, 'verify_batch', 'denied:NoCapability'],
    [4, 'destroy', 'denied:NoCapability'],
  ]);
  for (let n = 0; n < 70; n++) await refused('/v1/kms/sign', { kid: own, payload_b3: helloWorldB3 });
  const all = (await recordsOf(owner, 50)).length;
  assert.ok(all >= 50 && all < 70, `${all} records`);
});

test('a key may ask that its records are synced; for a cosignature there must be a witness', async () => {
  const create = (audit: string) =>
    call(service, acme, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519', policy: { audit } });
  const synced = await create('synced');
  assert.equal(synced.status, 201);
  const body = { kid: synced.body.kid, payload_b3: helloWorldB3, receipt: true };
  const signed = await call(service, acme, 'POST', '/v1/kms/sign', body);
  assert.equal(signed.body.receipts[0].seq, 2);
  const witnessed = await create('witnessed');
  assert.equal(witnessed.body.error.code, 'Unsupported');
  assert.equal((await create('memory')).status, 400);
});
