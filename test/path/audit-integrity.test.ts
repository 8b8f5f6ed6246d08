import assert from 'node:assert/strict';
import { readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call, callForBytes, helloWorldB3, temporaryDirectory } from '../support/service.ts';

test('a log that was cut after a clean stop: no signature, verification goes on, two approvers begin a new epoch', async (context) => {
  const dataDir = temporaryDirectory();
  const first = await startInProcess({ dataDir });
  const made = await call(first, first.token, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' });
  const sign = { kid: made.body.kid, payload_b3: helloWorldB3 };
  const signed = await call(first, first.token, 'POST', '/v1/kms/sign', sign);
  const verify = {
    payload_b3: helloWorldB3,
    sigs: signed.body.sigs.map(({ kid, signature_b64 }: Record<string, string>) => ({ kid, signature_b64 })),
  };
  assert.equal(await first.stop(), 0);

  const wal = join(dataDir, 'audit', 'e1', 'wal');
  for (const file of readdirSync(wal)) truncateSync(join(wal, file), 500);

  const second = await startInProcess({ dataDir });
  context.after(() => second.stop());
  const refused = await call(second, second.token, 'POST', '/v1/kms/sign', sign);
  assert.equal(refused.status, 503);
  assert.equal(refused.body.error.code, 'AuditUnavailable');
  assert.ok(refused.headers.get('retry-after'));
  const rotated = await call(
    second,
    second.token,
    'POST',
    `/v1/kms/keys/${encodeURIComponent(sign.kid)}/rotate`,
    {},
  );
  assert.equal(rotated.body.error.code, 'AuditUnavailable', 'no change of a key either');
  assert.equal((await call(second, second.token, 'POST', '/v1/kms/verify', verify)).body.ok, true);
  assert.equal(
    (await call(second, second.token, 'GET', `/v1/kms/keys/${encodeURIComponent(sign.kid)}`)).status,
    200,
  );
  const ready = await call(second, undefined, 'GET', '/readyz');
  assert.equal(ready.status, 503);
  assert.deepEqual(ready.body.missing, ['audit_ready']);
  assert.equal((await call(second, undefined, 'GET', '/healthz')).status, 200);
  const { text: metrics } = await callForBytes(second, undefined, 'GET', '/metrics');
  assert.match(metrics, /kms_audit_integrity_failed_total 1\n/);

  const accept = (token: string, body: object) => call(second, token, 'POST', '/v1/kms/audit/accept', body);
  const alice = second.token;
  const bob = await second.mint('default', 'kms:admin');
  assert.equal((await accept(await second.mint('acme', 'kms:admin'), { reason: 'drill' })).status, 403);
  assert.equal((await accept(alice, { reason: 'drill', approval: '0123456789abcdef' })).status, 400);
  assert.equal((await accept(alice, { reason: 'drill', approvers: ['one', 'two'] })).status, 400);
  const proposed = await accept(alice, { reason: 'drill' });
  assert.equal(proposed.status, 202, JSON.stringify(proposed.body));
  assert.equal(proposed.body.state, 'pending');
  assert.match(proposed.body.failure, /^[a-z_]+: /);
  const { approval, approver } = proposed.body;
  const pending = await call(second, bob, 'GET', '/v1/kms/audit/accept');
  assert.deepEqual(pending.body.pending, [{ ...proposed.body, state: undefined }].map(withoutUndefined));
  assert.equal((await accept(bob, { approval: '0123456789abcdef' })).status, 404, 'no such approval');
  const alone = await accept(alice, { approval });
  assert.deepEqual([alone.status, alone.body.error.code], [403, 'PolicyViolation'], 'the same actor twice');
  assert.equal((await call(second, alice, 'POST', '/v1/kms/sign', sign)).status, 503, 'still latched');
  const accepted = await accept(bob, { approval });
  assert.equal(accepted.status, 200, JSON.stringify(accepted.body));
  assert.equal(accepted.body.state, 'accepted');
  assert.equal(accepted.body.approvers.length, 2);
  assert.equal(accepted.body.approvers[0], approver);
  for (let status = 503; status !== 200; )
    status = (await call(second, second.token, 'POST', '/v1/kms/sign', sign)).status;
  const { records } = (await call(second, alice, 'GET', '/v1/kms/audit/records?limit=1')).body;
  assert.equal(records[0].record.type, 'integrity');
  assert.equal(records[0].record.data.approvers, accepted.body.approvers.join(' '));
  const { data } = records[0].record;
  assert.ok(data.side_log_lines >= 2, 'the verification and the read of the public key');
  const noted = join(dataDir, 'audit', data.side_log_path);
  const lines = readdirSync(noted).map((name) => readFileSync(join(noted, name), 'utf8'));
  assert.match(lines.join(''), /"purpose":"verify","result":"ok".*"purpose":"read","result":"ok"/s);
  assert.deepEqual(readdirSync(join(dataDir, 'audit')).sort(), ['degraded', 'e1', 'e2']);
  assert.equal(
    (await accept(alice, { reason: 'drill' })).body.error.code,
    'Conflict',
    'nothing left to accept',
  );
  assert.equal(await second.stop(), 0);

  const third = await startInProcess({ dataDir });
  assert.equal((await call(third, third.token, 'POST', '/v1/kms/sign', sign)).status, 200);
  assert.equal(await third.stop(), 0);
});

function withoutUndefined(object: object): object {
  return JSON.parse(JSON.stringify(object));
}
