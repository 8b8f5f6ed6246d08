import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import {
  call,
  callForBytes,
  helloWorldB3,
  type InProcessService,
  type JsonAnswer,
  startService,
  temporaryDirectory,
} from '../support/service.ts';

async function start(t: TestContext, env: Readonly<Record<string, string>> = {}) {
  const service = await startInProcess({ env });
  t.after(() => service.stop());
  const post = (path: string, body: unknown) => call(service, service.token, 'POST', `/v1/kms${path}`, body);
  const create = async (alg = 'ed25519') => {
    const made = await post('/keys', { purpose: 'reload', alg });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    return (made.body.kid as string).split('#')[0] as string;
  };
  const sign = (kid: string) => post('/sign', { kid, payload_b3: helloWorldB3 });
  return { service, post, create, sign };
}

const readiness = (service: InProcessService) => call(service, undefined, 'GET', '/readyz');

const codeOf = ({ status, body }: JsonAnswer) => (status < 300 ? 'ok' : body.error.code);

interface RecordOfReload extends Readonly<Record<'type' | 'actor' | 'purpose' | 'result', string>> {
  readonly data: Readonly<Record<string, string>>;
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a reload changes rates, limits, deadlines, algorithms and names in metrics together', async (t) => {
  const { service, post, create, sign } = await start(t, { KMS_KEYS_PER_TENANT: '2' });
  const kid = await create();
  await create();
  assert.equal(codeOf(await post('/keys', { purpose: 'reload', alg: 'ed25519' })), 'Conflict');
  service.reload({
    ...{ KMS_KEYS_PER_TENANT: '3', KMS_ALLOWED_ALGS: 'ed25519', KMS_BATCH_MAX_ITEMS: '1' },
    ...{ KMS_METRICS_NAMES: 'open', KMS_SIGN_RATE_LIMIT: '2' },
  });
  await create();
  assert.equal(codeOf(await post('/keys', { purpose: 'reload', alg: 'rsa-2048' })), 'PolicyViolation');
  const two = {
    items: [
      { kid, payload_b3: helloWorldB3 },
      { kid, payload_b3: helloWorldB3 },
    ],
  };
  assert.equal((await post('/sign/batch', two)).status, 400);
  assert.deepEqual(
    [codeOf(await sign(kid)), codeOf(await sign(kid)), codeOf(await sign(kid))],
    ['ok', 'ok', 'RateLimited'],
  );
  const metrics = await callForBytes(service, undefined, 'GET', '/metrics');
  assert.match(metrics.text, /^kms_keys_total\{[^}]*tenant="default"/m);
  const description = await call(service, undefined, 'GET', '/openapi.json');
  assert.match(JSON.stringify(description.body), /"maxItems":1[,}]/);
  // Back to what it was at the start; the limit of keys too, though three are there.
  service.reload({});
  assert.equal(codeOf(await sign(kid)), 'ok');
  assert.equal(codeOf(await post('/keys', { purpose: 'reload', alg: 'ed25519' })), 'Conflict');
});

test('a limit that a reload leaves as it was goes on counting', async (t) => {
  const { service, create, sign } = await start(t, {
    KMS_RATE_LIMITS: 'sign=2/d',
    KMS_KEY_USES_PER_DAY: '9',
  });
  const kid = await create();
  assert.equal(codeOf(await sign(kid)), 'ok');
  service.reload({ KMS_DEFAULT_DEADLINE_MS: '4000' });
  assert.equal(codeOf(await sign(kid)), 'ok');
  service.reload({});
  assert.equal(codeOf(await sign(kid)), 'RateLimited');
});

