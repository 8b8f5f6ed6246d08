import { figure, percent, spread } from '../report/figures.ts';
import type { Plot } from '../report/plot.ts';
import { type Context, scenario } from '../scenario.ts';
import { type FloodFigures, underFlood } from '../support/flood.ts';
import { closedLoop, type Figures, floodNiceness } from '../support/measure.ts';
import { type ProductOptions, servedAsInService, startProduct } from '../support/product.ts';
import { signRequests, signRequestsOf } from '../support/requests.ts';
import { type Measured, measured, measuredOf } from '../support/statistics.ts';

interface Step {
  readonly times: number;
  readonly rounds: readonly FloodFigures[];
}

interface Series {
  readonly alg: string;
  /** The wait that callers say they can bear; undefined: they say nothing. */
  readonly deadlineMs: number | undefined;
  readonly peaks: readonly Figures[];
  readonly steps: readonly Step[];
}

interface Refusal {
  readonly kind: string;
  /** CPU of the HTTP thread for one refusal. */
  readonly cpuUs: Measured;
}

interface Data {
  readonly series: readonly Series[];
  readonly refusals: readonly Refusal[];
}

/** Dear enough that ten times as much can be generated beside the server; the second also with a short deadline. */
const variants = [
  { alg: 'ml-dsa-65', deadlineMs: undefined },
  { alg: 'rsa-3072', deadlineMs: undefined },
  { alg: 'rsa-3072', deadlineMs: 10 },
] as const;
const times = [1, 1.5, 2, 4, 7, 10];
const quickTimes = [1, 4, 10];
/** Of the peak: asked by a generator of its own whose latencies are the ones reported, see the note in the report. */
const probeShare = 0.05;
/** Each level is a point of a curve; the spread is told by its neighbours as well. */
const maxRounds = 2;

export const overload = scenario<Data>({
  name: 'overload',
  question: 'What happens when more is asked than can be done?',
  typicalSeconds: 135,
  async run(context) {
    const { quick, step, steps } = context;
    const rounds = Math.min(context.rounds, maxRounds);
    const wanted = quick ? quickTimes : times;
    steps(variants.length * (1 + rounds * (1 + wanted.length)) + 2 * rounds);
    const series: Series[] = [];
    const product = await context.using(startProduct({ env: servedAsInService }));
    for (const { alg, deadlineMs } of variants) {
      step(`${alg}: keys of four tenants`);
      const tenants = ['one', 'two', 'three', 'four'].map((name) => `overload-${name}`);
      const keys = await product.keysOf(tenants, alg);
      const requests = signRequestsOf(keys).map((request) => ({
        ...request,
        headers: deadlineMs === undefined ? {} : { 'X-Deadline-Ms': String(deadlineMs) },
      }));
      const peaks: Figures[] = [];
      const found = wanted.map((times) => ({ times, rounds: [] as FloodFigures[] }));
      for (let round = 0; round < rounds; round++) {
        step(`${alg}: peak`);
        // The same requests without their wish: the most that can be had.
        peaks.push(await closedLoop(context, product, signRequestsOf(keys), { niceness: floodNiceness }));
        const peak = peaks[0]?.okPerSecond ?? 0;
        for (const { times, rounds } of found) {
          step(`${alg}${deadlineMs === undefined ? '' : `, ${deadlineMs} ms`}: ${times} times`);
          rounds.push(
            await underFlood(
              context,
              product,
              { requests, ratePerSecond: probeShare * peak },
              {
                requests,
                ratePerSecond: (times - probeShare) * peak,
                connections: connectionsFor(peak),
              },
            ),
          );
        }
      }
      series.push({ alg, deadlineMs, peaks, steps: found });
    }
    const refusals = [
      await priceOfRefusal(context, rounds, 'RateLimited', { KMS_SIGN_RATE_LIMIT: '1' }),
      await priceOfRefusal(context, rounds, 'Backpressure', {
        KMS_QUEUE_PER_TENANT: '1',
        KMS_BATCH_MAX_ITEMS: '1',
      }),
    ];
    return { series, refusals };
  },
  render({ series, refusals }) {
    return {
      answer: [
        ...series.map(({ alg, deadlineMs, peaks, steps }) => {
          const peak = measuredOf(peaks, ({ okPerSecond }) => okPerSecond).median;
          const at4 = steps.find(({ times }) => times === 4) as Step;
          const rate = measuredOf(at4.rounds, (round) => sum(round, 'okPerSecond')).median;
          const p99 = measuredOf(at4.rounds, ({ victim }) => victim.latencyMs.p99).median;
          return `${nameOf(alg, deadlineMs)}: at four times what can be done, ${percent(rate / peak)} of the peak of ${figure(peak)} requests a second is done, p99 of the accepted ${figure(p99)} ms.`;
        }),
        ...refusals.map(
          ({ kind, cpuUs }) =>
            `A 429 ${kind} costs ${figure(cpuUs.median)} us of server CPU, all of it on the HTTP thread.`,
        ),
      ],
      tables: [
        ...series.map(({ alg, deadlineMs, peaks, steps }) => {
          const peak = measuredOf(peaks, ({ okPerSecond }) => okPerSecond).median;
          return {
            title: `${nameOf(alg, deadlineMs)}: peak ${figure(peak)} requests a second`,
            columns: [
              'wanted',
              'sent/s',
              'accepted/s',
              'of the peak',
              'refused/s',
              'p50, ms',
              'p99, ms',
              '429 after, p50 ms',
            ],
            rows: steps.map(({ times, rounds }) => [
              `${times} times`,
              figure(measuredOf(rounds, (round) => sum(round, 'offeredPerSecond')).median),
              spread(measuredOf(rounds, (round) => sum(round, 'okPerSecond'))),
              percent(measuredOf(rounds, (round) => sum(round, 'okPerSecond')).median / peak),
              figure(measuredOf(rounds, (round) => sum(round, 'refusedPerSecond')).median),
              figure(measuredOf(rounds, ({ victim }) => victim.latencyMs.p50).median),
              spread(measuredOf(rounds, ({ victim }) => victim.latencyMs.p99)),
              figure(measuredOf(rounds, ({ victim }) => victim.refusalMs.p50).median),
            ]),
          };
        }),
        {
          title: 'What a refusal costs',
          columns: ['answer', 'server CPU, us'],
          rows: refusals.map(({ kind, cpuUs }) => [`429 ${kind}`, spread(cpuUs)]),
        },
      ],
      plots: [throughputPlot(series)],
      notes: [
        'Open loop from four tenants, with more connections than the service lets requests wait: what is refused is not sent again.',
        'Two generators ask for the same keys: one for 5 % of the peak at ordinary priority, whose latencies these are, and one at the least favoured for all the rest, so that the flood does not take the processor from the server as no flood from another machine could.',
        'Latencies are of accepted requests. Without a deadline of their callers they may wait as long as the service’s default deadline (250 ms); with one of 10 ms those that would wait longer are refused at once.',
        'The price of a refusal is measured where nearly every answer is one: a tenant with a rate limit of 1 a second, and a tenant whose queue holds one call. It is the CPU of the HTTP thread, which alone has to do with them, over the number of refusals; the few accepted calls, a hundredth of all, are not counted off.',
        'Generator and server share the cores: “sent/s” is what was reached, and at ten times the generator itself takes processor time that signatures would have used.',
      ],
    };
  },
});

