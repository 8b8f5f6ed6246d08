import assert from 'node:assert/strict';
import { readdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { call, helloWorldB3, startService, temporaryDirectory } from '../support/service.ts';

test('a log that was cut after a clean stop: no signature, verification goes on, two approvers begin a new epoch', async () => {
  const dataDir = temporaryDirectory();
  const first = await startService({ dataDir });
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

  const second = await startService({ dataDir });
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
  const metrics = await (await fetch(`${second.url}/metrics`)).text();
  assert.match(metrics, /kms_audit_integrity_failed_total 1\n/);

  const accept = (token: string, approvers: string[]) =>
    call(second, token, 'POST', '/v1/kms/audit/accept', { reason: 'drill', approvers });
  assert.equal((await accept(second.token, ['one', 'one'])).status, 400, 'two different approvers');
  assert.equal((await accept(await second.mint('acme', 'kms:admin'), ['one', 'two'])).status, 403);
  const accepted = await accept(second.token, ['one', 'two']);
  assert.equal(accepted.status, 200, JSON.stringify(accepted.body));
  for (let status = 503; status !== 200; )
    status = (await call(second, second.token, 'POST', '/v1/kms/sign', sign)).status;
  assert.deepEqual(readdirSync(join(dataDir, 'audit')).sort(), ['e1', 'e2']);
  assert.equal(
    (await accept(second.token, ['one', 'two'])).body.error.code,
    'Conflict',
    'nothing left to accept',
  );
  assert.equal(await second.stop(), 0);

  const third = await startService({ dataDir });
  assert.equal((await call(third, third.token, 'POST', '/v1/kms/sign', sign)).status, 200);
  assert.equal(await third.stop(), 0);
});
