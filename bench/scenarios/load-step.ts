import { figure, percent, spread } from '../report/figures.ts';
import type { Plot } from '../report/plot.ts';
import { scenario } from '../scenario.ts';
import { closedLoop, floodNiceness } from '../support/measure.ts';
import { servedAsInService, startProduct } from '../support/product.ts';
import { signRequests, signRequestsOf } from '../support/requests.ts';
import { measured, measuredOf } from '../support/statistics.ts';
import { runAlone, runStep, type StepFigures, stepTimes, stepWindowMs } from '../support/step.ts';

const algorithms = ['ml-dsa-65', 'ed25519'] as const;
const whose = ['one tenant', 'four tenants', 'one beside a small one'] as const;
const steps = [1.4, 10] as const;
const connectionCounts = [256, 1_024, 4_000] as const;
/** A window of 20 ms holds a hundred answers: one round says little about it. */
const leastRounds = 5;
/** Half a queue's target: fewer than are refused, and enough to keep a worker busy. */
const peakConnections = 32;

interface Case {
  readonly alg: string;
  readonly of: (typeof whose)[number];
  readonly times: number;
  readonly connections: number;
  readonly rounds: StepFigures[];
}

interface Data {
  readonly peaks: Readonly<Record<string, readonly number[]>>;
  /** The small tenant's p95 without a flood. */
  readonly aloneMs: Readonly<Record<string, readonly number[]>>;
  readonly cases: readonly Case[];
}

export const loadStep = scenario<Data>({
  name: 'load-step',
  question: 'How soon is the service in order after a step of the load, and what does it do meanwhile?',
  typicalSeconds: 700,
  async run(context) {
    const { quick, step } = context;
    const rounds = quick ? 1 : Math.max(leastRounds, context.rounds);
    const product = await context.using(startProduct({ env: servedAsInService }));
    const cases: Case[] = algorithms.flatMap((alg) =>
      whose.flatMap((of) =>
        steps.flatMap((times) =>
          connectionCounts.map((connections) => ({ alg, of, times, connections, rounds: [] })),
        ),
      ),
    );
    const wanted = quick ? cases.filter(isPlotted) : cases;
    context.steps(algorithms.length * rounds + wanted.length * rounds);
    const peaks: Record<string, number[]> = {};
    const aloneMs: Record<string, number[]> = {};
    for (const alg of algorithms) {
      const own = signRequests(await product.keyOf('step', alg));
      const four = signRequestsOf(await product.keysOf(['one', 'two', 'three', 'four'], alg));
      const small = signRequests(await product.keyOf('small', alg));
      peaks[alg] = [];
      aloneMs[alg] = [];
      for (let round = 0; round < rounds; round++) {
        step(`${alg}: peak`);
        const { okPerSecond } = await closedLoop(context, product, own, {
          connections: peakConnections,
          niceness: floodNiceness,
        });
        peaks[alg].push(okPerSecond);
        if (!quick) aloneMs[alg].push((await runAlone(product, small)).p95);
        const peakPerSecond = Math.max(...peaks[alg]);
        for (const one of wanted.filter((each) => each.alg === alg)) {
          const { of, times, connections } = one;
          step(`${alg}, ${of}: ${times} times over ${connections} connections`);
          const requests = of === 'four tenants' ? four : own;
          const beside = of === 'one beside a small one' ? { beside: small } : undefined;
          const figures = await runStep(product, { requests, connections, times, peakPerSecond, ...beside });
          // All windows of all cases would make a report of 11 MB.
          one.rounds.push(isPlotted(one) ? figures : { ...figures, windows: [] });
        }
      }
    }
    return { peaks, aloneMs, cases: wanted };
  },
  render({ peaks, aloneMs, cases }) {
    const alone = (alg: string) => {
      const values = aloneMs[alg] ?? [];
      return values.length === 0 ? undefined : measured(values).median;
    };
    return {
      answer: cases
        .filter(isPlotted)
        .map(
          ({ alg, times, rounds }) =>
            `${alg}, one tenant, ${times} times over 1,024 connections: ${percent(measuredOf(rounds, ({ goodput }) => goodput).median)} of the peak of ${figure(Math.max(...(peaks[alg] ?? [])))}/s, p95 of the accepted ${figure(measuredOf(rounds, ({ settledMs }) => settledMs.p95).median)} ms, ${percent(measuredOf(rounds, ({ expired }) => expired).median)} of them end as 504.`,
        ),
      tables: algorithms.map((alg) => ({
        title: `${alg}: 0.5, then more than can be done, then 0.5 again`,
        columns: [
          'step',
          'connections',
          'of the peak',
          'sent',
          'p95 before, ms',
          'p95 of its first 300 ms',
          'p50 then, ms',
          'p95 then, ms',
          '504',
          'in order after, ms',
          'small one p95, ms',
          'times alone',
        ],
        rows: cases
          .filter((one) => one.alg === alg)
          .map(({ of, times, connections, rounds }) => {
            const of50 = (member: (round: StepFigures) => number) => measuredOf(rounds, member).median;
            const back = rounds.flatMap(({ backAfterMs }) => backAfterMs ?? []);
            const small = rounds.flatMap(({ besideMs }) => besideMs?.p95 ?? []);
            const own = alone(alg);
            return [
              `${of}, ${times} times`,
              String(connections),
              spread({ ...measuredOf(rounds, ({ goodput }) => 100 * goodput) }),
              `${figure(of50(({ sent }) => sent))} times`,
              figure(of50(({ beforeMs }) => beforeMs.p95)),
              figure(of50(({ beginMs }) => beginMs.p95)),
              figure(of50(({ settledMs }) => settledMs.p50)),
              spread(measuredOf(rounds, ({ settledMs }) => settledMs.p95)),
              percent(of50(({ expired }) => expired)),
              back.length < rounds.length
                ? `not in ${rounds.length - back.length}`
                : figure(measured(back).median),
              small.length === 0 ? '-' : spread(measured(small)),
              small.length === 0 || own === undefined ? '-' : figure(measured(small).median / own),
            ];
          }),
      })),
      plots: plotsOf(cases, peaks),
      notes: [
        `The step is from ${stepTimes.stepMs} to ${stepTimes.endMs} ms after the start. “Of the peak” and “then” leave out its first 300 ms, in which a burst may use its deadline.`,
        'The generator gives up what is due while all its connections wait for answers: a caller whose pool is used up does not send it later, and an overload ends when it ends. “Sent” is the rest, in times of the peak. Where refusals are answered late a flood can ask no more than its connections allow.',
        'Latencies are of accepted requests, from when they were due, which is when they were sent: of 5 % of the peak, asked of the same keys by a generator of its own at ordinary priority. The flood’s runs at the least favoured, and would tell how late it comes to its answers.',
        'The small tenant asks 100 times a second and has a generator of its own as well.',
      ],
    };
  },
});

