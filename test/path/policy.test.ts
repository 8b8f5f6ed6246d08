import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import {
  call,
  helloWorldB3,
  type InProcessService,
  startService,
  temporaryDirectory,
} from '../support/service.ts';

const file = `
rules:
  - { effect: deny, when: { purpose: "secret*" }, reason: the words of this reason are for the log }
  - { effect: deny, when: { operation: destroy } }
  - { effect: deny, when: { operation: create, alg: rsa-2048 } }
  - { effect: allow, when: { purpose: strict }, mode: and }
  - { effect: allow, when: { purpose: counted }, limits: { uses_per_day: 2 } }
default: allow
`;

function policyFile(text: string): string {
  const path = join(temporaryDirectory(), 'policy.yaml');
  writeFileSync(path, text);
  return path;
}

suite('policy between a capability and its operation', () => {
  let service: InProcessService;
  const post = (path: string, body: unknown) => call(service, service.token, 'POST', `/v1/kms${path}`, body);
  const create = async (purpose: string, alg = 'ed25519') => {
    const made = await post('/keys', { purpose, alg });
    return made.body.kid as string;
  };
  const current = (kid: string) => kid.split('#')[0] as string;
  const sign = (kid: string) => post('/sign', { kid: current(kid), payload_b3: helloWorldB3 });

  before(async () => {
    service = await startInProcess({ env: { KMS_POLICY_FILE: policyFile(file) } });
  });
  after(async () => {
    assert.equal(await service.stop(), 0);
  });

  test('what no rule denies goes on', async () => {
    const kid = await create('open');
    assert.equal((await sign(kid)).status, 200);
  });

  test('a denial is 403 PolicyViolation, without a word of the rule', async () => {
    const refused = await post('/keys', { purpose: 'secret-one', alg: 'ed25519' });
    assert.equal(refused.status, 403);
    assert.equal(refused.body.error.code, 'PolicyViolation');
    assert.ok(!JSON.stringify(refused.body).includes('reason are'));
    assert.equal((await post('/keys', { purpose: 'open', alg: 'rsa-2048' })).status, 403);
  });

  test('a denial says the same of a key that is not there', async () => {
    const kid = `default/secret/ed25519/00000000-0000-4000-8000-000000000000`;
    assert.equal((await sign(kid)).body.error.code, 'PolicyViolation');
    const other = `default/open/ed25519/00000000-0000-4000-8000-000000000000`;
    assert.equal((await sign(other)).body.error.code, 'NotFound');
  });

  test('a rule may name an operation', async () => {
    const kid = await create('open');
    const path = `/keys/${encodeURIComponent(current(kid))}`;
    assert.equal((await post(`${path}/destroy`, {})).body.error.code, 'PolicyViolation');
    assert.equal((await post(`${path}/rotate`, {})).status, 200);
  });

  test('of a batch the items with denied keys are refused, and the others served', async () => {
    const kid = await create('open');
    const denied = 'default/secret/ed25519/00000000-0000-4000-8000-000000000000';
    const items = [current(kid), denied, current(kid)].map((each) => ({
      kid: each,
      payload_b3: helloWorldB3,
    }));
    const { status, body } = await post('/sign/batch', { items });
    assert.equal(status, 200);
    assert.equal(body.results.length, 3);
    assert.ok(body.results[0].sigs && body.results[2].sigs);
    assert.ok(['PolicyViolation', 'NotFound'].includes(body.results[1].error.code));
  });

  test('a mode of the policy is the least that a verification may ask for', async () => {
    const kid = await create('strict', 'ed25519+ml-dsa-65');
    const { sigs } = (await sign(kid)).body;
    const verify = async (given: unknown, mode?: string) =>
      post('/verify', {
        payload_b3: helloWorldB3,
        sigs: given,
        ...(mode === undefined ? {} : { policy: { mode } }),
      });
    assert.equal((await verify(sigs)).body.ok, true);
    const half = await verify(sigs.slice(0, 1));
    assert.equal(half.body.error.code, 'PolicyViolation', 'one half, and no mode asked');
    assert.match(half.body.error.hint, /^stripped/);
    const weak = await verify(sigs, 'or');
    assert.equal(weak.status, 403);
    assert.equal(weak.body.error.code, 'PolicyViolation');
    assert.equal((await verify(sigs, 'pq_only')).body.ok, true, 'a stricter one may be asked for');
  });

  test('a limit of the policy holds for each key', async () => {
    const [one, other] = [await create('counted'), await create('counted')];
    assert.equal((await sign(one)).status, 200);
    assert.equal((await sign(one)).status, 200);
    const refused = await sign(one);
    assert.equal(refused.status, 429);
    assert.equal(refused.body.error.code, 'RateLimited');
    assert.equal((await sign(other)).status, 200);
  });

  test('each step of the sequence refuses with its own code, in order', async () => {
    const kid = await create('open');
    const unknown = await call(service, 'nonsense', 'POST', '/v1/kms/sign', { kid: 'default/secret/x' });
    assert.equal(unknown.status, 401);
    const reader = await service.mint('default', 'kms:read');
    const secret = 'default/secret/ed25519/00000000-0000-4000-8000-000000000000';
    const body = { kid: secret, payload_b3: helloWorldB3 };
    assert.equal((await call(service, reader, 'POST', '/v1/kms/sign', body)).body.error.code, 'NoCapability');
    assert.equal((await post('/sign', body)).body.error.code, 'PolicyViolation');
    const absent = 'default/open/ed25519/00000000-0000-4000-8000-000000000000';
    assert.equal((await post('/sign', { ...body, kid: absent })).body.error.code, 'NotFound');
    assert.equal((await sign(kid)).status, 200);
  });

  test('a denial about a key that is there is on the audit log', async () => {
    const kid = await create('open');
    const id = current(kid);
    await post(`/keys/${encodeURIComponent(id)}/destroy`, {});
    const records = await call(service, service.token, 'GET', '/v1/kms/audit/records?limit=1000');
    assert.equal(records.status, 200);
    const own = records.body.records.filter(
      (each: { record: { key_id: string } }) => each.record.key_id === id,
    );
    assert.ok(JSON.stringify(own).includes('denied:PolicyViolation'));
  });
});

