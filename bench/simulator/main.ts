import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { addOptions, type Options } from './options.ts';
import { createProgress } from './progress.ts';
import { type RunReport, renderRun, renderTable, reportOn } from './report.ts';
import {
  backloggedRun,
  expectedCalls,
  overloadRun,
  type Run,
  turnsRun,
  type VictimRuns,
  victimRuns,
} from './scenarios.ts';
import { simulate } from './simulator.ts';
import { round } from './statistics.ts';
import { mixedTenants, simulateMixed } from './two-dimensional.ts';
import { workOf } from './workload.ts';

/** The output of `--json`. */
interface Report {
  readonly options: Options;
  readonly runs: readonly RunReport[];
  readonly victims: readonly VictimRow[];
}

interface VictimRow {
  readonly victims: number;
  readonly aggressors: number;
  readonly algorithm: string;
  readonly times: number;
  readonly refusedShare: number;
  readonly waitP95Ms: number;
  readonly latencyP95Ms: number;
  /** The victims' p95 until the answer, as a multiple of the one without an aggressor. */
  readonly ofBaseline: number;
}

const command = addOptions(
  new Command('npm run sim --').description(
    'Runs admission and the fair scheduler of the service in virtual time, with simulated tenants and workers.',
  ),
)
  .option('--json <file>', 'also write the whole report there')
  .allowExcessArguments(false)
  .showHelpAfterError('(add --help for what is accepted)')
  .addHelpText(
    'after',
    `
Examples:
  npm run sim                                              all scenarios: 64 cores, 10,000 tenants, 1,000,000 calls/s
  npm run sim -- --scenario overload --seconds 5 --json overload.json
  npm run sim -- --scenario victim --cores 4 --algorithm ed25519 --slots 1
  npm run sim -- --scenario backlogged --quantum-us 1000   a longer turn: how much less fair?`,
  );

command.parse();
const { json, ...given } = command.opts<Options & { json?: string }>();
const options: Options = given;

/** Times what can be done, milliseconds between bunches, and whether as it was before. */
const turns = [
  [0.5, 1, false],
  [1.4, 1, false],
  [4, 5, true],
  [4, 5, false],
  [4, 10, true],
  [4, 10, false],
] as const;

/** Tenants that always have dear calls waiting, and what they sign with. */
const mixtures = [
  ['rsa-4096', 8],
  ['rsa-4096', 32],
  ['rsa-4096', 128],
  ['rsa-2048', 32],
] as const;

const wanted = (name: string) => options.scenario === 'all' || options.scenario === name;
const single = [
  ...(wanted('overload') ? [overloadRun(options)] : []),
  ...(wanted('backlogged') ? [backloggedRun(options)] : []),
  ...(wanted('turns')
    ? turns.map(([times, everyMs, before]) => turnsRun(options, times, everyMs, before))
    : []),
];
const comparisons = wanted('victim') ? victimRuns(options) : [];
const everything = [
  ...single,
  ...comparisons.flatMap(({ baseline, attacks }) => [baseline, ...attacks.map(({ run }) => run)]),
];
const progress = createProgress(everything.reduce((calls, run) => calls + expectedCalls(run.options), 0));

const runs: RunReport[] = [];
for (const run of single) {
  const report = await perform(run);
  runs.push(report);
  console.log(renderRun(report));
}
const victims: VictimRow[] = [];
for (const comparison of comparisons) victims.push(...(await compare(comparison)));
if (victims.length > 0) console.log(renderVictims(victims));
progress.end();
if (wanted('mixed')) console.log(renderMixed());
if (json !== undefined) {
  const report: Report = { options, runs, victims };
  writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`);
}

async function perform({ name, options: simulatorOptions }: Run): Promise<RunReport> {
  progress.begin(name);
  const outcome = await simulate(simulatorOptions, {
    progress: (_share, offered) => progress.reached(offered),
  });
  progress.finished(outcome.totals.offered);
  return reportOn(name, simulatorOptions, outcome);
}

async function compare({ victims: count, baseline, attacks }: VictimRuns): Promise<VictimRow[]> {
  const alone = await perform(baseline);
  runs.push(alone);
  const baselineMs = alone.classes[0]?.latencyMs.p95 ?? 0;
  const row = (
    report: RunReport,
    facts: Pick<VictimRow, 'aggressors' | 'algorithm' | 'times'>,
  ): VictimRow => {
    const victim = report.classes[0] as RunReport['classes'][number];
    return {
      victims: count,
      ...facts,
      refusedShare: victim.refusedShare,
      waitP95Ms: victim.waitMs.p95,
      latencyP95Ms: victim.latencyMs.p95,
      ofBaseline: round(victim.latencyMs.p95 / baselineMs, 3),
    };
  };
  const rows = [row(alone, { aggressors: 0, algorithm: '-', times: 0 })];
  for (const { run, aggressors, times, algorithm } of attacks) {
    const report = await perform(run);
    runs.push(report);
    rows.push(row(report, { aggressors, times, algorithm }));
  }
  return rows;
}

function renderMixed(): string {
  const rows = mixtures.flatMap(([algorithm, always]) =>
    (['deficit round robin', '2DFQ'] as const).map((policy) => {
      const { waitMs, servedPerSecond, leastShare } = simulateMixed(
        {
          ...{ seed: options.seed, cores: options.cores, durationMs: options.seconds * 1000 },
          ...{ quantumUs: options.quantumUs, hopUs: options.hopUs },
          tenants: mixedTenants(workOf(algorithm, 'sign'), always, 200, 500),
        },
        policy,
      );
      const { p50 = 0, p95 = 0, p99 = 0 } = waitMs.hmac ?? {};
      return [
        `${always} tenants, ${algorithm}`,
        policy,
        ...[p50, p95, p99].map((ms) => ms.toFixed(3)),
        String(servedPerSecond.dear ?? 0),
        leastShare.toFixed(3),
      ];
    }),
  );
  const head = ['always waiting', 'scheduler', 'hmac wait p50 ms', 'p95', 'p99', 'dear/s', 'least of most'];
  return `mixed: 200 tenants ask for 500 HMACs a second each, beside others that always wait; one lane\n${renderTable(head, rows)}\n`;
}

function renderVictims(rows: readonly VictimRow[]): string {
  const head = [
    'victims',
    'aggressors',
    'with',
    'times',
    'victims refused',
    'wait p95 ms',
    'answer p95 ms',
    'of baseline',
  ];
  const title = `victims: ${options.algorithm} at ${options.load} of the workers' time; aggressors send so many times the calls of all victims together`;
  const cells = rows.map((row) => [
    String(row.victims),
    String(row.aggressors),
    row.algorithm,
    String(row.times),
    `${(row.refusedShare * 100).toFixed(2)} %`,
    row.waitP95Ms.toFixed(3),
    row.latencyP95Ms.toFixed(3),
    row.ofBaseline.toFixed(2),
  ]);
  return `${title}\n${renderTable(head, cells)}\n`;
}
