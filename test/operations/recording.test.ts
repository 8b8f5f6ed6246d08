import assert from 'node:assert/strict';
import test from 'node:test';
import type { AuditEvent, AuditRecorder } from '../../src/audit/audit-log.ts';
import { encodeRecord, parseRecord } from '../../src/audit/format/record.ts';
import { ok, type Result, refuse } from '../../src/core/result.ts';
import { type BatchResult, batchStatuses } from '../../src/engine/batch.ts';
import type { CryptoWork, Verdict } from '../../src/operations/operation.ts';
import { createUseRecorder } from '../../src/operations/recording/use-recorder.ts';

const keyId = 'acme/test/ed25519/0192f7c1-5b1e-7c3a-9d2e-000000000000';
const caller = { tenant: 'acme', scopes: new Set<never>(), actor: 'cap:0123456789abcdef' };

/** What is recorded of one verification with this verdict, and what is in the side log. */
async function resultsOf(verdict: Verdict, outcome: Result<readonly BatchResult[]>, degraded: boolean) {
  const [recorded, sideLog]: [AuditEvent[], AuditEvent[]] = [[], []];
  const recorder: AuditRecorder = {
    reserve: () => (degraded ? refuse('AuditUnavailable') : undefined),
    release: () => {},
    append: async (event) => {
      recorded.push(event);
      return ok({ index: 0, seq: 1 });
    },
    changeCommitted: () => {},
    commitmentSalt: () => undefined,
    degraded,
    unrecorded: (event) => void sideLog.push(event),
  };
  const uses = createUseRecorder(recorder, 'written', { denied: async () => {}, unauthorised: () => {} });
  const work: CryptoWork = {
    ...{ alg: 'ed25519', kind: 'verify', items: [], meters: [], inputDigest: '00', opId: undefined },
    receipts: false,
    uses: [{ keyId, version: 1, alg: 'ed25519', durability: undefined }],
    verdict: () => verdict,
  };
  const room = uses.reserve([work]);
  assert.ok(room.ok);
  await uses.record(room.value, 'verify', [work], [outcome], caller);
  return { recorded: recorded.map(({ result }) => result), sideLog: sideLog.map(({ result }) => result) };
}

const done = ok([{ status: batchStatuses.rejected, outputs: [], elapsedNs: 0 }] as const);

for (const verdict of ['ok', 'invalid', 'error:Internal'] as const) {
  test(`a verification that comes to ${verdict} is recorded so, in the log or in the side log`, async () => {
    assert.deepEqual(await resultsOf(verdict, done, false), { recorded: [verdict], sideLog: [] });
    assert.deepEqual(await resultsOf(verdict, done, true), { recorded: [], sideLog: [verdict] });
  });
}

test('one that failed has no verdict, but the failure', async () => {
  assert.deepEqual((await resultsOf('ok', refuse('Internal'), false)).recorded, ['error:Internal']);
});

test('records of verifications with and without a verdict are readable', () => {
  const record = {
    ...{ actor: caller.actor, alg: 'ed25519', input_hash: 'none', key_id: keyId, key_version: 1 },
    ...{ op_id: 'x', purpose: 'verify', seq: 1, tenant: 'acme', ts: 1_763_769_600_000_000, v: 1 as const },
  };
  for (const result of ['ok', 'invalid'])
    assert.equal(parseRecord(Buffer.from(encodeRecord({ ...record, result })))?.result, result);
});
