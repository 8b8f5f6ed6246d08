import assert from 'node:assert/strict';
import test from 'node:test';
import { type PolicyRules, parsePolicyFile } from '../../src/config/policy-file.ts';
import type { PolicyQuestion } from '../../src/policy/policy.ts';
import { createRulesPolicy } from '../../src/policy/rules.ts';

const question: PolicyQuestion = {
  ...{ tenant: 'acme', actor: 'cap:0123456789abcdef', operation: 'sign' },
  ...{ kid: 'acme/invoices/ed25519/0', purpose: 'invoices', alg: 'ed25519' },
};

function policyOf(text: string) {
  const read = parsePolicyFile(text, () => true);
  assert.ok(read.ok && read.file.rules !== undefined, JSON.stringify(read));
  return createRulesPolicy(read.file.rules as PolicyRules);
}

test('the first rule that fits decides, with its mode, its limits and its reason', () => {
  const policy = policyOf(`
rules:
  - { effect: deny, when: { tenant: other } }
  - { effect: allow, when: { tenant: acme, purpose: "inv*" }, mode: pq_only, limits: { uses_per_day: 3 }, reason: fine }
  - { effect: deny }
default: allow
`);
  const decided = { allow: true, mode: 'pq_only', limits: { usesPerDay: 3 }, reason: 'fine' };
  assert.deepEqual(policy.decide(question), decided);
  assert.deepEqual(policy.decide({ ...question, purpose: 'letters' }), { allow: false });
});

test('where no rule fits the default decides', () => {
  const rules = 'rules: [{ effect: deny, when: { alg: [rsa-2048, "ml-*"] } }]';
  assert.equal((policyOf(`${rules}\ndefault: allow`).decide(question) as { allow: boolean }).allow, true);
  assert.equal((policyOf(rules).decide(question) as { allow: boolean }).allow, false);
});

for (const member of ['tenant', 'actor', 'operation', 'kid', 'purpose', 'alg'] as const)
  test(`a rule may name ${member}, whole or by its beginning, and nothing else fits`, () => {
    const value = question[member];
    for (const [pattern, allow] of [
      [value, false],
      [`${value.slice(0, 2)}*`, false],
      ['*', false],
      [value.slice(0, 2), true],
      [`${value}x`, true],
      [`${value}x*`, true],
    ] as const) {
      const policy = policyOf(
        `rules: [{ effect: deny, when: { ${member}: ${JSON.stringify(pattern)} } }]\ndefault: allow`,
      );
      assert.equal((policy.decide(question) as { allow: boolean }).allow, allow, pattern);
    }
  });