function nameOf(alg: string, deadlineMs: number | undefined): string {
  return deadlineMs === undefined ? alg : `${alg} with a deadline of ${deadlineMs} ms`;
}

function throughputPlot(series: readonly Series[]): Plot {
  return {
    kind: 'lines',
    title: 'Accepted under overload',
    x: { label: 'asked, in times of what can be done', scale: 'linear' },
    y: { label: 'accepted, share of the peak', scale: 'linear' },
    series: series.map(({ alg, deadlineMs, peaks, steps }) => {
      const peak = measuredOf(peaks, ({ okPerSecond }) => okPerSecond).median;
      return {
        name: deadlineMs === undefined ? alg : `${alg}, ${deadlineMs} ms`,
        points: steps.map(({ times, rounds }) => {
          const { median, min, max } = measuredOf(rounds, (round) => sum(round, 'okPerSecond') / peak);
          return { x: times, y: median, low: min, high: max };
        }),
      };
    }),
    limits: [{ name: '85 % of the peak', y: 0.85 }],
  };
}

/** Half as many again as the service lets wait (its default deadline is 250 ms), so that the service is what refuses. */
function connectionsFor(peakPerSecond: number): number {
  return Math.round(Math.min(8_192, Math.max(256, peakPerSecond * 0.25 * 1.5)));
}

function sum(
  { victim, aggressor }: FloodFigures,
  member: 'okPerSecond' | 'refusedPerSecond' | 'offeredPerSecond',
) {
  return victim[member] + (aggressor?.[member] ?? 0);
}

/** A flood: with fewer, generator and server wait for each other after every few requests. */
const refusedConnections = 256;

/** A server that refuses nearly everything; see the note in the report. */
async function priceOfRefusal(
  context: Context,
  rounds: number,
  kind: string,
  env: NonNullable<ProductOptions['env']>,
): Promise<Refusal> {
  const product = await context.using(startProduct({ name: kind, env }));
  const requests = signRequests(await product.keyOf('refused', 'rsa-3072'));
  const prices: number[] = [];
  for (let round = 0; round < rounds; round++) {
    context.step(`429 ${kind}`);
    const figures = await closedLoop(context, product, requests, { connections: refusedConnections });
    const { okPerSecond, refusedPerSecond, mainThreadUs } = figures;
    prices.push((mainThreadUs * (okPerSecond + refusedPerSecond)) / refusedPerSecond);
  }
  return { kind, cpuUs: measured(prices) };
}
