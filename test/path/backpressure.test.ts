import assert from 'node:assert/strict';
import test, { after, before, describe } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { until } from '../support/keyring.ts';
import { allScopes, assertFailed, metric, mintFor } from '../support/requests.ts';
import { call, helloWorldB3, type InProcessService, type JsonAnswer } from '../support/service.ts';

const perTenant = 4;

describe('queues that are full', { timeout: 120_000 }, () => {
  let service: InProcessService;
  const kids = new Map<string, string>();
  const tokens = new Map<string, string>();

  before(async () => {
    service = await startInProcess({
      env: {
        KMS_QUEUE_PER_TENANT: String(perTenant),
        KMS_QUEUE_TOTAL: '12',
        KMS_BATCH_MAX_ITEMS: String(perTenant),
        KMS_WORKERS: '1',
      },
    });
    for (const tenant of ['flood', 'calm', 'third']) {
      const token = mintFor(service.dataDir, { tenant, scopes: allScopes });
      tokens.set(tenant, token);
      // A signature of about 4 ms, so that the one worker is busy whatever the machine.
      const alg = tenant === 'flood' ? 'rsa-4096' : 'ed25519';
      const made = await call(service, token, 'POST', '/v1/kms/keys', { purpose: 'p', alg });
      assert.equal(made.status, 201);
      kids.set(tenant, made.body.kid);
    }
  });
  after(async () => {
    assert.equal(await service.stop(), 0);
    assert.equal(service.log.filter((line) => /"level":"(error|fatal)"/.test(line)).join('\n'), '');
  });

  const item = (tenant: string) => ({ kid: kids.get(tenant), payload_b3: helloWorldB3 });
  const sign = (tenant: string): Promise<JsonAnswer> =>
    call(service, tokens.get(tenant), 'POST', '/v1/kms/sign', item(tenant));

  test('a flood has one answer for each call: a signature, or 429 with the time for a retry', async () => {
    const answers = await Promise.all(Array.from({ length: 80 }, () => sign('flood')));
    const signed = answers.filter(({ status }) => status === 200);
    const refused = answers.filter(({ status }) => status !== 200);
    assert.equal(signed.length + refused.length, 80);
    // What waits, and a job under way with one behind it.
    assert.ok(signed.length >= perTenant, `${signed.length} signed`);
    assert.ok(refused.length > 0);
    for (const { body } of signed) assert.equal(body.sigs.length, 1);
    for (const answer of refused) {
      const { retry_after_ms = 0 } = assertFailed(answer, 429, 'Backpressure');
      assert.ok(retry_after_ms < 10_000, `${retry_after_ms}`);
    }
    assert.equal(await metric(service, 'kms_reject_total', 'reason="backpressure"'), refused.length);
    // The signatures of a checkpoint may wait just then.
    await until(async () => (await metric(service, 'kms_queue_depth')) === 0);
  });

  test('a retry after the time that was named is taken, in the end', async () => {
    const persistent = async () => {
      for (let attempt = 0; attempt < 200; attempt++) {
        const answer = await sign('flood');
        if (answer.status === 200) return;
        const { retry_after_ms = 0 } = assertFailed(answer, 429, 'Backpressure');
        await new Promise((resolve) => setTimeout(resolve, retry_after_ms));
      }
      assert.fail('never taken');
    };
    await Promise.all(Array.from({ length: 20 }, persistent));
  });

  test('another tenant is served all the while', async () => {
    let flooding = true;
    const counts = { signed: 0, refused: 0 };
    const flood = async () => {
      while (flooding) counts[(await sign('flood')).status === 200 ? 'signed' : 'refused']++;
    };
    const floods = Array.from({ length: 16 }, flood);
    for (let n = 0; n < 15; n++) {
      for (const tenant of ['calm', 'third']) {
        const answer = await sign(tenant);
        assert.equal(answer.status, 200, JSON.stringify(answer.body));
      }
    }
    flooding = false;
    await Promise.all(floods);
    assert.ok(counts.signed > 0 && counts.refused > 0, JSON.stringify(counts));
  });

  test('items of a batch that find the queue full say so, each by itself', async () => {
    const batch = () =>
      call(service, tokens.get('flood'), 'POST', '/v1/kms/sign/batch', {
        items: Array.from({ length: perTenant }, () => item('flood')),
      });
    const outcomes = { signed: 0, refused: 0, batches: 0 };
    for (const answer of await Promise.all(Array.from({ length: 12 }, batch))) {
      if (answer.status !== 200) {
        assertFailed(answer, 429, 'Backpressure');
        outcomes.batches++;
        continue;
      }
      assert.equal(answer.body.results.length, perTenant);
      for (const result of answer.body.results) {
        if (result.error === undefined) outcomes.signed++;
        else {
          assert.equal(result.error.code, 'Backpressure');
          assert.equal(result.error.retryable, true);
          assert.ok(result.error.retry_after_ms > 0);
          outcomes.refused++;
        }
      }
    }
    assert.equal(outcomes.signed + outcomes.refused + perTenant * outcomes.batches, 12 * perTenant);
    assert.ok(outcomes.signed >= perTenant, JSON.stringify(outcomes));
    assert.ok(outcomes.refused + outcomes.batches > 0, JSON.stringify(outcomes));
  });

  test('a batch of more items than the limit is refused as a whole', async () => {
    const answer = await call(service, tokens.get('calm'), 'POST', '/v1/kms/sign/batch', {
      items: Array.from({ length: perTenant + 1 }, () => item('calm')),
    });
    assertFailed(answer, 400, 'BadRequest');
  });

  test('the making of keys has its own bound, and signatures do not wait for it', async () => {
    const token = tokens.get('third');
    const create = () => call(service, token, 'POST', '/v1/kms/keys', { purpose: 'many', alg: 'ed25519' });
    const creating = Array.from({ length: 40 }, create);
    assert.equal((await sign('calm')).status, 200);
    const answers = await Promise.all(creating);
    const made = answers.filter(({ status }) => status === 201);
    for (const answer of answers) if (answer.status !== 201) assertFailed(answer, 429, 'Backpressure');
    const { keys } = (await call(service, token, 'GET', '/v1/kms/keys?purpose=many')).body;
    assert.equal(keys.length, made.length);
  });
});

test('with a single place for each tenant the audit log still gets its checkpoints, each with two signatures', async (context) => {
  const service = await startInProcess({ env: { KMS_QUEUE_PER_TENANT: '1', KMS_BATCH_MAX_ITEMS: '1' } });
  context.after(() => service.stop());
  const made = await call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'p', alg: 'ed25519' });
  assert.equal(made.status, 201);
  const checkpoints = () => metric(service, 'kms_audit_checkpoint_total', 'result="ok"');
  const before = await checkpoints();
  const signed = await call(service, service.token, 'POST', '/v1/kms/sign', {
    kid: made.body.kid,
    payload_b3: helloWorldB3,
  });
  assert.equal(signed.status, 200);
  await until(async () => (await checkpoints()) > before);
  assert.equal(await metric(service, 'kms_audit_checkpoint_total', 'result="failed"'), 0);
  assert.equal(await service.stop(), 0);
});
