import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  addOfflineAct,
  type OfflineAct,
  readOfflineActs,
  recordOfflineActs,
} from '../../src/assemble/offline-acts.ts';
import type { AuditRecorder } from '../../src/audit/audit-log.ts';
import { createLog } from '../../src/observe/log.ts';
import { configOf } from '../support/in-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

test('an approval that comes while acts go onto the audit log waits for the next start', async (t) => {
  const dataDir = temporaryDirectory(t);
  const act = (reason: string): OfflineAct => {
    return { type: 'root.approved', atMs: 1, actor: 'uid:0', reason, facts: {} };
  };
  const told: unknown[] = [];
  const recorder = {
    reserve: () => undefined,
    async append({ data }: { readonly data: { readonly reason: string } }) {
      told.push(data.reason);
      if (data.reason === 'first') addOfflineAct(dataDir, act('meanwhile'));
      return { ok: true };
    },
  } as unknown as AuditRecorder;
  const log = createLog('fatal', 'test', { write() {} });
  const start = async () => {
    const left = readOfflineActs(dataDir).length;
    const before = told.length;
    const recording = recordOfflineActs(configOf({ KMS_DATA_DIR: dataDir }), log, recorder);
    while (told.length < before + left) await sleep(1);
    await recording.close();
  };
  addOfflineAct(dataDir, act('first'));
  await start();
  assert.deepEqual(told, ['first']);
  assert.deepEqual(readOfflineActs(dataDir), [act('meanwhile')]);
  await start();
  assert.deepEqual(told, ['first', 'meanwhile']);
  assert.deepEqual(readOfflineActs(dataDir), []);
});
