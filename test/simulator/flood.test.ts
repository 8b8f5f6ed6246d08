import assert from 'node:assert/strict';
import test from 'node:test';
import { standardOptions } from '../../bench/simulator/options.ts';
import { type ClassReport, type RunReport, reportOn } from '../../bench/simulator/report.ts';
import { backloggedRun, overloadRun, type Run, victimRuns } from '../../bench/simulator/scenarios.ts';
import { simulate } from '../../bench/simulator/simulator.ts';

async function run({ name, options }: Run): Promise<RunReport> {
  return reportOn(name, options, await simulate(options));
}

function classOf(report: RunReport, name: string): ClassReport {
  const found = report.classes.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no class ${name}`);
  return found;
}

// An eighth of the machine of docs/fairness.md, with everything else in proportion.
const eighth = { ...standardOptions, cores: 8, tenants: 1250, rate: 125_000, queueTotal: 1024, seconds: 0.4 };

test('under twice the load tenants below their fair part are served in full, and those that flood share the rest', async () => {
  const report = await run(overloadRun(eighth));
  assert.ok(report.load > 1.8);
  assert.ok(report.utilisation.busy > 0.99);
  for (const name of ['small', 'bursty', 'constant']) {
    const { refusedShare, ofFairPart } = classOf(report, name);
    assert.ok(refusedShare < 0.02, `${name}: ${refusedShare} refused`);
    assert.ok(ofFairPart.mean > 0.97, `${name}: ${ofFairPart.mean} of the fair part`);
  }
  const [once, twice] = [classOf(report, 'flooding'), classOf(report, 'flooding, weight 2')];
  const ratio = twice.servedPerSecond / once.servedPerSecond;
  assert.ok(ratio > 1.85 && ratio < 2.1, `weight 2 gets ${ratio} times as much as weight 1`);
});

test('a crowd that fills all queues takes no place from tenants with few calls', async () => {
  for (const { victims, attacks } of victimRuns({ ...eighth, load: 0.2 })) {
    if (victims === 1) continue;
    const crowd = attacks.find(
      ({ aggressors, algorithm }) => aggressors === 32 && algorithm === eighth.algorithm,
    );
    const report = await run(crowd?.run as Run);
    assert.equal(classOf(report, 'victim').refusedShare, 0);
    assert.ok(classOf(report, 'aggressor').refusedShare > 0.5);
  }
});

test('one flood costs its neighbours no more than the jobs that are under way', async () => {
  const comparison = victimRuns({ ...eighth, noise: 0 }).find(({ victims }) => victims === 100);
  if (comparison === undefined) throw new Error('no comparison');
  const alone = classOf(await run(comparison.baseline), 'victim');
  for (const { run: attack, aggressors, times, algorithm } of comparison.attacks) {
    if (aggressors > 1 || times > 10) continue;
    const victim = classOf(await run(attack), 'victim');
    assert.equal(victim.refusedShare, 0);
    // A job on the way and one before it in the worker's port; then the victim's own turn.
    const jobMs = ((algorithm === 'rsa-4096' ? 3800 : 300) + eighth.hopUs) / 1000;
    assert.ok(victim.latencyMs.p95 <= alone.latencyMs.p95 + eighth.slots * jobMs, attack.name);
  }
});

test('services of tenants that always wait stay within the bound also when prices follow measurements', async () => {
  const report = await run(backloggedRun({ ...standardOptions, cores: 8, seconds: 0.3, machineFactor: 2 }));
  assert.ok(report.unfairnessUs !== null && report.unfairnessUs.max > 0);
  assert.ok(report.unfairnessUs.max <= report.unfairnessUs.bound);
});