for (const [what, env, words] of [
  ['a file that is not there', { KMS_POLICY_FILE: '/nowhere/policy.yaml' }, /ENOENT/],
  ['a file with a mistake', { KMS_POLICY_FILE: policyFile('rulez: []') }, /rulez is not known/],
  [
    'rules beside OPA',
    { KMS_POLICY_FILE: policyFile('rules: []'), KMS_POLICY_URL: 'http://127.0.0.1:1/v1/data/x' },
    /rules beside KMS_POLICY_URL/,
  ],
] as const)
  test(`${what} refuses the start in one line`, async () => {
    await assert.rejects(startInProcess({ env }), words);
  });

test('with OPA out of reach nothing is allowed, and the operator is told', async () => {
  const service = await startInProcess({
    env: { KMS_POLICY_URL: 'http://127.0.0.1:1/v1/data/intaglio/decision' },
  });
  const refused = await call(service, service.token, 'POST', '/v1/kms/keys', {
    purpose: 'p',
    alg: 'ed25519',
  });
  assert.equal(refused.body.error.code, 'PolicyViolation');
  await service.logged((line) => line.includes('the policy service gave no decision'));
  assert.equal((await call(service, undefined, 'GET', '/readyz')).status, 200);
  assert.equal(await service.stop(), 0);
});

test('the file is read again when it changes, whole or not at all', async () => {
  const path = policyFile('rules: [{ effect: deny, when: { purpose: one } }]\ndefault: allow\n');
  const service = await startInProcess({ env: { KMS_POLICY_FILE: path } });
  const create = async (purpose: string) =>
    (await call(service, service.token, 'POST', '/v1/kms/keys', { purpose, alg: 'ed25519' })).status;
  assert.deepEqual([await create('one'), await create('two')], [403, 201]);
  writeFileSync(path, 'rules: [{ effect: deny, when: { purpose: two } }\n');
  await service.logged((line) => line.includes('the policy file is NOT TAKEN'));
  assert.deepEqual([await create('one'), await create('two')], [403, 201]);
  writeFileSync(path, 'rules: [{ effect: deny, when: { purpose: two } }]\ndefault: allow\n');
  await service.logged((line) => line.includes('is in force'));
  assert.deepEqual([await create('one'), await create('two')], [201, 403]);
  assert.equal(await service.stop(), 0);
});

test('a process reads its policy file again on SIGHUP, and goes on', async (t) => {
  const path = policyFile('rules: []\ndefault: allow\n');
  const service = await startService({ env: { KMS_POLICY_FILE: path, KMS_BACKEND: 'memory' } });
  t.after(() => service.kill());
  process.kill(service.pid, 'SIGHUP');
  await service.logged((line) => line.includes('the policy file was read again'));
  assert.equal((await call(service, undefined, 'GET', '/readyz')).status, 200);
});
