import { figure, percent, spread } from '../report/figures.ts';
import type { Plot } from '../report/plot.ts';
import { scenario } from '../scenario.ts';
import { closedLoop, type Figures, openLoop } from '../support/measure.ts';
import { startProduct } from '../support/product.ts';
import { measuredOf } from '../support/statistics.ts';
import { mixMeaning, prepareWorkload, type WorkloadName, workloadNames } from '../support/workloads.ts';

interface Step {
  /** Of the saturation that was measured just before. */
  readonly share: number;
  readonly rounds: readonly Figures[];
}

interface Curve {
  readonly workload: WorkloadName;
  readonly saturationPerSecond: number;
  readonly steps: readonly Step[];
}

interface Data {
  readonly curves: readonly Curve[];
}

const shares = [0.05, 1 / 3, 0.6, 0.8, 0.95, 1.1];
const quickShares = [0.05, 1 / 3, 0.8];
/** A tail needs more samples than a mean, but a curve has many points. */
const maxRounds = 2;

const quantiles = [
  { name: 'p50', dash: 'solid' },
  { name: 'p95', dash: 'dashed' },
  { name: 'p99', dash: 'dotted' },
] as const;

export const latencyCurve = scenario<Data>({
  name: 'latency-curve',
  question: 'How long does a caller wait, at which load?',
  typicalSeconds: 160,
  async run(context) {
    const { quick, step, steps } = context;
    const rounds = Math.min(context.rounds, maxRounds);
    const wanted = quick ? quickShares : shares;
    steps(workloadNames.length * (1 + wanted.length * rounds));
    const product = await context.using(startProduct());
    const curves: Curve[] = [];
    for (const workload of workloadNames) {
      const requests = await prepareWorkload(product, workload);
      step(`${workload}, saturation`);
      const saturationPerSecond = (await closedLoop(context, product, requests)).okPerSecond;
      const found = wanted.map((share) => ({ share, rounds: [] as Figures[] }));
      for (let round = 0; round < rounds; round++) {
        for (const { share, rounds } of found) {
          step(`${workload} at ${percent(share)}`);
          rounds.push(await openLoop(context, product, requests, share * saturationPerSecond));
        }
      }
      curves.push({ workload, saturationPerSecond, steps: found });
    }
    return { curves };
  },
  render({ curves }) {
    return {
      answer: curves.map(({ workload, saturationPerSecond, steps }) => {
        const third = steps.find(({ share }) => share === 1 / 3) as Step;
        const [p50, p95, p99] = quantiles.map(({ name }) =>
          figure(measuredOf(third.rounds, ({ latencyMs }) => latencyMs[name]).median),
        );
        return `${workload} at a third of ${figure(saturationPerSecond)} requests a second: p50 ${p50} ms, p95 ${p95} ms, p99 ${p99} ms.`;
      }),
      tables: curves.map(({ workload, saturationPerSecond, steps }) => ({
        title: `${workload}: saturation ${figure(saturationPerSecond)} requests a second`,
        columns: [
          'of saturation',
          'offered/s',
          'answered/s',
          'refused/s',
          'p50, ms',
          'p95, ms',
          'p99, ms',
          'server CPU, us',
        ],
        rows: steps.map(({ share, rounds }) => [
          percent(share),
          figure(measuredOf(rounds, ({ offeredPerSecond }) => offeredPerSecond).median),
          figure(measuredOf(rounds, ({ okPerSecond }) => okPerSecond).median),
          figure(measuredOf(rounds, ({ refusedPerSecond }) => refusedPerSecond).median),
          ...quantiles.map(({ name }) => spread(measuredOf(rounds, ({ latencyMs }) => latencyMs[name]))),
          figure(measuredOf(rounds, ({ cpuUs }) => cpuUs).median),
        ]),
      })),
      plots: curves.map(plotOf),
      notes: [
        mixMeaning,
        'Open loop: requests are sent when they are due, whether or not earlier ones were answered, and timed from when they were due; a slow server cannot make its own test easier (no coordinated omission).',
        'Arrivals are a Poisson process, as those of many callers are, so a request may wait for others that happen to come with it: harder than evenly spread arrivals. Where the load generator below is the one in Node, they come in the bursts of a 1 ms timer instead and are timed from their burst: harder still.',
        'Generator and server share the cores; near saturation they also wait for each other.',
      ],
    };
  },
});

function plotOf({ workload, steps }: Curve): Plot {
  return {
    kind: 'lines',
    title: `${workload}: latency against offered load`,
    x: { label: 'offered, requests a second', scale: 'linear' },
    y: { label: 'latency, ms', scale: 'log' },
    series: quantiles.map(({ name, dash }, colour) => ({
      name,
      dash,
      colour,
      points: steps.flatMap(({ rounds }) => {
        const { median, min, max } = measuredOf(rounds, ({ latencyMs }) => latencyMs[name]);
        const x = measuredOf(rounds, ({ offeredPerSecond }) => offeredPerSecond).median;
        return median > 0 ? [{ x, y: median, low: min, high: max }] : [];
      }),
    })),
  };
}
