import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import test from 'node:test';
import { rootFromTiles } from '../../src/audit/format/tiles.ts';
import { openLogReader } from '../../src/audit/reading/log-reader.ts';
import { createRandom } from '../faults/random.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

/** A few in every run of the suite; `npm run drill:audit` has 300. */
const kills = Number(process.env.DRILL_KILLS ?? 4);
const child = join(import.meta.dirname, 'kill-child.ts');

interface Acknowledged {
  readonly index: number;
  readonly seq: number;
}

test('after kill -9 every answered operation is on the log exactly once, and no sequence has a gap', async (context) => {
  const seed = Number(process.env.DRILL_SEED ?? Math.floor(Math.random() * 2 ** 32));
  context.diagnostic(`DRILL_SEED=${seed}`);
  const random = createRandom(seed);
  const directory = temporaryDirectory(context);
  const acknowledged = new Map<string, Acknowledged>();
  for (let kill = 0; kill < kills; kill++) {
    const lines = await runAndKill(directory, 1 + random.below(1_500));
    assert.match(lines[0] ?? '', /^ready/);
    for (const line of lines.slice(1)) {
      const [opId, index, seq] = line.split(' ') as [string, string, string];
      acknowledged.set(opId, { index: Number(index), seq: Number(seq) });
    }
  }
  const last = spawn(process.execPath, [child, directory, 'close'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  assert.deepEqual(await once(last, 'close'), [0, null]);

  const reader = openLogReader(join(directory, 'audit'));
  const seqs = new Map<string, number>();
  const seen = new Set<string>();
  let boots = 0;
  for (const { index, record } of reader.records()) {
    assert.equal(record.seq, (seqs.get(record.key_id) ?? 0) + 1, `record ${index}`);
    seqs.set(record.key_id, record.seq);
    assert.ok(!seen.has(record.op_id), `record ${index} is there twice`);
    seen.add(record.op_id);
    if (record.type === 'boot') boots++;
    const answer = acknowledged.get(record.op_id);
    if (answer !== undefined) assert.deepEqual({ index, seq: record.seq }, answer);
  }
  for (const opId of acknowledged.keys())
    assert.ok(seen.has(opId), `${opId} was answered and is not on the log`);
  assert.equal(boots, kills + 1);
  const checkpoint = reader.checkpoint();
  assert.equal(checkpoint?.size, reader.size);
  const root = rootFromTiles(reader, reader.size);
  assert.ok(root.ok && Buffer.compare(root.value, checkpoint?.root as Uint8Array) === 0);
  context.diagnostic(`${kills} kills, ${acknowledged.size} answered, ${reader.size} on the log`);
});

/** The whole lines that the child wrote before it was killed, which is after about `answers` of them. */
async function runAndKill(directory: string, answers: number): Promise<string[]> {
  const victim = spawn(process.execPath, [child, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  let lines = 0;
  victim.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk;
    lines += chunk.split('\n').length - 1;
    if (lines > answers) victim.kill('SIGKILL');
  });
  assert.deepEqual(await once(victim, 'close'), [null, 'SIGKILL']);
  return output.slice(0, output.lastIndexOf('\n')).split('\n');
}
