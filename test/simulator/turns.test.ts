import assert from 'node:assert/strict';
import test from 'node:test';
import { standardOptions } from '../../bench/simulator/options.ts';
import { type ClassReport, type RunReport, reportOn } from '../../bench/simulator/report.ts';
import { turnsRun } from '../../bench/simulator/scenarios.ts';
import { simulate } from '../../bench/simulator/simulator.ts';

const options = { ...standardOptions, seconds: 1, warmUp: 0.5 };

async function run(times: number, everyMs: number, before = false): Promise<RunReport> {
  const { name, options: simulatorOptions } = turnsRun(options, times, everyMs, before);
  return reportOn(name, simulatorOptions, await simulate(simulatorOptions));
}

const classOf = ({ classes }: RunReport, index: number) => classes[index] as ClassReport;

test('a worker that holds two jobs runs dry in a turn that reads more than they take: the fault', async () => {
  const before = await run(4, 10, true);
  assert.ok(before.utilisation.busy < 0.7, `${before.utilisation.busy} busy`);
  assert.ok(classOf(before, 0).latencyMs.p50 > 100, 'and what is let in waits');
});

for (const [times, everyMs] of [
  [1.4, 1],
  [1.4, 5],
  [4, 1],
  [4, 5],
] as const) {
  test(`at ${times} times, in bunches of ${everyMs} ms, workers stay busy, and what is let in is done soon`, async () => {
    const report = await run(times, everyMs);
    const [flood, victim] = [classOf(report, 0), classOf(report, 1)];
    assert.ok(report.utilisation.busy > 0.95, `${report.utilisation.busy} busy`);
    assert.ok(flood.latencyMs.p95 < 30, `${flood.latencyMs.p95} ms`);
    assert.equal(flood.expired, 0);
    assert.equal(victim.refusedShare, 0);
  });
}

test('the neighbour of a flood waits less than before', async () => {
  for (const everyMs of [1, 2]) {
    const [before, now] = [await run(4, everyMs, true), await run(4, everyMs)];
    assert.ok(classOf(now, 1).latencyMs.p95 < 0.7 * classOf(before, 1).latencyMs.p95);
  }
});

test('a load that can be done is done whole', async () => {
  const { refused, expired } = classOf(await run(0.5, 5), 0);
  assert.deepEqual([refused, expired], [{}, 0]);
});
