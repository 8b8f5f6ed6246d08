import assert from 'node:assert/strict';
import test from 'node:test';
import type { Witnessed } from '../../src/audit/thread-messages.ts';
import { ok, type Result, refuse } from '../../src/core/result.ts';
import {
  appendMany,
  auditDirectory,
  headPath,
  type Machine,
  machine,
  origin,
  startLog,
} from './support/log.ts';
import type { MemoryFiles } from './support/memory-files.ts';

type Witnesses = (origin: string) => Promise<Result<readonly Witnessed[]>>;

/** A witness that has cosigned this much of one log and knows no other. */
function holding(tree: { size: number; root: Uint8Array }, name = origin): Witnesses {
  return async (asked) => ok(asked === name ? [{ witness: 'w1', ...tree }] : []);
}

function start(on: Machine, witnessed: Witnesses) {
  return startLog(on, { parts: { witnessed } });
}

async function stateOf(on: Machine, witnessed: Witnesses): Promise<string> {
  const before = (on.files as MemoryFiles).copy('/data');
  const running = await start(on, witnessed);
  const { state, reason } = running.log;
  const { size } = running.log.stats();
  running.kill();
  if (state !== 'ready') {
    assert.deepEqual((on.files as MemoryFiles).copy('/data'), before, 'nothing was written');
    assert.equal(size, 0);
  }
  return reason === undefined ? state : `${state}: ${reason}`;
}

/** A log at two times, closed in order. */
async function twice() {
  const on = machine();
  const files = on.files as MemoryFiles;
  const copies: { files: Map<string, Buffer>; anchor: Machine['anchor'] }[] = [];
  for (let n = 0; n < 2; n++) {
    const { log } = await startLog(on);
    await appendMany(log, 10);
    await log.close();
    copies.push({ files: files.copy('/data'), anchor: on.anchor });
  }
  const [older, newer] = copies;
  assert.ok(older?.anchor !== undefined && newer?.anchor !== undefined);
  const now = (): Machine => ({ ...on, files: files.afterCrash() });
  const rolledBack = (): Machine => {
    const back = { ...now(), anchor: older.anchor };
    (back.files as MemoryFiles).restore('/data', older.files);
    return back;
  };
  return { now, rolledBack, older: older.anchor, newer: newer.anchor };
}

test('an older copy of everything is seen by a witness before anything is written', async () => {
  const { now, rolledBack, older, newer } = await twice();
  assert.equal(await stateOf(now(), holding(newer)), 'ready');
  assert.equal(await stateOf(now(), holding(older)), 'ready', 'a witness may be late');
  assert.equal(await stateOf(rolledBack(), holding(older)), 'ready', 'nobody can know');
  assert.match(
    await stateOf(rolledBack(), holding(newer)),
    /^integrity_failed: contradicted: witness w1 has cosigned \d+ records, the key store remembers \d+$/,
  );
  const other = { size: older.size, root: new Uint8Array(32) };
  assert.match(await stateOf(now(), holding(other)), /^integrity_failed: contradicted: .* another root$/);
});

test('an older key store is seen by a witness though HEAD and the published checkpoint are as old', async () => {
  const { now, older, newer } = await twice();
  const on = { ...now(), anchor: older };
  assert.match(await stateOf(on, holding(newer)), /contradicted: .*the key store remembers/);
});

test('a log that is gone, or rolled back to before an acceptance, is known to a witness', async () => {
  const { now, rolledBack, newer } = await twice();
  const empty = { ...now(), anchor: undefined };
  (empty.files as MemoryFiles).restore(auditDirectory, new Map());
  (empty.files as MemoryFiles).restore(headPath, new Map());
  assert.match(await stateOf(empty, holding(newer)), /^integrity_failed: contradicted/);

  const on = rolledBack();
  const inEpoch2 = holding({ size: 3, root: new Uint8Array(32) }, `${origin}/e2`);
  assert.match(await stateOf(on, inEpoch2), /contradicted: witness w1 has cosigned 3 records of epoch 2$/);
  const { log } = await start(on, inEpoch2);
  assert.ok((await log.accept({ reason: 'drill', approvers: ['ada', 'grace'] })).ok);
  assert.equal(log.stats().epoch, 3, 'nothing is signed again under an origin that has its history');
  await log.close();
});

test('while too few witnesses answer a log that must have them does not start; then it does', async () => {
  const { now, newer } = await twice();
  let reachable = false;
  const asked: string[] = [];
  const on = now();
  const before = (on.files as MemoryFiles).copy('/data');
  const { log } = await start(on, async (name) => {
    asked.push(name);
    return reachable ? holding(newer)(name) : refuse('AuditUnavailable', 'too few witnesses answer');
  });
  const state = (): string => log.state;
  assert.equal(state(), 'unavailable');
  assert.match(log.reason ?? '', /^too few witnesses/);
  assert.equal(log.reserve(1), false);
  assert.deepEqual((on.files as MemoryFiles).copy('/data'), before);
  reachable = true;
  while (state() !== 'ready') await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(asked.length > 2);
  await appendMany(log, 3);
  await log.close();

  const waiting = await start(now(), async () => refuse('AuditUnavailable'));
  await waiting.log.close();
});
