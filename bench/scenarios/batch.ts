import { figure, spread } from '../report/figures.ts';
import { scenario } from '../scenario.ts';
import { type EngineTimes, timeEngine } from '../support/engine.ts';
import { closedLoop, type Figures, mustAllSucceed } from '../support/measure.ts';
import { startProduct } from '../support/product.ts';
import { signBatchRequest, type UsableKey } from '../support/requests.ts';
import { measuredOf } from '../support/statistics.ts';

const algorithms = ['ed25519', 'ml-dsa-44', 'ml-dsa-65'] as const;
const sizes = [1, 4, 16, 64, 256];
const quickSizes = [1, 16, 64, 256];

interface Data {
  readonly series: readonly {
    readonly alg: string;
    /** The engine's own CPU for one signature, measured in the same run. */
    readonly engineUs: number;
    readonly steps: readonly { readonly size: number; readonly rounds: readonly Figures[] }[];
  }[];
}

/** Two callers keep the server busy; more would measure the queue of their tenant, which holds two full batches. */
const connections = 2;

export const batch = scenario<Data>({
  name: 'batch',
  question: 'What does a signature cost when many are asked for in one request?',
  typicalSeconds: 75,
  async run(context) {
    const { quick, rounds, step, steps } = context;
    const wanted = quick ? quickSizes : sizes;
    steps(1 + rounds * algorithms.length * wanted.length);
    const product = await context.using(startProduct());
    step('engine alone');
    const { times } = (await timeEngine({
      engine: product.engine,
      keyTypes: algorithms,
      windowMs: context.windowMs / 4,
    })) as EngineTimes;
    const series = [];
    for (const alg of algorithms) {
      const key: UsableKey = await product.keyOf('batches', alg);
      const steps = wanted.map((size) => ({ size, rounds: [] as Figures[] }));
      series.push({ alg, key, engineUs: times[alg]?.signUs ?? Number.NaN, steps });
    }
    for (let round = 0; round < rounds; round++) {
      for (const { alg, key, steps } of series) {
        for (const { size, rounds } of steps) {
          step(`${alg}, ${size} in a request`);
          const figures = await closedLoop(context, product, [signBatchRequest(key, size)], { connections });
          mustAllSucceed(figures, `${alg}, batches of ${size}`);
          rounds.push(figures);
        }
      }
    }
    return { series: series.map(({ alg, engineUs, steps }) => ({ alg, engineUs, steps })) };
  },
  render({ series }) {
    return {
      answer: series.map(({ alg, engineUs, steps }) => {
        const of64 = steps.find(({ size }) => size === 64);
        const cpuUs = measuredOf(of64?.rounds ?? [], (figures) => figures.cpuUs / 64).median;
        return `${alg}: in requests of 64 a signature costs ${figure(cpuUs)} us of server CPU, ${figure(cpuUs / engineUs)} times the engine alone (${figure(engineUs)} us).`;
      }),
      tables: series.map(({ alg, engineUs, steps }) => ({
        title: `${alg}: engine alone ${figure(engineUs)} us`,
        columns: [
          'in a request',
          'signatures/s',
          'server CPU a signature, us',
          'times the engine',
          'p50 of a request, ms',
        ],
        rows: steps.map(({ size, rounds }) => [
          String(size),
          spread(measuredOf(rounds, ({ okPerSecond }) => okPerSecond * size)),
          spread(measuredOf(rounds, ({ cpuUs }) => cpuUs / size)),
          figure(measuredOf(rounds, ({ cpuUs }) => cpuUs / size).median / engineUs),
          figure(measuredOf(rounds, ({ latencyMs }) => latencyMs.p50).median),
        ]),
      })),
      plots: [
        {
          kind: 'lines',
          title: 'Server CPU for one signature against the size of a batch',
          x: { label: 'signatures in a request', scale: 'log' },
          y: { label: 'microseconds a signature', scale: 'log' },
          series: series.map(({ alg, steps }) => ({
            name: alg,
            points: steps.map(({ size, rounds }) => {
              const { median, min, max } = measuredOf(rounds, ({ cpuUs }) => cpuUs / size);
              return { x: size, y: median, low: min, high: max };
            }),
          })),
          limits: series.map(({ alg, engineUs }) => ({ name: `engine alone, ${alg}`, y: engineUs })),
        },
      ],
      notes: [`${connections} connections, each waiting for its answer before it sends the next batch.`],
    };
  },
});
