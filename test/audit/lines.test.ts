import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { appendFileSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
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
    const problems: string[] = [];
    written(directory, 20, problems);
    assert.deepEqual([problems, await verified(directory)], [[], { lines: 20, problems: [] }]);
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
  assert.deepEqual(await verified(directory), { lines: 4, problems: [] });
});
