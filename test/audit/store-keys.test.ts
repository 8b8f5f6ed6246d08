import assert from 'node:assert/strict';
import test from 'node:test';
import type { AuditEvent, AuditReceipt } from '../../src/audit/audit-log.ts';
import type { KeyInventory } from '../../src/audit/service/parts.ts';
import { ok, type Result } from '../../src/core/result.ts';
import {
  appendMany,
  auditDirectory,
  event,
  type Machine,
  machine,
  type RunningLog,
  startLog,
} from './support/log.ts';
import type { MemoryFiles } from './support/memory-files.ts';

const wal = `${auditDirectory}/e1/wal/00000000000000000000.wal`;

/** The store's keys: current version, or the same with a minus where the key is destroyed. */
type Keys = Map<string, number>;

function inventoryOf(keys: Keys): KeyInventory {
  return {
    page: async (after = '') =>
      ok(
        [...keys]
          .sort(([one], [two]) => (one < two ? -1 : 1))
          .filter(([id]) => id > after)
          .slice(0, 3)
          .map(([id, version]) => ({ id, version: Math.abs(version), destroyed: version < 0 })),
      ),
  };
}

const start = (on: Machine, keys: Keys) => startLog(on, { parts: { keys: inventoryOf(keys) } });

const id = (name: string) => `acme/test/ed25519/${name}`;

function record(log: RunningLog['log'], over: Partial<AuditEvent>): Promise<Result<AuditReceipt>> {
  assert.ok(log.reserve(1), log.reason);
  return log.append(event({ inputDigest: undefined, ...over }), 'synced');
}

async function begin(log: RunningLog['log'], kind: string, keyId: string, keyVersion: number): Promise<void> {
  assert.ok((await record(log, { type: `key.${kind}`, keyId, keyVersion, purpose: kind })).ok);
}

async function change(log: RunningLog['log'], kind: string, keyId: string, version: number): Promise<void> {
  await begin(log, kind, keyId, version);
  log.changeCommitted(keyId);
}

function textOf(on: Machine, path = wal): string {
  return (on.files as MemoryFiles).read(path)?.toString('latin1') ?? '';
}

async function found(on: Machine, keys: Keys): Promise<{ state: string; reason: string }> {
  const running = await start({ ...on, files: (on.files as MemoryFiles).afterCrash() }, keys);
  const { state, reason = '' } = running.log;
  running.kill();
  return { state, reason };
}

/** Key a is at version 3, b is destroyed, c was made and has lost its first version. */
async function withKeys(end: 'close' | 'kill'): Promise<{ on: Machine; keys: Keys }> {
  const on = machine();
  const { log, kill } = await start(on, new Map());
  await change(log, 'create', id('a'), 1);
  await change(log, 'rotate', id('a'), 2);
  await change(log, 'rotate', id('a'), 3);
  await change(log, 'create', id('b'), 1);
  await change(log, 'destroy', id('b'), 0);
  await change(log, 'create', id('c'), 1);
  await change(log, 'rotate', id('c'), 2);
  await change(log, 'destroy', id('c'), 1);
  while (log.stats().checkpointSize < log.stats().size)
    await new Promise((resolve) => setTimeout(resolve, 10));
  if (end === 'close') await log.close();
  else kill();
  return {
    on,
    keys: new Map([
      [id('a'), 3],
      [id('b'), -1],
      [id('c'), 2],
    ]),
  };
}

test('a store that is what the log says is believed, after a stop and after kill -9', async () => {
  for (const end of ['close', 'kill'] as const) {
    const { on, keys } = await withKeys(end);
    for (let n = 0; n < 2; n++) {
      const { log, kill } = await start(on, keys);
      assert.equal(log.state, 'ready', log.reason);
      if (end === 'close') await log.close();
      else kill();
    }
    assert.doesNotMatch(textOf(on), /key\.found/);
  }
});

test('a store that is behind or ahead of the log is an integrity failure', async () => {
  const { on, keys } = await withKeys('kill');
  const cases: [string, RegExp, (keys: Keys) => void][] = [
    [
      'a rotation lacks',
      /^store_behind: .*\/a is at version 2, on the log at version 3$/,
      (k) => k.set(id('a'), 2),
    ],
    ['a key lacks', /^store_behind: .*\/c is absent, on the log at version 2$/, (k) => k.delete(id('c'))],
    ['all lack', /^store_behind: .*, and 2 others differ$/, (k) => k.clear()],
    [
      'a destroyed key is back',
      /^store_behind: .*\/b is at version 1, on the log destroyed$/,
      (k) => k.set(id('b'), 1),
    ],
    ['a rotation nobody recorded', /^store_ahead: .*\/a is at version 4/, (k) => k.set(id('a'), 4)],
    [
      'a key nobody recorded',
      /^store_ahead: .*\/d is at version 1, on the log absent$/,
      (k) => k.set(id('d'), 1),
    ],
    ['a destruction nobody recorded', /^store_ahead: .*\/a is destroyed/, (k) => k.set(id('a'), -3)],
  ];
  for (const [name, expected, alter] of cases) {
    const altered = new Map(keys);
    alter(altered);
    const { state, reason } = await found(on, altered);
    assert.equal(state, 'integrity_failed', name);
    assert.match(reason, expected, name);
  }
});

