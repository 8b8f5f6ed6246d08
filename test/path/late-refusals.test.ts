import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { Admission } from '../../src/admission/admission.ts';
import { FloodGuard } from '../../src/admission/flood-guard/flood-guard.ts';
import { createCancellation } from '../../src/core/cancellation.ts';
import { ok, type Refused, refuse } from '../../src/core/result.ts';
import type { Operation } from '../../src/operations/operation.ts';
import { type CallRequest, createRequestPath, type RequestPathParts } from '../../src/request-path.ts';
import { bearing } from '../support/credentials.ts';

/** The path up to where a body would be parsed; the token is the tenant's name. */
function pathOf(t: TestContext, perSecond: number) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let nowMs = 1_000;
  const admission = new Admission({
    rates: { 'kms:sign': [{ count: perSecond, windowMs: 1_000 }] },
    defaultDeadlineMs: 250,
    batchDeadlineMs: 250,
    maxDeadlineMs: 2_000,
  });
  const clock = { monotonicMs: () => nowMs, utcMs: () => nowMs };
  const soon: (() => void)[] = [];
  const parsedBodies: Uint8Array[] = [];
  const queue: { refusal: Refused | undefined } = { refusal: undefined };
  const parts = {
    admission,
    authenticator: {
      authenticate: ({ token = '' }) =>
        ok({ tenant: token, actor: token, scopes: new Set(['kms:sign', 'kms:destroy']) }),
    },
    clock,
    signatures: { refusal: () => queue.refusal },
    floodGuard: new FloodGuard({
      clock,
      soon: (callBack) => void soon.push(callBack),
      atTurnEnd: () => {},
      queueTargetMs: 5,
    }),
  } as unknown as RequestPathParts;
  const path = createRequestPath(parts);
  const parse = (body: Uint8Array) => {
    parsedBodies.push(body);
    if (body[0] === 0xbb) throw new Error('a bug');
    return { ok: false, failure: { code: 'BadRequest' } };
  };
  /** Each takes 0.01 ms to read. */
  const call = (
    tenant: string,
    deadlineWish?: string,
    body = new Uint8Array(0),
    { name, kind }: Pick<Operation<unknown, unknown>, 'name' | 'kind'> = { name: 'sign', kind: 'crypto' },
  ) => {
    nowMs += 0.01;
    return path({
      operation: { name, kind, scope: `kms:${name}`, batch: false },
      parse,
      credentials: bearing(tenant),
      body,
      deadlineWish,
      cancellation: createCancellation(),
    } as unknown as CallRequest<unknown, unknown>);
  };
  /** What was put off goes on, all of it. */
  const goOn = () => {
    for (let callBack = soon.shift(); callBack !== undefined; callBack = soon.shift()) callBack();
  };
  const useUp = (tenant: string) => {
    for (let n = 0; n < perSecond; n++) admission.enter(tenant, 'kms:sign', nowMs);
  };
  return {
    call,
    goOn,
    useUp,
    queue,
    parsedBodies,
    held: () => (parts.floodGuard as FloodGuard).heldRefusals,
  };
}

const codeOf = (answer: unknown) => (answer as { failure?: { code: string } }).failure?.code;

test('in a long turn others come first: a flood goes on later', async (t) => {
  const { call, goOn } = pathOf(t, 100_000);
  assert.equal(codeOf(call('victim')), 'BadRequest', 'it came to be parsed');
  let later: unknown;
  for (let n = 0; n < 1_000 && !(later instanceof Promise); n++) later = call('flood');
  assert.ok(later instanceof Promise);
  assert.equal(codeOf(call('victim')), 'BadRequest');
  goOn();
  assert.equal(codeOf(await later), 'BadRequest', 'it came to be parsed');
});

test('what is put off keeps its body, whose memory is another request’s by then', async (t) => {
  const { call, goOn, parsedBodies } = pathOf(t, 100_000);
  call('victim');
  const body = Uint8Array.of(1, 2, 3);
  let later: unknown;
  for (let n = 0; n < 1_000 && !(later instanceof Promise); n++) later = call('flood', undefined, body);
  body.fill(9);
  goOn();
  await later;
  assert.deepEqual(parsedBodies.at(-1), Uint8Array.of(1, 2, 3));
});

