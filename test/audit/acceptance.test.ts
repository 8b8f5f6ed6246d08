import assert from 'node:assert/strict';
import test from 'node:test';
import type { Acceptance, AuditState, AuditStats } from '../../src/audit/audit-log.ts';
import {
  acceptanceLifetimeMs,
  createTwoPersonAcceptance,
  maxPendingAcceptances,
} from '../../src/audit/service/acceptance.ts';
import { ok, type Result } from '../../src/core/result.ts';

function failedLog() {
  let nowMs = 0;
  const log = {
    state: 'integrity_failed' as AuditState,
    reason: 'truncated: 10 records',
    failures: 1,
    stats: () => ({ integrityFailures: log.failures }) as AuditStats,
  };
  const accepted: Acceptance[] = [];
  const acceptance = createTwoPersonAcceptance(
    log,
    async (asked): Promise<Result<void>> => {
      accepted.push(asked);
      return ok(undefined);
    },
    { monotonicMs: () => nowMs, utcMs: () => nowMs },
  );
  const propose = (reason: string, approver: string) => {
    const proposed = acceptance.propose(reason, approver);
    assert.ok(proposed.ok);
    return proposed.value.approval;
  };
  const code = (result: Result<unknown>) => (result.ok ? 'ok' : result.failure.code);
  return { log, acceptance, accepted, propose, code, wait: (ms: number) => (nowMs += ms) };
}

test('an acceptance needs two actors, and has both in the order in which they agreed', async () => {
  const { acceptance, accepted, propose, code } = failedLog();
  const approval = propose('disk', 'ada');
  assert.equal(code(await acceptance.confirm(approval, 'ada')), 'PolicyViolation');
  assert.deepEqual(accepted, []);
  assert.deepEqual(await acceptance.confirm(approval, 'grace'), ok(['ada', 'grace']));
  assert.deepEqual(accepted, [{ reason: 'disk', approvers: ['ada', 'grace'] }]);
  assert.equal(code(await acceptance.confirm(approval, 'grace')), 'NotFound', 'it is used up');
});

test('two confirmations at once begin one epoch', async () => {
  const { acceptance, accepted, propose, code } = failedLog();
  const [one, two] = [propose('disk', 'ada'), propose('drill', 'alan')];
  const outcomes = await Promise.all([acceptance.confirm(one, 'grace'), acceptance.confirm(two, 'grace')]);
  assert.deepEqual(outcomes.map(code), ['ok', 'Conflict']);
  assert.equal(accepted.length, 1);
});

test('an approval expires, and is for the failure that was there when it was given', async () => {
  const { log, acceptance, propose, code, wait } = failedLog();
  const early = propose('disk', 'ada');
  wait(acceptanceLifetimeMs);
  assert.equal(code(await acceptance.confirm(early, 'grace')), 'NotFound');
  const other = propose('disk', 'ada');
  log.failures++;
  assert.equal(code(await acceptance.confirm(other, 'grace')), 'NotFound');
  assert.deepEqual(acceptance.pending(), { failure: log.reason, approvals: [] });
  log.state = 'ready';
  assert.equal(code(acceptance.propose('disk', 'ada')), 'Conflict');
  assert.equal(code(await acceptance.confirm(other, 'grace')), 'Conflict');
});

test('an actor has one approval that waits, and there is a bound for all', () => {
  const { acceptance, propose, code, wait } = failedLog();
  for (let n = 0; n < maxPendingAcceptances; n++) propose('disk', `actor-${n}`);
  const again = propose('disk, ticket 4711', 'actor-0');
  assert.equal(acceptance.pending().approvals.length, maxPendingAcceptances);
  assert.equal(acceptance.pending().approvals.at(-1)?.approval, again);
  assert.equal(code(acceptance.propose('disk', 'one more')), 'Backpressure');
  wait(acceptanceLifetimeMs);
  propose('disk', 'one more');
});
