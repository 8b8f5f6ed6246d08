import assert from 'node:assert/strict';
import test from 'node:test';
import type { Rendered } from '../../bench/scenario.ts';
import { type DekRow, renderDek } from '../../bench/scenarios/dek.ts';
import { renderDekScale } from '../../bench/scenarios/dek-scale.ts';
import type { Figures } from '../../bench/support/measure.ts';

const figuresOf = (
  p95: number,
  cpuUs: number,
  statuses: Readonly<Record<string, number>> = { '200': 100 },
): Figures => {
  const latencyMs = { p50: p95 / 2, p95, p99: p95 * 1.5, p999: p95 * 2, max: p95 * 3, count: 100 };
  return {
    ...{ offeredPerSecond: 100, okPerSecond: 4_000, refusedPerSecond: 0, latencyMs, refusalMs: latencyMs },
    ...{ cpuUs, mainThreadUs: 50, generatorCpuShare: 0.1, statuses },
  };
};

function isWhole({ tables }: Rendered) {
  for (const { columns, rows } of tables)
    for (const row of rows) assert.equal(row.length, columns.length, row.join(' | '));
}

test('the report of serve-dek says what of an encryption is HTTP, and what the engine, and counts errors', () => {
  const rowOf = (name: string, cpuUs: number): DekRow => ({
    ...{ name, few: [figuresOf(1, cpuUs)], many: [figuresOf(9, cpuUs, { '200': 98, '503': 2 })] },
    open: {
      third: { ratePerSecond: 1_333, rounds: [figuresOf(2, cpuUs)] },
      'two thirds': { ratePerSecond: 2_667, rounds: [figuresOf(5, cpuUs)] },
    },
  });
  const rendered = renderDek({
    rows: [rowOf('healthz', 40), rowOf('encrypt, one DEK', 200), rowOf('decrypt, one DEK', 160)],
    under: [{ engineEncryptUs: 2, engineDecryptUs: 1, nodeEncryptUs: 20, nodeDecryptUs: 16 }],
  });
  isWhole(rendered);
  assert.match(
    rendered.answer[0] as string,
    /encrypt, one DEK: 4,000 a second at most, 200 us .* healthz takes 40 and the engine 2; p95 2 ms at a third .* 5 ms at two/,
  );
  assert.match(rendered.answer[1] as string, /decrypt, one DEK: .* the engine 1;/);
  const [most, , alone] = rendered.tables;
  assert.deepEqual(
    most?.rows.map((row) => [row[7], row[8]]),
    [
      ['1', '2'],
      ['5', '2'],
      ['4', '2'],
    ],
  );
  assert.equal(alone?.rows[0]?.[4], '100');
});

test('the report of many DEKs tells rates of rotations without the time in which old snapshots are looked through', () => {
  const start = { listeningMs: 900, restsMs: 1_000, residentBytes: 2 ** 28, anonymousBytes: 2 ** 27 };
  const sizeOf = (count: number) => ({
    ...{ count, starts: [start], readBytes: 2 ** 29, rest: [figuresOf(2, 300)] },
    rotations: [{ rewrapped: count, rewrapMs: 10_000, answerMs: 20_000 }],
  });
  const rendered = renderDekScale({
    ...{ fillS: 30, small: sizeOf(100), large: sizeOf(100_000) },
    loaded: {
      rotations: [{ rewrapped: 100_000, rewrapMs: 20_000, answerMs: 25_000 }],
      encryptions: [figuresOf(7, 900), figuresOf(9, 900)],
    },
    lastStart: { ...start, restsMs: 5_000 },
  });
  isWhole(rendered);
  assert.match(rendered.answer[0] as string, /100,000 DEKs listens after 900 ms and takes 256 MiB, 512 once/);
  assert.match(rendered.answer[1] as string, /rewraps 10,000 DEKs a second at rest, and 5,000 beside 200/);
  assert.match(rendered.answer[2] as string, /8 ms during the rotation, and 2 ms without/);
});