test('what throws when it goes on rejects its own call, and the others go on', async (t) => {
  const { call, goOn } = pathOf(t, 100_000);
  call('victim');
  const later: Promise<unknown>[] = [];
  const bug = Uint8Array.of(0xbb);
  while (!(call('flood') instanceof Promise));
  for (const body of [bug, undefined]) later.push(call('flood', undefined, body) as Promise<unknown>);
  goOn();
  await assert.rejects(later[0] as Promise<unknown>, /a bug/);
  assert.equal(codeOf(await later[1]), 'BadRequest');
});

test('where too many were put off already, the refusal comes when the deadline is nearly over', async (t) => {
  const { call, held } = pathOf(t, 100_000);
  call('victim');
  for (let n = 0; n < 2_000 && held() === 0; n++) call('flood', '400');
  assert.equal(held(), 1);
  let answer: unknown;
  void (call('flood', '400') as Promise<unknown>).then((given) => {
    answer = given;
  });
  t.mock.timers.tick(397);
  await new Promise(setImmediate);
  assert.equal(answer, undefined);
  t.mock.timers.tick(1);
  await new Promise(setImmediate);
  assert.equal(codeOf(answer), 'Backpressure');
  assert.equal(held(), 0);
});

test('what was put off and is refused then hears of it late, and at once otherwise', async (t) => {
  const { call, goOn, useUp, held } = pathOf(t, 5);
  assert.equal(codeOf(call('victim')), 'BadRequest');
  useUp('flood');
  for (let n = 0; n < 13; n++) assert.equal(codeOf(call('flood')), 'RateLimited');
  let later: unknown;
  for (let n = 0; n < 1_000 && !(later instanceof Promise); n++) later = call('flood');
  assert.equal(held(), 0);
  goOn();
  assert.equal(held(), 1);
  t.mock.timers.tick(250);
  assert.equal(codeOf(await later), 'RateLimited');
});

test('a tenant that is alone hears at once that it is refused', (t) => {
  const { call, useUp } = pathOf(t, 5);
  useUp('alone');
  for (let n = 0; n < 1_000; n++) call('alone');
  assert.equal(codeOf(call('alone')), 'RateLimited');
});

test('a call that is refused is not parsed', (t) => {
  const { call, useUp, parsedBodies } = pathOf(t, 5);
  useUp('alone');
  assert.equal(codeOf(call('alone')), 'RateLimited');
  assert.deepEqual(parsedBodies, []);
});

test('where its queue stands a tenant hears late that it is refused, also when it is alone', async (t) => {
  const { call, queue, held } = pathOf(t, 100_000);
  queue.refusal = refuse('Backpressure', 'too much', 5);
  assert.equal(codeOf(call('alone')), 'Backpressure', 'a burst that is too large hears at once');
  queue.refusal = { ok: false, failure: { ...queue.refusal.failure, standing: true } };
  const late = call('alone');
  assert.ok(late instanceof Promise);
  assert.equal(held(), 1);
  t.mock.timers.tick(250);
  assert.equal(codeOf(await late), 'Backpressure');
  assert.equal(held(), 0);
});

test('the destruction of a key is neither put off nor held back', (t) => {
  const { call, queue, held } = pathOf(t, 100_000);
  call('victim');
  for (let n = 0; n < 1_000; n++) call('flood');
  const before = held();
  queue.refusal = { ok: false, failure: { code: 'Backpressure', standing: true } };
  const destroy = { name: 'destroy', kind: 'keys' } as unknown as Pick<
    Operation<unknown, unknown>,
    'name' | 'kind'
  >;
  assert.equal(codeOf(call('flood', undefined, undefined, destroy)), 'BadRequest', 'it came to be parsed');
  assert.equal(held(), before);
});

test('a deadline that cannot be read is no reason to wait', (t) => {
  const { call } = pathOf(t, 100_000);
  call('victim');
  for (let n = 0; n < 1_000; n++) call('flood');
  assert.equal(codeOf(call('flood', 'soon')), 'BadRequest');
});