test('a reload that cannot be taken leaves everything, is told, and ends readiness until one can be', async (t) => {
  const { service, create, sign } = await start(t);
  const kid = await create();
  assert.equal((await readiness(service)).status, 200);
  service.reload({ KMS_SIGN_RATE_LIMIT: '1', KMS_DEFAULT_DEADLINE_MS: '6000' });
  const { status, body } = await readiness(service);
  assert.deepEqual([status, body.missing], [503, ['config']]);
  const line = await service.logged((one) => one.includes('the reload is NOT TAKEN'));
  assert.match(line, /KMS_DEFAULT_DEADLINE_MS must not be more than KMS_SIGN_DEADLINE_MS/);
  // The rate of one in a second is not in force.
  for (let n = 0; n < 3; n++) assert.equal(codeOf(await sign(kid)), 'ok');
  service.reload({});
  assert.equal((await readiness(service)).status, 200);
});

test('a broken policy file keeps a whole reload out', async (t) => {
  const path = join(temporaryDirectory(), 'policy.yaml');
  writeFileSync(path, 'rules: []\ndefault: allow\n');
  const { service, create, sign } = await start(t, { KMS_POLICY_FILE: path });
  const kid = await create();
  writeFileSync(path, 'rules: [');
  service.reload({ KMS_ALLOWED_ALGS: 'rsa-2048' });
  assert.deepEqual((await readiness(service)).body.missing, ['config']);
  assert.equal(codeOf(await sign(kid)), 'ok');
  writeFileSync(path, 'rules: []\ndefault: deny\n');
  service.reload({});
  assert.deepEqual((await readiness(service)).body.missing, []);
  assert.equal(codeOf(await sign(kid)), 'PolicyViolation');
});

test('a macaroon key that cannot be read keeps a whole reload out, and a new one is told by its id', async (t) => {
  const { service } = await start(t);
  const path = join(service.dataDir, 'macaroon.7.key');
  writeFileSync(path, 'short', { mode: 0o600 });
  service.reload({ KMS_BATCH_MAX_ITEMS: '1' });
  assert.deepEqual((await readiness(service)).body.missing, ['config']);
  rmSync(path);
  writeFileSync(path, Buffer.alloc(32, 7), { mode: 0o600 });
  service.reload({});
  assert.deepEqual((await readiness(service)).body.missing, []);
  const line = await service.logged((one) => one.includes('the settings were read again'));
  assert.deepEqual(JSON.parse(line).contents, { macaroon_keys: 'added 7, removed ' });
});

test('a reload is on the audit log with what it changed, and names what takes a restart', async (t) => {
  const { service, create, sign } = await start(t);
  const weights = Array.from({ length: 500 }, (_, n) => `tenant-${n}=2`).join();
  service.reload({ KMS_SIGN_RATE_LIMIT: '700', KMS_TENANT_WEIGHTS: weights, KMS_WORKERS: '2' });
  assert.equal(codeOf(await sign(await create())), 'ok');
  const { body } = await call(service, service.token, 'GET', '/v1/kms/audit/records?limit=1000');
  const records = (body.records as { record: RecordOfReload }[]).map(({ record }) => record);
  const [found, ...others] = records.filter(({ type }) => type === 'config.reloaded');
  assert.ok(found !== undefined && others.length === 0);
  const { data, actor, purpose, result } = found;
  assert.deepEqual([actor, purpose, result], ['operator', 'config', 'ok']);
  assert.equal(data.sign_rate_limit, '0 -> 700');
  assert.match(data.tenant_weights ?? '', /^ -> sha256:[0-9a-f]{32}$/);
  assert.equal(data.need_restart, 'KMS_WORKERS');
  const line = await service.logged((one) => one.includes('takes a restart'));
  assert.equal(JSON.parse(line).setting, 'KMS_WORKERS');
});

test('the level of the log and what it leaves out change with a reload', async (t) => {
  const { service } = await start(t);
  service.reload({ KMS_LOG_LEVEL: 'silent' });
  service.reload({ KMS_LOG_LEVEL: 'none' });
  assert.ok(!service.log.some((line) => line.includes('NOT TAKEN')));
  service.reload({ KMS_LOG_LEVEL: 'info' });
  await service.logged((line) => line.includes('the settings were read again'));
});

