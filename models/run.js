/**
 * Checks the model of the audit log: `npm run model`. Plain JavaScript, because it runs on the machine's own Node.
 * Exit status: 0 all as it should be, 1 a property violated or a mutant not caught, 2 nothing could be checked.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { properties, runs } from './runs.js';
import { memoryLimitMb, missingTools, search, stopSearches, trace } from './spin.js';

/** @typedef {import('./runs.js').Run} Run */
/** @typedef {import('./spin.js').Outcome} Outcome */

const usage = `usage: npm run model [-- [--only NAME]... [--trace] [--jobs N] [--list]]
  --only NAME   only this check, mutant or limit; can be given several times
  --trace       also the steps of each trace found
  --jobs N      searches at a time; by default as many as cores, and as memory allows
  --list        names and what they stand for
`;

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string', multiple: true },
        trace: { type: 'boolean', default: false },
        jobs: { type: 'string' },
        list: { type: 'boolean', default: false },
      },
    });
    const unknown = values.only?.find((name) => runs.every((run) => run.name !== name));
    if (unknown !== undefined) throw new Error(`no run is called ${unknown}`);
    const memoryJobs = Math.floor(totalmem() / 2 ** 20 / memoryLimitMb);
    const jobs =
      values.jobs === undefined ? Math.min(availableParallelism(), memoryJobs) : Number(values.jobs);
    if (Number.isNaN(jobs)) throw new Error('--jobs wants a number');
    return { ...values, jobs: Math.min(8, Math.max(1, jobs)) };
  } catch (error) {
    process.stderr.write(`${/** @type {Error} */ (error).message}\n${usage}`);
    process.exit(2);
  }
}

const say = (/** @type {string} */ line) => process.stdout.write(`${line}\n`);
const count = (/** @type {number} */ number) => number.toLocaleString('en-US');

/**
 * @param {Run} run
 * @param {Outcome} outcome
 */
function isAsItShouldBe(run, outcome) {
  if (run.kind === 'check') return outcome.verdict === 'held';
  return outcome.verdict === 'violated' && outcome.property === run.judges[0];
}

/**
 * @param {Run} run
 * @param {Outcome} outcome
 */
function verdictOf(run, outcome) {
  const { verdict, property } = outcome;
  if (verdict === 'incomplete') return `INCOMPLETE (${property})`;
  if (run.kind === 'check') return verdict === 'held' ? 'holds' : `VIOLATED: ${property}`;
  if (!isAsItShouldBe(run, outcome)) return run.kind === 'mutant' ? 'NOT CAUGHT' : 'NO TRACE';
  return `${run.kind === 'mutant' ? 'caught' : 'shown'}: ${property}`;
}

/** @param {readonly { run: Run; outcome: Outcome }[]} done */
function summarise(done) {
  say(`\n${'property'.padEnd(27)} ${'holds in'.padEnd(29)} ${'caught'.padEnd(10)} meaning`);
  for (const [name, { says }] of Object.entries(properties)) {
    const judging = done.filter(({ run }) => /** @type {string[]} */ (run.judges).includes(name));
    const checks = judging.filter(({ run }) => run.kind === 'check');
    const broken = checks.filter(
      ({ outcome }) => outcome.verdict === 'violated' && outcome.property === name,
    );
    const whole = checks.filter(({ outcome }) => outcome.verdict === 'held');
    const states = whole.reduce((sum, { outcome }) => sum + outcome.states, 0);
    const mutants = judging.filter(({ run }) => run.kind === 'mutant');
    const caught = mutants.filter(({ run, outcome }) => isAsItShouldBe(run, outcome));
    const held = broken.length > 0 ? 'VIOLATED' : `${whole.length} checks, ${count(states)} states`;
    say(
      `${name.padEnd(27)} ${held.padEnd(29)} ${`${caught.length} of ${mutants.length}`.padEnd(10)} ${says}`,
    );
  }
  const bad = done.filter(({ run, outcome }) => !isAsItShouldBe(run, outcome));
  if (bad.length > 0) say(`\nNOT as it should be: ${bad.map(({ run }) => run.name).join(', ')}`);
  else if (done.length < runs.length) say(`\nAs it should be, in ${done.length} of ${runs.length} searches.`);
  else say('\nEvery property holds, every mutant is caught, every limit is as documented.');
  return bad.length === 0;
}

async function main() {
  const options = readOptions();
  if (options.list) {
    for (const { kind, name, says } of runs) say(`${kind.padEnd(7)} ${name.padEnd(31)} ${says}`);
    return 0;
  }
  const missing = missingTools();
  if (missing !== undefined) {
    process.stderr.write(
      `The model was not checked: ${missing}. On Debian: apt-get install -y --no-install-recommends spin gcc libc6-dev\n`,
    );
    return 2;
  }
  const chosen = runs.filter(({ name }) => options.only?.includes(name) ?? true);
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-model-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) {
    process.on(signal, () => {
      stopSearches();
      process.exit(130);
    });
  }
  const startedMs = performance.now();
  const elapsed = () => `${((performance.now() - startedMs) / 1000).toFixed(0)} s`;
  say(
    `${chosen.length} searches of models/audit-log.pml, ${options.jobs} at a time, at most ${count(memoryLimitMb)} MB each`,
  );
  /** @type {{ run: Run; outcome: Outcome }[]} */
  const done = [];
  const queue = [...chosen];
  let lastLineMs = startedMs;
  const work = async () => {
    for (let run = queue.shift(); run !== undefined; run = queue.shift()) {
      const current = run;
      const place = join(directory, current.name);
      const outcome = await search(current, place, (states) => {
        if (performance.now() - lastLineMs < 5_000) return;
        lastLineMs = performance.now();
        say(`        ${current.kind} ${current.name}: ${count(states)} states so far, ${elapsed()}`);
      });
      done.push({ run: current, outcome });
      lastLineMs = performance.now();
      const { states, depth, memoryMb, seconds } = outcome;
      const figures = `${count(states)} states, depth ${depth}, ${memoryMb.toFixed(0)} MB, ${seconds.toFixed(1)} s`;
      const number = `${done.length}/${chosen.length}`.padStart(7);
      say(
        `${number} ${current.kind.padEnd(6)} ${current.name.padEnd(31)} ${verdictOf(current, outcome).padEnd(33)} ${figures}`,
      );
      if (outcome.verdict === 'violated' && (options.trace || !isAsItShouldBe(current, outcome))) {
        for (const step of await trace(current, place)) say(`          ${step}`);
      }
      rmSync(place, { recursive: true, force: true });
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, work));
  const good = summarise(done);
  say(`${elapsed()} in all`);
  return good ? 0 : 1;
}

process.exitCode = await main();
