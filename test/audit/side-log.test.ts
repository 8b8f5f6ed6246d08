import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import type { AuditEvent, Durability } from '../../src/audit/audit-log.ts';
import { linkSideLog, SideLog } from '../../src/audit/service/side-log.ts';
import { ok, refuse } from '../../src/core/result.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const origin = 'kms.example/audit/1';

function sideLog(context: TestContext, maxBytes?: number) {
  const directory = join(temporaryDirectory(context), 'degraded');
  let nowMs = 1_763_769_600_000;
  const clock = { utcMs: () => nowMs++, monotonicMs: () => nowMs };
  const bound = maxBytes === undefined ? {} : { maxBytes };
  return { directory, log: new SideLog({ directory, origin, bootId: 'boot', clock, ...bound }) };
}

function event(n: number): AuditEvent {
  const key = { alg: 'ed25519', keyId: 'acme/tls/ed25519/1', keyVersion: 1, inputDigest: undefined };
  return { ...key, actor: 'cap:1', opId: `op-${n}`, purpose: 'verify', result: 'ok', tenant: 'acme' };
}

const files = (directory: string) => readdirSync(directory).filter((name) => name.endsWith('.jsonl'));

test('a side log is lines of JSON under an origin of its own; what is said of it can be checked with sha256sum', async (context) => {
  const { directory, log } = sideLog(context);
  for (let n = 0; n < 100; n++) log.record(event(n));
  const sealed = await log.seal();
  assert.ok(sealed);
  assert.equal(await log.seal(), undefined, 'one at a time');
  log.record(event(100));
  const { facts } = sealed;
  await sealed.settle(true);
  const linked = join(directory, '..', facts.side_log_path);
  const bytes = Buffer.concat(readdirSync(linked).map((name) => readFileSync(join(linked, name))));
  assert.equal(createHash('sha256').update(bytes).digest('hex'), facts.side_log_sha256);
  assert.deepEqual(
    [facts.side_log_files, facts.side_log_lines, facts.side_log_bytes, facts.side_log_dropped],
    [1, 100, bytes.length, 0],
  );
  const [header, first] = bytes.toString().split('\n');
  assert.deepEqual(JSON.parse(header ?? ''), { origin: `${origin}/degraded/boot`, v: 1 });
  assert.deepEqual(JSON.parse(first ?? ''), {
    ...{ actor: 'cap:1', alg: 'ed25519', key_id: 'acme/tls/ed25519/1', key_version: 1, op_id: 'op-0' },
    ...{ purpose: 'verify', result: 'ok', tenant: 'acme', ts: JSON.parse(first ?? '').ts },
  });
  const rest = await log.seal();
  assert.equal(rest?.facts.side_log_lines, 1, 'what came meanwhile is for the next time');
  await rest?.settle(false);
  assert.equal((await log.seal())?.facts.side_log_lines, 1, 'and stays until it is on the log');
  await log.close();
});

test('a side log is bounded, with what is on the log already; what found no room is counted', async (context) => {
  const { directory, log } = sideLog(context, 4_096);
  for (let n = 0; n < 1_000; n++) log.record(event(n));
  const sealed = await log.seal();
  assert.ok(sealed);
  const { side_log_lines: lines, side_log_bytes: bytes, side_log_dropped: dropped } = sealed.facts;
  assert.ok(bytes <= 4_096 && lines > 10);
  assert.equal(lines + dropped, 1_000);
  await sealed.settle(true);
  for (let n = 0; n < 1_000; n++) log.record(event(n));
  const more = await log.seal();
  assert.ok((more?.facts.side_log_bytes ?? 0) + bytes <= 4_096);
  await more?.settle(false);
  await log.close();
  assert.ok(files(directory).length <= 1);
});

test('where the directory cannot be written nothing fails, and the lines are counted', async (context) => {
  const { directory, log } = sideLog(context);
  writeFileSync(directory, 'not a directory');
  log.record(event(1));
  assert.equal((await log.seal())?.facts.side_log_dropped, 1);
  await log.close();
});

test('what there is goes onto the log as one record, and again only when there is more', async (context) => {
  const { directory, log } = sideLog(context);
  const appended: AuditEvent[] = [];
  let room = false;
  const audit = {
    reserve: () => room,
    append: async (record: AuditEvent, level: Durability) => {
      assert.equal(level, 'synced');
      appended.push(record);
      return appended.length === 1 ? refuse('AuditUnavailable') : ok({ index: 0, seq: 1 });
    },
  };
  await linkSideLog(log, audit);
  log.record(event(1));
  await linkSideLog(log, audit);
  assert.equal(appended.length, 0, 'no room for the record');
  room = true;
  for (let n = 0; n < 3; n++) await linkSideLog(log, audit);
  assert.equal(appended.length, 2, 'the first could not be kept');
  const { type, data } = appended[1] as AuditEvent;
  assert.deepEqual([type, data?.side_log_lines], ['degraded', 1]);
  assert.deepEqual(files(directory), []);
  assert.ok(existsSync(join(directory, '..', String(data?.side_log_path))));
  await log.close();
});
