import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  linkSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { followLog } from '../../src/audit/lines/follow.ts';
import { lineKeyOf, readLineHead } from '../../src/audit/lines/line.ts';
import { openLineFile } from '../../src/audit/lines/line-file.ts';
import { verifyLines } from '../../src/audit/lines/verify-lines.ts';
import { StartError } from '../../src/core/start-error.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const rule = { groupAllowed: false };
const recordsOf = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, n) => ({
    epoch: 1,
    index: from + n,
    record: { actor: `a\u2028b${from + n}` },
  }));

function written(directory: string, count: number, problems: string[] = []) {
  const file = openLineFile(directory, rule, (problem) => problems.push(problem));
  file.append(recordsOf(file.last.index + 1, count));
  file.close();
}

function verified(directory: string) {
  const key = lineKeyOf(readFileSync(join(directory, 'kms-audit.key')));
  const head = readLineHead(key, readFileSync(join(directory, 'kms-audit.head'), 'latin1'));
  return verifyLines(join(directory, 'kms-audit.log'), key, head);
}

test('a link or a pipe in the place of the lines or of their head refuses the start', (t) => {
  for (const name of ['kms-audit.log', 'kms-audit.head']) {
    const linked = temporaryDirectory(t);
    const elsewhere = join(linked, 'elsewhere');
    writeFileSync(elsewhere, 'precious');
    symlinkSync(elsewhere, join(linked, name));
    assert.throws(() => written(linked, 2), StartError);
    assert.equal(readFileSync(elsewhere, 'utf8'), 'precious');
    const piped = temporaryDirectory(t);
    assert.equal(spawnSync('mkfifo', [join(piped, name)]).status, 0);
    assert.throws(() => written(piped, 2), /is not a regular file/);
  }
});

test('half a line of any length is cut off, and the lines go on behind it', async (t) => {
  for (const length of [1, 40_000, 200_000]) {
    const directory = temporaryDirectory(t);
    written(directory, 10);
    appendFileSync(join(directory, 'kms-audit.log'), 'x'.repeat(length));
    // A service may be about to write the rest of it.
    const { problems: seen, unended } = await verified(directory);
    assert.deepEqual([unended, seen.map(({ line }) => line)], [true, [11]]);
    const problems: string[] = [];
    written(directory, 20, problems);
    assert.deepEqual(
      [problems, await verified(directory)],
      [[], { lines: 20, problems: [], unended: false }],
    );
  }
});

test('a line that was put between others is told of once, and so is one that was altered', async (t) => {
  const directory = temporaryDirectory(t);
  written(directory, 6);
  const log = join(directory, 'kms-audit.log');
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
  const problemsOf = async (changed: readonly string[]) => {
    writeFileSync(log, `${changed.join('\n')}\n`);
    return (await verified(directory)).problems.map(({ line, problem }) => `${line} ${problem}`);
  };
  assert.deepEqual(await problemsOf(lines.toSpliced(3, 0, '{}')), ['4 is no line of this log']);
  const altered = lines.with(3, (lines[3] as string).replace('b3', 'b4'));
  assert.deepEqual(await problemsOf(altered), ['4 was altered, or written under another key']);
  assert.deepEqual(await problemsOf(lines), []);
});

test('a page that comes slowly is written once, whatever is noted meanwhile', async (t) => {
  const directory = temporaryDirectory(t);
  const file = openLineFile(directory, rule, () => assert.fail());
  let asked = 0;
  let most = 0;
  const reading = {
    epoch: () => 1,
    ask: async (question: { readonly of: string; readonly from?: number }) => {
      most = Math.max(most, ++asked);
      await delay(120);
      asked--;
      const records = recordsOf(question.from ?? 0, 4);
      return { ok: true, value: { found: true, page: { records, next: undefined } } } as const;
    },
  };
  const follower = followLog(reading as never, file, (cause) => assert.fail(String(cause)));
  for (let turn = 0; turn < 6; turn++) {
    follower.noted();
    await delay(40);
  }
  await follower.close();
  assert.equal(most, 1);
  assert.deepEqual(await verified(directory), { lines: 4, problems: [], unended: false });
});

