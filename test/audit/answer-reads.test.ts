import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { systemFiles } from '../../src/audit/disk/files.ts';
import type { AuditRecord } from '../../src/audit/format/record.ts';
import { createReadAnswerer } from '../../src/audit/reading/answer-reads.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { appendMany, event, machine, startLog } from './support/log.ts';

test('looking for an op_id ends with the time that it may take, and goes on where it ended', async (context) => {
  const directory = temporaryDirectory(context);
  const { log } = await startLog(machine(systemFiles), { directory });
  const opId = 'fedcba98-0000-4000-8000-000000000000';
  await appendMany(log, 5_000, 64);
  assert.ok(log.reserve(1));
  const appended = await log.append(event({ opId, tenant: 'other' }), 'written');
  assert.ok(appended.ok);
  await appendMany(log, 64, 64);
  const audit = join(directory, 'audit');

  const pages = (nowMs: () => number, asked: { opId?: string; tenant?: string; limit?: number }) => {
    const answer = createReadAnswerer(nowMs);
    const found: { index: number; opId: string }[] = [];
    const ends: (number | undefined)[] = [];
    for (let from: number | undefined = 0; from !== undefined; ) {
      const { limit = 100, opId, tenant } = asked;
      const answered = answer(audit, { of: 'records', from, limit, opId, tenant });
      assert.ok(answered.found && 'page' in answered);
      for (const { index, record } of answered.page.records)
        found.push({ index, opId: (record as AuditRecord).op_id });
      from = answered.page.next;
      ends.push(from);
    }
    return { found, ends };
  };
  const hit = [{ index: appended.value.index, opId }];
  let now = 0;
  const slow = pages(() => (now += 50), { opId });
  assert.deepEqual(slow, { found: hit, ends: [2_048, 4_096, undefined] });
  assert.deepEqual(
    pages(() => 0, { opId }),
    { found: hit, ends: [undefined] },
  );
  assert.deepEqual(pages(() => 0, { opId, tenant: 'other' }).found, hit);
  assert.deepEqual(pages(() => 0, { opId, tenant: 'acme' }).found, [], 'of another tenant');
  assert.deepEqual(pages(() => 0, { opId: 'fedcba98' }).found, []);
  const all = pages(() => (now += 10), { limit: 1_000 });
  assert.deepEqual(
    all.found.map(({ index }) => index),
    Array.from({ length: log.stats().size }, (_, index) => index),
  );
  await log.close();
});