/** The cases that the answer and the plots are about. */
function isPlotted({ of, connections }: Case): boolean {
  return of === 'one tenant' && connections === 1_024;
}

function plotsOf(cases: readonly Case[], peaks: Data['peaks']): Plot[] {
  const shown = cases.filter(isPlotted);
  const lines = (of: (alg: string, window: StepFigures['windows'][number]) => number) =>
    shown.map(({ alg, times, rounds }) => ({
      name: `${alg}, ${times} times`,
      points: (rounds[0]?.windows ?? []).flatMap(({ fromMs }, index) => {
        const values = rounds.flatMap(({ windows }) => {
          const window = windows[index];
          return window === undefined ? [] : [of(alg, window)];
        });
        return values.length === 0 ? [] : [{ x: fromMs, y: measured(values).median }];
      }),
    }));
  const x = { label: 'milliseconds since the start', scale: 'linear' } as const;
  const perWindow = 1_000 / stepWindowMs;
  return [
    {
      kind: 'lines',
      title: 'Accepted and done, in windows of 20 ms',
      x,
      y: { label: 'share of the peak', scale: 'linear' },
      series: lines((alg, { ok }) => (ok * perWindow) / Math.max(...(peaks[alg] ?? [1]))),
    },
    {
      kind: 'lines',
      title: 'p95 of the accepted, in windows of 20 ms',
      x,
      y: { label: 'ms', scale: 'log' },
      series: lines((_, { p95Ms }) => Math.max(0.1, p95Ms)),
      limits: [{ name: '30 ms', y: 30 }],
    },
  ];
}
