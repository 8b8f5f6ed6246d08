import assert from 'node:assert/strict';
import test from 'node:test';
import { ok, refuse } from '../../src/core/result.ts';
import type { SignRequest } from '../../src/operations/sign.ts';
import { codeOf, unwrap } from '../support/keyring.ts';
import { openOperations, payloadBlake3, planOf } from '../support/operations.ts';

const terms = { input: payloadBlake3, alg: undefined, mode: undefined, opId: undefined, receipts: false };

test('each item has its own work, or its own refusal with the kids it names', async (t) => {
  const { makeKey, operations } = openOperations(t);
  const { kid } = await makeKey('ed25519');
  const missing = kid.replace(/[^/]+$/, '00000000-0000-4000-8000-000000000000');
  const items = [
    ok<SignRequest>({ kids: [kid], ...terms }),
    refuse('BadRequest', 'no request'),
    ok<SignRequest>({ kids: [missing], ...terms }),
  ];
  let read = 0;
  const batch = {
    items: () => {
      read++;
      return items;
    },
  };
  const { plan, answer } = await planOf(operations.sign_batch, batch);
  assert.equal(read, 1, 'items are read once, when they are planned');
  assert.deepEqual(
    plan.works.map((work) => ('code' in work ? work.code : work.alg)),
    ['ed25519', 'BadRequest', 'NotFound'],
  );
  assert.deepEqual(plan.subjects, [[], [], [missing]]);
  const answers = unwrap(answer());
  assert.deepEqual(answers.map(codeOf), ['ok', 'BadRequest', 'NotFound']);
  assert.equal(unwrap(answers[0]!).kid, kid);
  assert.deepEqual(operations.sign_batch.subjects?.(batch), [kid, missing]);
});
