import type { PolicyRule, PolicyRules } from '../config/policy-file.ts';
import { matchesAny } from '../core/pattern.ts';
import type { Decision, Policy, PolicyQuestion } from './policy.ts';

/** Decides by the `rules:` of the policy file: the first one that fits, and `default` where none does. */
export function createRulesPolicy({ rules, otherwise }: PolicyRules): Policy {
  const decisions = new Map<PolicyRule, Decision>(rules.map((rule) => [rule, decisionOf(rule)]));
  const fallBack: Decision = { allow: otherwise === 'allow', reason: 'no rule fits' };
  return {
    decide(question) {
      const rule = rules.find(({ when }) => fits(when, question));
      return rule === undefined ? fallBack : (decisions.get(rule) as Decision);
    },
  };
}

const questionMembers = ['tenant', 'actor', 'operation', 'kid', 'purpose', 'alg'] as const;

/** Every member that a rule names has to fit; a rule that names none fits all. */
function fits(when: PolicyRule['when'], question: PolicyQuestion): boolean {
  return questionMembers.every((name) => {
    const patterns = when[name];
    return patterns === undefined || matchesAny(patterns, question[name]);
  });
}

function decisionOf({ effect, mode, usesPerDay, reason }: PolicyRule): Decision {
  return {
    allow: effect === 'allow',
    ...(mode === undefined ? undefined : { mode }),
    ...(usesPerDay === undefined ? undefined : { limits: { usesPerDay } }),
    ...(reason === undefined ? undefined : { reason }),
  };
}
