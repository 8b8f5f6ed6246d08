import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { properties, type Run, runs } from '../../models/runs.js';
import { missingTools, readOutcome, search, trace } from '../../models/spin.js';

const model = readFileSync(new URL('../../models/audit-log.pml', import.meta.url), 'utf8');
const missing = missingTools();

function runNamed(name: string): Run {
  const run = runs.find((candidate) => candidate.name === name);
  assert.ok(run);
  return run;
}

function directoryFor(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-model-test-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 'search');
}

test('every mutant of the model is among the runs, and its number means the same in both', () => {
  const section = model.slice(model.indexOf('/* Mutants */'), model.indexOf('/* Properties */'));
  const inModel = [...section.matchAll(/#define ([A-Z_]+) (\d+)/g)].map(([, name, number]) => [name, number]);
  const inRuns = runs
    .filter(({ kind }) => kind === 'mutant')
    .map(({ name, defines }) => [name.toUpperCase().replaceAll('-', '_'), String(defines.MUTANT)]);
  assert.ok(inModel.length > 20);
  for (const mutant of inModel)
    assert.ok(
      inRuns.some((run) => run.join() === mutant.join()),
      `${mutant}`,
    );
});

test('every property is numbered as in the model, holds in a check, and is one that a mutant violates', () => {
  const section = model.slice(model.indexOf('/* Properties */'), model.indexOf('/* Requests'));
  for (const [name, { number }] of Object.entries(properties)) {
    assert.match(section, new RegExp(`#define ${name} ${number}\n`));
    for (const kind of ['check', 'mutant']) {
      assert.ok(
        runs.some((run) => run.kind === kind && (run.judges as readonly string[]).includes(name)),
        `${name}: no ${kind}`,
      );
    }
  }
});

test('a search that ran out of memory, depth or time does not pass for one that found nothing', () => {
  const whole = 'State-vector 60 byte, depth reached 59, errors: 0\n 1847268 states, stored\n';
  assert.equal(readOutcome(whole).verdict, 'held');
  for (const cut of [
    'pan: reached -DMEMLIM bound',
    'error: max search depth too small',
    'Search not completed',
  ]) {
    assert.equal(readOutcome(`${cut}\n${whole}`).verdict, 'incomplete');
  }
  assert.equal(readOutcome('').verdict, 'incomplete');
  assert.equal(readOutcome(whole.replace('errors: 0', 'errors: 1')).verdict, 'incomplete');
});

test('with one power cut or crash every property of the log holds', { skip: missing }, async (t) => {
  const run = { ...runNamed('faults'), defines: { REQUESTS: 3, CRASHES: 1, IO_FAULTS: 0 } };
  const outcome = await search(run, directoryFor(t), () => {});
  assert.equal(outcome.verdict, 'held');
  assert.ok(outcome.states > 100_000);
});

test('a checkpoint over unsynced records ends in a fork', { skip: missing }, async (t) => {
  const run = runNamed('sign-before-fdatasync');
  const directory = directoryFor(t);
  const outcome = await search(run, directory, () => {});
  assert.deepEqual([outcome.verdict, outcome.property], ['violated', 'NO_FORK']);
  const steps = await trace(run, directory);
  assert.ok(steps.some((step) => step.startsWith('POWER CUT')));
  assert.match(steps.at(-1) ?? '', /^checkpoint \d+ signed$/);
});
