import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { mintFor } from '../support/requests.ts';
import { call, type InProcessService, temporaryDirectory } from '../support/service.ts';

const dataDir = temporaryDirectory();
const env = { KMS_ALLOWED_ALGS: 'ed25519,ml-dsa-65' };
let service: InProcessService;

before(async () => {
  service = await startInProcess({ dataDir, env });
});
after(() => service.stop());

function mint(tenant: string, ...scopes: string[]): string {
  return mintFor(dataDir, { tenant, scopes });
}

interface Recorded {
  readonly key_id: string;
  readonly key_version: number;
  readonly seq: number;
  readonly purpose: string;
  readonly alg: string;
  readonly result: string;
}

type Row = readonly [seq: number, purpose: string, alg: string, result: string];

/** Records of the tenant's calls that name no key, once there are `count`: some are written after the answer has left. */
async function keylessRecords(tenant: string, count: number): Promise<Row[]> {
  const keyless = (await recordsOf(tenant, count, ({ key_id }) => key_id === `${tenant}/-`)) as Recorded[];
  assert.ok(keyless.every(({ key_version }) => key_version === 0));
  return keyless.map(({ seq, purpose, alg, result }) => [seq, purpose, alg, result]);
}

async function recordsOf(
  tenant: string,
  count: number,
  wanted: (record: Recorded) => boolean,
): Promise<Recorded[]> {
  const auditor = mint(tenant, 'kms:audit');
  for (let round = 0; round < 500; round++) {
    const { records } = (await call(service, auditor, 'GET', '/v1/kms/audit/records?limit=1000')).body as {
      records: { record: Recorded }[];
    };
    const found = records.map(({ record }) => record).filter(wanted);
    if (found.length >= count) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`no ${count} records of ${tenant}`);
}

async function refused(token: string, path: string, body: object, status: number, code: string) {
  const answer = await call(service, token, 'POST', path, body);
  assert.deepEqual([answer.status, answer.body.error?.code], [status, code]);
}

test('a refused create leaves a record that says who, which algorithm and why', async () => {
  const creator = mint('creates', 'kms:create');
  const create = (body: object, status: number, code: string) =>
    refused(creator, '/v1/kms/keys', { purpose: 'test', ...body }, status, code);
  await create({ alg: 'rsa-2048' }, 403, 'PolicyViolation');
  const named = { alg: 'ed25519', op_id: '0192f7c1-5b1e-4c3a-9d2e-000000000001' };
  assert.equal(
    (await call(service, creator, 'POST', '/v1/kms/keys', { purpose: 'test', ...named })).status,
    201,
  );
  await create({ ...named, alg: 'ml-dsa-65' }, 409, 'Conflict');
  await create({ alg: 'ed25519', tenant: 'somebody-else' }, 403, 'NoCapability');
  await refused(
    mint('creates', 'kms:read'),
    '/v1/kms/keys',
    { purpose: 'test', alg: 'ed25519' },
    403,
    'NoCapability',
  );
  assert.deepEqual(await keylessRecords('creates', 4), [
    [1, 'create', 'rsa-2048', 'denied:PolicyViolation'],
    [2, 'create', 'ml-dsa-65', 'denied:Conflict'],
    [3, 'create', 'ed25519', 'denied:NoCapability'],
    [4, 'create', 'ed25519', 'denied:NoCapability'],
  ]);
});

test('so do other calls that name no key', async () => {
  const reader = mint('keyless', 'kms:sign');
  assert.equal((await call(service, reader, 'GET', '/v1/kms/keys')).status, 403);
  const admin = mint('keyless', 'kms:admin');
  await refused(admin, '/v1/kms/audit/rotate-keys', {}, 403, 'NoCapability');
  await refused(admin, '/v1/kms/audit/accept', { reason: 'none' }, 403, 'NoCapability');
  assert.deepEqual(
    (await keylessRecords('keyless', 3)).map(([, ...what]) => what),
    [
      ['list', 'none', 'denied:NoCapability'],
      ['audit_rotate_keys', 'none', 'denied:NoCapability'],
      ['audit_accept', 'none', 'denied:NoCapability'],
    ],
  );
});

test('what cannot be read, and what the service cannot do, is counted and leaves no record', async () => {
  const creator = mint('unreadable', 'kms:create');
  await refused(creator, '/v1/kms/keys', { colour: 'red' }, 400, 'BadRequest');
  await refused(creator, '/v1/kms/keys', { purpose: 'test', alg: 'rot13' }, 400, 'Unsupported');
  await refused(mint('unreadable', 'kms:read'), '/v1/kms/keys', { colour: 'red' }, 403, 'NoCapability');
  await refused(creator, '/v1/kms/keys', { purpose: 'test', alg: 'rsa-2048' }, 403, 'PolicyViolation');
  assert.deepEqual(await keylessRecords('unreadable', 1), [
    [1, 'create', 'rsa-2048', 'denied:PolicyViolation'],
  ]);
});

test('the records of refused creates go on in their sequence after a restart', async () => {
  const creator = mint('restarts', 'kms:create');
  const create = () =>
    refused(creator, '/v1/kms/keys', { purpose: 'test', alg: 'rsa-2048' }, 403, 'PolicyViolation');
  await create();
  assert.equal(await service.stop(), 0);
  service = await startInProcess({ dataDir, env });
  assert.deepEqual((await call(service, undefined, 'GET', '/readyz')).body.missing, []);
  await create();
  assert.deepEqual(
    (await keylessRecords('restarts', 2)).map(([seq]) => seq),
    [1, 2],
  );
});
