import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import test, { after, before, describe } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { allScopes, assertFailed, mintFor } from '../support/requests.ts';
import { call, type InProcessService, type JsonAnswer, temporaryDirectory } from '../support/service.ts';

describe('op_id', { timeout: 120_000 }, () => {
  const dataDir = temporaryDirectory();
  let service: InProcessService;

  before(async () => {
    service = await startInProcess({ dataDir });
  });
  after(async () => {
    assert.equal(await service.stop(), 0);
  });

  const post = (path: string, body: unknown, token = service.token): Promise<JsonAnswer> =>
    call(service, token, 'POST', `/v1/kms${path}`, body);
  const path = (kid: string, action: string) => `/keys/${encodeURIComponent(kid)}/${action}`;
  const keysOf = async (purpose: string) =>
    (await call(service, service.token, 'GET', `/v1/kms/keys?purpose=${purpose}`)).body.keys;
  const versionOf = async (id: string) =>
    (await call(service, service.token, 'GET', `/v1/kms/keys/${encodeURIComponent(id)}`)).body
      .current_version;
  const create = async (purpose: string): Promise<string> =>
    (await post('/keys', { purpose, alg: 'ed25519' })).body.kid.replace('#v1', '');

  test('the same change again has the same answer and happens once, also after a restart', async () => {
    const id = await create('again');
    const asked: [string, Record<string, unknown>, number][] = [
      ['/keys', { purpose: 'made-once', alg: 'ed25519+ml-dsa-65', op_id: randomUUID() }, 201],
      [path(id, 'rotate'), { op_id: randomUUID() }, 200],
      [path(id, 'rotate'), { op_id: randomUUID() }, 200],
      [path(id, 'destroy'), { op_id: randomUUID(), version: 1 }, 200],
      [path(id, 'destroy'), { op_id: randomUUID() }, 200],
    ];
    const first: unknown[] = [];
    for (const [at, body, status] of asked) {
      const answer = await post(at, body);
      assert.equal(answer.status, status, JSON.stringify(answer.body));
      first.push(answer.body);
    }
    const repeatAll = async () => {
      for (const [index, [at, body, status]] of asked.entries()) {
        const reordered = Object.fromEntries(Object.entries(body).reverse());
        const inCapitals = { ...body, op_id: (body.op_id as string).toUpperCase() };
        for (const sent of [body, reordered, inCapitals]) {
          const answer = await post(at, sent);
          assert.equal(answer.status, status);
          assert.deepEqual(answer.body, first[index]);
        }
      }
      assert.equal((await keysOf('made-once')).length, 1);
      assert.equal(await versionOf(id), 3);
    };
    await repeatAll();
    assert.equal(await service.stop(), 0);
    service = await startInProcess({ dataDir });
    await repeatAll();
    await service.stop();
    service = await startInProcess({ dataDir });
    await repeatAll();
  });

  test('the same change spelled in another way is the same change', async () => {
    const plain = { purpose: 'spelled', alg: 'ed25519', op_id: randomUUID() };
    const made = await post('/keys', { ...plain, policy: null });
    assert.equal(made.status, 201);
    const tenant = (made.body.kid as string).split('/')[0];
    for (const more of [{}, { policy: null }, { policy: {} }, { tenant }, { tenant, policy: null }]) {
      const again = await post('/keys', { ...plain, ...more });
      assert.deepEqual([again.status, again.body], [201, made.body], JSON.stringify(more));
    }
    const id = (made.body.kid as string).replace('#v1', '');
    await post(path(id, 'rotate'), {});
    const op_id = randomUUID();
    const destroyed = await post(path(id, 'destroy'), { op_id, version: 1 });
    assert.equal(destroyed.status, 200);
    for (const body of [{ op_id }, { op_id, version: 1 }]) {
      assert.deepEqual((await post(path(`${id}#v1`, 'destroy'), body)).body, destroyed.body);
    }
    assertFailed(await post(path(id, 'destroy'), { op_id }), 409, 'Conflict');
  });

  test('many at the same time are one', async () => {
    for (const [at, body, status] of [
      ['/keys', { purpose: 'at-once', alg: 'ml-dsa-65', op_id: randomUUID() }, 201],
      [path(await create('x'), 'rotate'), { op_id: randomUUID() }, 200],
      [path(await create('x'), 'destroy'), { op_id: randomUUID() }, 200],
    ] as const) {
      const answers = await Promise.all(Array.from({ length: 24 }, () => post(at, body)));
      for (const answer of answers) {
        assert.equal(answer.status, status, JSON.stringify(answer.body));
        assert.deepEqual(answer.body, answers[0]?.body);
      }
    }
    assert.equal((await keysOf('at-once')).length, 1);
    for (const { kid, current_version } of await keysOf('x')) assert.ok(current_version <= 2, kid);
  });

  test('an op_id that stands for another request is a conflict, and changes nothing', async () => {
    const id = await create('conflict');
    const other = await create('conflict');
    const op_id = randomUUID();
    const created = await post('/keys', { purpose: 'conflict-made', alg: 'ed25519', op_id });
    assert.equal(created.status, 201);
    for (const [at, body] of [
      ['/keys', { purpose: 'conflict-made', alg: 'ml-dsa-65', op_id }],
      ['/keys', { purpose: 'conflict-other', alg: 'ed25519', op_id }],
      ['/keys', { purpose: 'conflict-made', alg: 'ed25519', policy: { audit: 'synced' }, op_id }],
      [path(id, 'rotate'), { op_id }],
      [path(id, 'destroy'), { op_id }],
    ] as const) {
      assertFailed(await post(at, body), 409, 'Conflict');
    }
    const rotation = randomUUID();
    assert.equal((await post(path(id, 'rotate'), { op_id: rotation })).status, 200);
    assertFailed(await post(path(other, 'rotate'), { op_id: rotation }), 409, 'Conflict');
    assertFailed(await post(path(id, 'destroy'), { op_id: rotation }), 409, 'Conflict');
    assert.equal((await keysOf('conflict-made')).length, 1);
    assert.equal((await keysOf('conflict-other')).length, 0);
    assert.deepEqual([await versionOf(id), await versionOf(other)], [2, 1]);
  });

  test('two different requests with one op_id at the same time: one of them wins', async () => {
    const op_id = randomUUID();
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        post('/keys', { purpose: `race-${index % 2}`, alg: 'ed25519', op_id }),
      ),
    );
    const made = new Set(answers.filter(({ status }) => status === 201).map(({ body }) => body.kid));
    assert.equal(made.size, 1);
    for (const answer of answers) if (answer.status !== 201) assertFailed(answer, 409, 'Conflict');
    const keys = [...(await keysOf('race-0')), ...(await keysOf('race-1'))];
    assert.equal(keys.length, 1);
  });

  test('a refused change leaves its op_id free', async () => {
    const op_id = randomUUID();
    assertFailed(await post('/keys', { purpose: 'free', alg: 'nothing', op_id }), 400, 'Unsupported');
    const id = await create('free');
    assertFailed(await post(path(id, 'destroy'), { op_id, version: 1 }), 409, 'Conflict');
    assert.equal((await post(path(id, 'rotate'), { op_id })).status, 200);
  });

  test('each tenant has its own', async () => {
    const op_id = randomUUID();
    const body = { purpose: 'own', alg: 'ed25519', op_id };
    const mine = await post('/keys', body);
    const theirs = await post('/keys', body, mintFor(dataDir, { tenant: 'other', scopes: allScopes }));
    assert.deepEqual([mine.status, theirs.status], [201, 201]);
    assert.match(theirs.body.kid, /^other\/own\//);
  });
});
