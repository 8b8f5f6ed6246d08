import assert from 'node:assert/strict';
import test from 'node:test';
import { Admission } from '../../src/admission/admission.ts';
import { KeyUses } from '../../src/admission/key-uses.ts';
import { createCancellation } from '../../src/core/cancellation.ts';
import type { FailureCode } from '../../src/core/failure.ts';
import { ok, type Result, refuse } from '../../src/core/result.ts';
import { recordsNothing } from '../../src/operations/recording/use-recorder.ts';
import { type CallRequest, createRequestPath, type RequestPathParts } from '../../src/request-path.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { countsIn } from '../support/counts.ts';
import { bearing } from '../support/credentials.ts';

/** A path whose queue gives this answer to every work; two calls a day, and two signatures of the key. */
function pathWhere(queue: () => Result<[]>) {
  const day = [{ count: 2, windowMs: 86_400_000 }];
  const clock = { monotonicMs: () => 0, utcMs: () => 0 };
  const path = createRequestPath({
    admission: new Admission({
      rates: { 'kms:sign': day },
      defaultDeadlineMs: 250,
      batchDeadlineMs: 250,
      maxDeadlineMs: 2_000,
    }),
    authenticator: {
      authenticate: ({ token = '' }) => ok({ tenant: token, actor: token, scopes: new Set(['kms:sign']) }),
    },
    keyUses: new KeyUses({ counts: countsIn(new MemoryStore()), clock, perDay: 2 }),
    clock,
    floodGuard: {
      spent: () => false,
      refusal: () => undefined,
      answerTo: (refused: unknown) => refused,
      afterParsing: (_: string, begin: () => unknown) => begin(),
    },
    signatures: { refusal: () => undefined, runAll: async (works: []) => works.map(queue) },
    audit: recordsNothing,
    observer: { done: () => {} },
  } as unknown as RequestPathParts);
  const work = { alg: 'ed25519', kind: 'sign', items: [], meters: [], uses: [{ keyId: 'k' }] };
  const operation = {
    ...{ name: 'sign', kind: 'crypto', scope: 'kms:sign', batch: false },
    plan: () => ok({ works: [work], finish: ([outcome]: [Result<unknown>]) => outcome }),
  };
  return async () => {
    const call = { operation, parse: () => ok({}), body: new Uint8Array(0) };
    const from = { credentials: bearing('acme'), cancellation: createCancellation() };
    const answer = await path({ ...call, ...from } as unknown as CallRequest<unknown, unknown>);
    return answer.ok ? 'ok' : (answer.failure.hint ?? answer.failure.code);
  };
}

for (const code of ['Backpressure', 'Timeout'] satisfies FailureCode[]) {
  test(`what the queue ends with ${code} counts for no limit, of tenant or key`, async () => {
    let full = true;
    const sign = pathWhere(() => (full ? refuse(code) : ok([])));
    for (let n = 0; n < 10; n++) assert.equal(await sign(), code);
    full = false;
    for (let n = 0; n < 2; n++) assert.equal(await sign(), 'ok');
    assert.match(await sign(), /limit/);
  });
}

test('a signature that failed while it was made stays counted: the key may have been used', async () => {
  const sign = pathWhere(() => refuse('Internal'));
  for (let n = 0; n < 2; n++) assert.equal(await sign(), 'Internal');
  assert.match(await sign(), /limit/);
});
