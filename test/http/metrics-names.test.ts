import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { exchange, mintFor } from '../support/requests.ts';
import { call, helloWorldB3, type InProcessService } from '../support/service.ts';

let service: InProcessService;

/** Keys of two tenants under purposes that are nobody else's business, and a signature of each. */
async function withKeys(running: InProcessService): Promise<InProcessService> {
  for (const [tenant, purpose] of [
    ['acme', 'merger'],
    ['acme', 'payroll'],
    ['globex', 'layoffs'],
  ] as const) {
    const token = mint(running, tenant, ['kms:create', 'kms:sign']);
    const made = await call(running, token, 'POST', '/v1/kms/keys', { purpose, alg: 'ed25519' });
    const body = { kid: made.body.kid, payload_b3: helloWorldB3 };
    assert.equal((await call(running, token, 'POST', '/v1/kms/sign', body)).status, 200);
  }
  return running;
}

function mint(
  { dataDir }: InProcessService,
  tenant: string,
  scopes: readonly string[],
  expiresInMs = 60_000,
) {
  return mintFor(dataDir, { tenant, scopes, expiresAtMs: Date.now() + expiresInMs });
}

async function scrape(running: InProcessService, token?: string): Promise<string> {
  const sent = { method: 'GET', path: '/metrics', ...(token === undefined ? undefined : { token }) };
  const { status, text } = await exchange(running, sent);
  assert.equal(status, 200);
  return text;
}

function linesOf(text: string, name: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith(name))
    .sort();
}

function assertNameless(text: string): void {
  assert.deepEqual(linesOf(text, 'kms_keys_total'), ['kms_keys_total{alg="ed25519"} 3']);
  const shares = linesOf(text, 'kms_tenant_share');
  assert.equal(shares.length, 1);
  assert.match(shares[0] as string, /^kms_tenant_share (1|0\.99\d+|1\.0+\d+)$/);
  assert.doesNotMatch(text, /acme|globex|merger|payroll|layoffs|tenant=|purpose=/);
}

before(async () => {
  service = await withKeys(await startInProcess({ env: { KMS_BACKEND: 'memory' } }));
});
after(() => service.stop());

test('without a capability the metrics name no tenant and no purpose, and the series are summed', async () => {
  assertNameless(await scrape(service));
});

test('a capability without kms:admin sees no names either, be it of the operator', async () => {
  for (const tenant of ['default', 'acme'])
    assertNameless(await scrape(service, mint(service, tenant, ['kms:read', 'kms:audit', 'kms:create'])));
});

test('a capability that is not valid is answered without names, and counted', async () => {
  const before = await scrape(service);
  for (const token of ['wrong', mint(service, 'default', ['kms:admin'], -60_000)])
    assertNameless(await scrape(service, token));
  const failures = (text: string) => Number(linesOf(text, 'auth_failures_total')[0]?.split(' ')[1]);
  assert.equal(failures(await scrape(service)) - failures(before), 2);
});

test('an administrator of the operator sees all names', async () => {
  const text = await scrape(service, mint(service, 'default', ['kms:admin']));
  assert.deepEqual(linesOf(text, 'kms_keys_total'), [
    'kms_keys_total{tenant="acme",purpose="merger",alg="ed25519"} 1',
    'kms_keys_total{tenant="acme",purpose="payroll",alg="ed25519"} 1',
    'kms_keys_total{tenant="globex",purpose="layoffs",alg="ed25519"} 1',
  ]);
  for (const tenant of ['acme', 'globex', 'other'])
    assert.equal(linesOf(text, `kms_tenant_share{tenant="${tenant}"}`).length, 1, tenant);
});

test('an administrator of a tenant sees the names of that tenant, and the others summed', async () => {
  const text = await scrape(service, mint(service, 'globex', ['kms:admin']));
  assert.deepEqual(linesOf(text, 'kms_keys_total'), [
    'kms_keys_total{alg="ed25519"} 2',
    'kms_keys_total{tenant="globex",purpose="layoffs",alg="ed25519"} 1',
  ]);
  assert.doesNotMatch(text, /acme|merger|payroll/);
});

test('scrapes at the same time show each what it may see', async () => {
  const admin = mint(service, 'default', ['kms:admin']);
  const texts = await Promise.all(
    Array.from({ length: 20 }, (_, n) => scrape(service, n % 2 === 0 ? undefined : admin)),
  );
  for (const [n, text] of texts.entries()) {
    if (n % 2 === 0) assertNameless(text);
    else assert.equal(linesOf(text, 'kms_keys_total{tenant=').length, 3);
  }
});

test('what answers without a capability says nothing of tenants', async () => {
  for (const path of ['/healthz', '/readyz', '/version'])
    assert.doesNotMatch(
      (await exchange(service, { method: 'GET', path })).text,
      /acme|globex|merger|layoffs/,
    );
});

test('KMS_METRICS_NAMES=open shows the names to everybody', async () => {
  const open = await withKeys(
    await startInProcess({ env: { KMS_BACKEND: 'memory', KMS_METRICS_NAMES: 'open' } }),
  );
  try {
    assert.equal(linesOf(await scrape(open), 'kms_keys_total{tenant="acme"').length, 2);
  } finally {
    await open.stop();
  }
});
