import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, type InProcessService } from '../support/service.ts';

let service: InProcessService;

before(async () => {
  service = await startInProcess({
    env: {
      KMS_BACKEND: 'memory',
      KMS_KEY_USES_PER_DAY: '1',
      KMS_RATE_LIMITS: 'sign=6/d,verify=3/d,read=3/d,destroy=2/d',
    },
  });
});

after(() => service.stop());

/** A tenant of its own for each test, with full buckets. */
async function tenant(name: string) {
  const token = await service.mint(name);
  const post = (path: string, body: unknown) => call(service, token, 'POST', `/v1/kms${path}`, body);
  return {
    post,
    get: (path: string) => call(service, token, 'GET', `/v1/kms${path}`),
    sign: (kid: string) => post('/sign', { kid, payload_b3: helloWorldB3 }),
    async key(): Promise<string> {
      return (await post('/keys', { purpose: 'p', alg: 'ed25519' })).body.kid;
    },
  };
}

test('what the limit of a key refuses does not count for its tenant', async () => {
  const { key, sign } = await tenant('keylimit');
  const used = await key();
  const fresh = await key();
  assert.equal((await sign(used)).status, 200);
  for (let n = 0; n < 6; n++) assert.equal((await sign(used)).status, 429);
  assert.equal((await sign(fresh)).status, 200);
});

test('what is 400, 404 or 409 counts for no limit', async () => {
  const { key, sign, post, get } = await tenant('refused');
  const kid = await key();
  const gone = await key();
  assert.equal((await post(`/keys/${encodeURIComponent(gone.replace('#v1', ''))}/destroy`, {})).status, 200);
  const unknown = kid.replace(/[0-9a-f]{12}#v1$/, '000000000000');
  for (let n = 0; n < 7; n++) {
    assert.equal((await sign(unknown)).status, 404);
    assert.equal((await sign(gone)).status, 409);
    assert.equal((await post('/sign', { kid })).status, 400);
    assert.equal((await post('/verify', { kid })).status, 400);
    assert.equal((await get(`/keys/${encodeURIComponent(unknown)}`)).status, 404);
    assert.equal((await post(`/keys/${encodeURIComponent(unknown)}/destroy`, {})).status, 404);
  }
  assert.equal((await sign(kid)).status, 200);
});

test('items of a batch that are refused leave their places to the others', async () => {
  const { key, post } = await tenant('batch');
  const kids: string[] = [];
  for (let n = 0; n < 7; n++) kids.push(await key());
  const [first] = kids as [string];
  const item = (kid: string) => ({ kid, payload_b3: helloWorldB3 });
  const unknown = first.replace(/[0-9a-f]{12}#v1$/, '000000000000');
  const items = [item(unknown), item(first), item(first), ...kids.slice(1).map(item)];
  const answer = await post('/sign/batch', { items });
  const codes = answer.body.results.map((result: { error?: { code: string } }) => result.error?.code ?? 'ok');
  const six = Array.from({ length: 6 }, () => 'ok');
  // Of nine items one has no key, one is its key's second use; of seven that are left six are within the rate.
  assert.deepEqual(codes, ['NotFound', 'ok', 'RateLimited', ...six.slice(1), 'RateLimited']);
});

test('a signature by several keys of which one is used up counts for none of them', async () => {
  const { key, sign, post } = await tenant('set');
  const used = await key();
  const other = await key();
  assert.equal((await sign(used)).status, 200);
  const set = { kid_set: [other, used], payload_b3: helloWorldB3 };
  assert.equal((await post('/sign', set)).status, 429);
  assert.equal((await sign(other)).status, 200);
});