test('a crash between record and commit leaves one change of a key that the store lacks: believed, and written down', async () => {
  for (const committed of [false, true]) {
    const { on, keys } = await withKeys('close');
    const running = await start(on, keys);
    await begin(running.log, 'rotate', id('a'), 4);
    await begin(running.log, 'create', id('d'), 1);
    await begin(running.log, 'destroy', id('c'), 0);
    running.kill();
    const after: Keys = committed ? new Map([...keys, [id('a'), 4], [id('d'), 1], [id('c'), -2]]) : keys;
    const twoBehind = new Map(after).set(id('a'), 2);
    assert.match((await found(on, twoBehind)).reason, /^store_behind: .*at version 3 or at version 4/);
    const next = await start(on, after);
    assert.equal(next.log.state, 'ready', next.log.reason);
    next.kill();
    assert.equal(textOf(on).match(/"key\.found"/g)?.length ?? 0, committed ? 0 : 3);
    const other: Keys = committed ? keys : new Map(keys).set(id('a'), 4);
    assert.equal((await found(on, after)).state, 'ready', 'at the start after that too');
    assert.equal((await found(on, other)).state, 'integrity_failed', 'what was decided stays');
    const last = await start(on, after);
    await change(last.log, 'rotate', id('a'), committed ? 5 : 4);
    await last.log.close();
    assert.equal((await found(on, new Map(after).set(id('a'), committed ? 5 : 4))).state, 'ready');
  }
});

test('a version that has signed was in the store', async () => {
  const { on, keys } = await withKeys('close');
  const running = await start(on, keys);
  await begin(running.log, 'rotate', id('a'), 4);
  await record(running.log, { keyId: id('a'), keyVersion: 4 });
  running.kill();
  assert.match((await found(on, keys)).reason, /^store_behind/);
  assert.equal((await found(on, new Map(keys).set(id('a'), 4))).state, 'ready');
});

test('no checkpoint covers a change that the store has not decided', async () => {
  const on = machine();
  const running = await startLog(on, {
    options: { checkpointMinIntervalMs: 1, checkpointIntervalMs: 5, checkpointLateMs: 60_000 },
    parts: { keys: inventoryOf(new Map()) },
  });
  const { log, checkpoints } = running;
  const covered = () => checkpoints.at(-1)?.size ?? 0;
  const until = async (size: number) => {
    while (covered() < size) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const first = log.stats().size;
  await appendMany(log, 4);
  await until(first + 4);
  await begin(log, 'create', id('a'), 1);
  await begin(log, 'create', id('b'), 1);
  await appendMany(log, 8);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(covered(), first + 4);
  log.changeCommitted(id('a'));
  await until(first + 5);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(covered(), first + 5);
  // The store could not say: so the log says that.
  await record(log, { type: 'key.create', keyId: id('b'), keyVersion: 1, result: 'error:StoreUnavailable' });
  await until(first + 15);
  running.kill();
  for (const keys of [new Map([[id('a'), 1]]), new Map([id('a'), id('b')].map((key) => [key, 1]))]) {
    assert.equal((await found(on, keys)).state, 'ready', 'either may be so');
  }
  assert.match((await found(on, new Map([[id('b'), 1]]))).reason, /^store_behind: .*\/a is absent/);
});

test('a log that begins takes the keys that are there, all before its first checkpoint', async () => {
  const on = machine();
  const keys: Keys = new Map([
    [id('a'), 3],
    [id('b'), -1],
  ]);
  const running = await start(on, keys);
  const sizes = running.checkpoints.map(({ size }) => size);
  assert.deepEqual(sizes, [3]);
  assert.match(textOf(on), /"data":{"state":"destroyed"}/);
  running.kill();
  assert.match((await found(on, new Map(keys).set(id('a'), 2))).reason, /^store_behind/);

  const rolledBack = new Map(keys).set(id('a'), 2);
  const failed = await start(on, rolledBack);
  assert.equal(failed.log.state, 'integrity_failed');
  assert.ok((await failed.log.accept({ reason: 'restored', approvers: ['one', 'two'] })).ok);
  await failed.log.close();
  assert.equal((await found(on, rolledBack)).state, 'ready');
  assert.match((await found(on, keys)).reason, /^store_ahead/);
});