test('lines that are removed, moved away, cut off or glued to under a running service are written again', async (t) => {
  const directory = temporaryDirectory(t);
  const [log, head] = ['kms-audit.log', 'kms-audit.head'].map((name) => join(directory, name)) as [
    string,
    string,
  ];
  const problems: string[] = [];
  const file = openLineFile(directory, rule, (problem) => problems.push(problem));
  t.after(() => file.close());
  let size = 5;
  const write = () => {
    file.look();
    file.append(recordsOf(file.last.index + 1, size));
    size += 5;
  };
  write();
  const whole = { problems: [], unended: false };
  for (const change of [
    () => rmSync(log),
    () => renameSync(log, `${log}.1`),
    // logrotate's copytruncate.
    () => truncateSync(log, 0),
    () => truncateSync(log, statSync(log).size - 100),
    () => appendFileSync(log, 'half a li'),
    () => rmSync(head),
    () => renameSync(head, `${head}.1`),
    () => appendFileSync(head, 'behind it'),
    () => writeFileSync(head, 'x'.repeat(500)),
  ]) {
    change();
    write();
    assert.deepEqual(await verified(directory), { lines: size - 5, ...whole }, String(change));
    assert.match(problems.splice(0).join(), /by somebody else/, String(change));
  }
  rmSync(log);
  linkSync(head, log);
  for (let turn = 0; turn < 2; turn++) assert.throws(() => file.look(), /are one file/);
  rmSync(log);
  symlinkSync('/nowhere/at/all', log);
  for (let turn = 0; turn < 2; turn++) assert.throws(() => file.look(), /is a symbolic link/);
  assert.throws(() => file.append(recordsOf(0, 1)), /somebody else/);
  rmSync(log);
  write();
  assert.deepEqual(await verified(directory), { lines: size - 5, ...whole });
});

test('between a look and the lines somebody else wrote: nothing is glued to that', (t) => {
  const directory = temporaryDirectory(t);
  const file = openLineFile(directory, rule, () => {});
  t.after(() => file.close());
  file.append(recordsOf(0, 2));
  appendFileSync(join(directory, 'kms-audit.log'), 'half');
  assert.throws(() => file.append(recordsOf(2, 3)), /somebody else/);
  file.look();
  file.append(recordsOf(2, 3));
  assert.equal(file.last.n, 3);
});

test('a new epoch of the audit log, which counts from 0, has its lines behind those of the one before', async (t) => {
  const directory = temporaryDirectory(t);
  let epoch = 1;
  const follow = async (count: number) => {
    const reading = {
      epoch: () => epoch,
      ask: async ({ from }: { readonly from: number }) => {
        const records = recordsOf(from, count).map(({ index, record }) => ({ index, record }));
        return { ok: true, value: { found: true, page: { records, next: undefined } } } as const;
      },
    };
    const file = openLineFile(directory, rule, () => assert.fail());
    await followLog(reading as never, file, (cause) => assert.fail(String(cause))).close();
  };
  await follow(10);
  epoch = 2;
  // Also by the next start.
  for (const count of [3, 3, 4]) await follow(count);
  assert.deepEqual(await verified(directory), { lines: 14, problems: [], unended: false });
  const last = readFileSync(join(directory, 'kms-audit.log'), 'utf8').trimEnd().split('\n').at(-1) ?? '';
  assert.match(last, /^\{"n":14,"epoch":2,"index":3,/);
});

test('one problem that stays is told once, and the next one again', async (t) => {
  const directory = temporaryDirectory(t);
  const file = openLineFile(directory, rule, () => {});
  const told: string[] = [];
  const causes = ['full', 'full', 'away', 'full'];
  const { promise, resolve } = Promise.withResolvers<void>();
  const follower = followLog(
    {
      epoch: () => 1,
      ask: async () => {
        const cause = causes.shift();
        if (cause === undefined) {
          resolve();
          return { ok: true, value: { found: true, page: { records: [], next: undefined } } } as never;
        }
        throw new Error(cause);
      },
    },
    file,
    (cause) => told.push((cause as Error).message),
    1,
  );
  await promise;
  await follower.close();
  assert.deepEqual(told, ['full', 'away', 'full']);
});
