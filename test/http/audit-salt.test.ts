import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test, { after, before } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { mintFor } from '../support/requests.ts';
import { call, helloWorldB3, type InProcessService } from '../support/service.ts';

interface Receipt {
  readonly kid: string;
  readonly index: number;
  readonly salt_b64?: string;
}

let service: InProcessService;
let token: string;
const kids: string[] = [];

before(async () => {
  service = await startInProcess({ env: { KMS_AUDIT_INPUT_HASH: 'commit' } });
  token = mintFor(service.dataDir, { tenant: 'acme', scopes: ['kms:create', 'kms:sign', 'kms:audit'] });
  for (const alg of ['ed25519', 'ml-dsa-44']) {
    kids.push((await call(service, token, 'POST', '/v1/kms/keys', { purpose: 'test', alg })).body.kid);
  }
});

after(() => service.stop());

async function sign(path: string, body: unknown) {
  const answer = await call(service, token, 'POST', `/v1/kms/${path}`, body);
  assert.equal(answer.status, 200);
  return answer.body;
}

/** As docs/audit.md has it, with nothing of the service. */
function commitment(salt: Uint8Array, tenant: string, digestHex: string): string {
  return createHash('sha256')
    .update('kms-audit-commit/v1\0')
    .update(salt)
    .update(`kms-audit-input/v1\0${tenant}\0blake3\0`)
    .update(Buffer.from(digestHex, 'hex'))
    .digest('hex');
}

async function assertOpens({ kid, index, salt_b64: text }: Receipt): Promise<void> {
  assert.ok(text !== undefined);
  const salt = Buffer.from(text, 'base64');
  assert.equal(salt.length, 16);
  const page = await call(service, token, 'GET', `/v1/kms/audit/records?from=${index}&limit=1`);
  const [{ record }] = page.body.records;
  assert.equal(`${record.key_id}#v${record.key_version}`, kid);
  assert.equal(record.input_hash, `commit:${commitment(salt, 'acme', helloWorldB3)}`);
  assert.notEqual(record.input_hash, `commit:${commitment(salt, 'globex', helloWorldB3)}`);
}

test('the salt of a receipt opens the commitment in its record, for each key and for each item of a batch', async () => {
  const item = { kid: kids[0], payload_b3: helloWorldB3, receipt: true };
  const named = { ...item, op_id: '00000000-0000-4000-8000-000000000001' };
  const set = { kid_set: kids, payload_b3: helloWorldB3, receipt: true };
  const { results } = await sign('sign/batch', { items: [item, set] });
  const answers = [await sign('sign', item), await sign('sign', named), await sign('sign', set), ...results];
  const receipts: Receipt[] = answers.flatMap((answer) => answer.receipts);
  assert.equal(receipts.length, 1 + 1 + 2 + 1 + 2);
  for (const receipt of receipts) await assertOpens(receipt);
});

test('signatures of one payload have salts and commitments of their own', async () => {
  const body = { kid: kids[0], payload_b3: helloWorldB3, receipt: true };
  const [one, two] = [await sign('sign', body), await sign('sign', body)];
  assert.notEqual(one.receipts[0].salt_b64, two.receipts[0].salt_b64);
});

test('without a receipt no salt is shown', async () => {
  const answer = await sign('sign', { kid: kids[0], payload_b3: helloWorldB3 });
  assert.deepEqual(Object.keys(answer), ['kid', 'sigs']);
});
