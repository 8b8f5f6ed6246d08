import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { describeCommit, describeMachine } from './report/machine.ts';
import { createProgress, type Progress } from './report/progress.ts';
import { tableText, writeReport } from './report/write.ts';
import type { Context, Effort, Scenario } from './scenario.ts';
import { scenarios } from './scenarios/all.ts';
import { chooseGenerator } from './support/generator.ts';
import { useGenerator } from './support/load.ts';
import type { Target } from './support/target.ts';

const usage = `usage: npm run bench -- [names…] [--quick] [--list] [--out <directory>]

Measures, and writes a report of each scenario to perf-reports/. Without names: all of them, about three quarters of an hour.
  --quick   some minutes in all; shows that everything works, its figures are not to be quoted
  --list    the scenarios and their questions
  --out     write the reports somewhere else
`;

const full: Effort = { quick: false, rounds: 3, windowMs: 1_500, warmUpMs: 500 };
const quick: Effort = { quick: true, rounds: 1, windowMs: 500, warmUpMs: 200 };
/** Of the time that a full run takes. */
const quickShare = 0.2;

const reports = fileURLToPath(new URL('../perf-reports/', import.meta.url));

function readOptions() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        quick: { type: 'boolean', default: false },
        list: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
        out: { type: 'string', default: reports },
      },
    });
    const unknown = positionals.filter((name) => !scenarios.some((scenario) => scenario.name === name));
    if (unknown.length === 0) return { ...values, names: positionals };
    process.stderr.write(`no such scenario: ${unknown.join(', ')}\n\n${usage}`);
  } catch (cause) {
    process.stderr.write(`${(cause as Error).message}\n\n${usage}`);
  }
  return process.exit(2);
}

/** Runs one scenario; its servers end with it. */
async function measure(scenario: Scenario<unknown>, effort: Effort, progress: Progress): Promise<unknown> {
  const targets: Pick<Target, 'stop'>[] = [];
  const context: Context = {
    ...effort,
    steps: progress.steps,
    step: progress.step,
    async using(starting) {
      const target = await starting;
      targets.push(target);
      return target;
    },
  };
  try {
    return await scenario.run(context);
  } finally {
    for (const target of targets) await target.stop();
  }
}

const options = readOptions();
if (options.help || options.list) {
  process.stdout.write(usage);
  for (const { name, question } of scenarios) process.stdout.write(`\n${name}\n  ${question}\n`);
  process.exit(0);
}
const chosen =
  options.names.length === 0
    ? scenarios
    : scenarios.filter((scenario) => options.names.includes(scenario.name));
const effort = options.quick ? quick : full;
const command = ['npm run bench', process.argv.slice(2).join(' ')].filter((part) => part !== '').join(' -- ');
const generator = await chooseGenerator();
useGenerator(generator);
const machine = await describeMachine(generator);
const commit = describeCommit();
if (machine.loadBefore > 0.5) {
  process.stderr.write(
    `the load average is ${machine.loadBefore.toFixed(2)}: something else runs here too\n`,
  );
}

const progress = createProgress(chosen, options.quick ? quickShare : 1);
for (const scenario of chosen) {
  progress.scenario(scenario.name);
  const startedAt = new Date();
  try {
    const data = await measure(scenario, effort, progress);
    const rendered = scenario.render(data);
    const tookS = (Date.now() - startedAt.getTime()) / 1000;
    const { name, question } = scenario;
    const path = writeReport(options.out, {
      name,
      question,
      startedAt,
      tookS,
      command,
      machine,
      commit,
      effort,
      data,
      rendered,
    });
    progress.scenarioDone();
    const tables = rendered.tables.map(tableText).join('\n\n');
    process.stdout.write(`\n# ${name}\n${rendered.answer.join('\n')}\n\n${tables}\n\n${path}\n\n`);
  } catch (cause) {
    progress.scenarioDone((cause as Error).message);
    process.exitCode = 1;
  }
}
progress.end();