test('a call under way keeps the settings with which it came in', async (t) => {
  const { service, create, sign } = await start(t);
  const kid = await create();
  const before = sign(kid);
  // It is read by then, and begun only when all is parsed.
  await turn();
  service.reload({ KMS_ALLOWED_ALGS: 'rsa-2048' });
  const after = sign(kid);
  assert.deepEqual([codeOf(await before), codeOf(await after)], ['ok', 'PolicyViolation']);
});

test('no call has a part of one configuration and a part of another', async (t) => {
  const path = join(temporaryDirectory(), 'policy.yaml');
  const policy = (effect: string) =>
    `rules: [{ effect: ${effect}, when: { operation: sign_batch } }]\ndefault: allow\n`;
  writeFileSync(path, policy('allow'));
  const small = { KMS_BATCH_MAX_ITEMS: '2' };
  const { service, post, create } = await start(t, { KMS_POLICY_FILE: path, ...small });
  const kid = await create();
  // Three items are too many for the one, and no batch is allowed by the other.
  const items = [1, 2, 3].map(() => ({ kid, payload_b3: helloWorldB3 }));
  const answers: Promise<JsonAnswer>[] = [];
  for (let n = 0; n < 100; n++) {
    for (let calls = 0; calls <= n % 4; calls++) answers.push(post('/sign/batch', { items }));
    for (let turns = 0; turns < n % 3; turns++) await turn();
    writeFileSync(path, policy(n % 2 === 0 ? 'deny' : 'allow'));
    service.reload(n % 2 === 0 ? { KMS_BATCH_MAX_ITEMS: '3' } : small);
  }
  const codes = new Map<string, number>();
  for (const answer of await Promise.all(answers)) {
    const code = codeOf(answer);
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  assert.deepEqual([...codes.keys()].sort(), ['BadRequest', 'PolicyViolation']);
});

test('SIGHUP under load loses no request, reads the file again, and the last one counts', async (t) => {
  const file = join(temporaryDirectory(), 'settings.json');
  const write = (settings: Readonly<Record<string, unknown>>) =>
    writeFileSync(file, JSON.stringify(settings));
  write({});
  const service = await startService({
    env: { KMS_CONFIG: file, KMS_BACKEND: 'memory', KMS_WORKERS: '1' },
  });
  t.after(() => service.kill());
  const post = (path: string, body: unknown) => call(service, service.token, 'POST', `/v1/kms${path}`, body);
  const made = await post('/keys', { purpose: 'load', alg: 'ed25519' });
  const item = { kid: made.body.kid as string, payload_b3: helloWorldB3 };
  let over = false;
  const clients = Array.from({ length: 8 }, async () => {
    const statuses: number[] = [];
    while (!over) statuses.push((await post('/sign', item)).status);
    return statuses;
  });
  const told = (what: string) => service.log.filter((line) => line.includes(what)).length;
  for (let n = 1; n <= 10; n++) {
    write({ allowed_algs: n % 2 === 0 ? 'all' : ['ed25519'], batch_max_items: 10 + n });
    process.kill(service.pid, 'SIGHUP');
    await service.logged(() => told('the settings were read again') >= n);
  }
  writeFileSync(file, '{"batch_max_items":');
  process.kill(service.pid, 'SIGHUP');
  await service.logged((line) => line.includes('the reload is NOT TAKEN'));
  assert.equal((await call(service, undefined, 'GET', '/readyz')).status, 503);
  write({ batch_max_items: 2 });
  process.kill(service.pid, 'SIGHUP');
  process.kill(service.pid, 'SIGHUP');
  await service.logged(() => told('the settings were read again') > 10);
  over = true;
  const statuses = (await Promise.all(clients)).flat();
  assert.deepEqual([...new Set(statuses)], [200]);
  assert.ok(statuses.length >= clients.length);
  assert.equal((await call(service, undefined, 'GET', '/readyz')).status, 200);
  const batch = async (count: number) =>
    (await post('/sign/batch', { items: Array.from({ length: count }, () => item) })).status;
  assert.deepEqual([await batch(2), await batch(3)], [200, 400]);
  assert.equal(await service.stop(), 0);
});
