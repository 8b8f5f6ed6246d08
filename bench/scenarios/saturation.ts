import { figure, percent, spread } from '../report/figures.ts';
import { scenario } from '../scenario.ts';
import { bestConnections, closedLoop, type Figures, mustAllSucceed } from '../support/measure.ts';
import { startProduct } from '../support/product.ts';
import { measuredOf } from '../support/statistics.ts';
import { mixMeaning, prepareWorkload, type WorkloadName, workloadNames } from '../support/workloads.ts';

interface Workload {
  readonly name: WorkloadName;
  /** The number of connections that brought the most; tried in the first part of the run. */
  readonly connections: number;
  readonly rounds: readonly Figures[];
}

interface Data {
  readonly workloads: readonly Workload[];
}

const connectionCounts = [16, 64, 256];

export const saturation = scenario<Data>({
  name: 'saturation',
  question: 'How many requests a second does the server answer at most, and what does each cost it?',
  typicalSeconds: 75,
  async run(context) {
    const { rounds, step, steps } = context;
    steps(workloadNames.length * (connectionCounts.length + rounds));
    const product = await context.using(startProduct());
    const found = new Map<WorkloadName, { connections: number; rounds: Figures[] }>();
    const requestsOf = new Map(
      await Promise.all(
        workloadNames.map(async (name) => [name, await prepareWorkload(product, name)] as const),
      ),
    );
    const measure = async (name: WorkloadName, connections: number) => {
      step(`${name}, ${connections} connections`);
      const figures = await closedLoop(context, product, requestsOf.get(name) ?? [], { connections });
      mustAllSucceed(figures, name);
      return figures;
    };
    for (const name of workloadNames) {
      const connections = await bestConnections(connectionCounts, (count) => measure(name, count));
      found.set(name, { connections, rounds: [] });
    }
    for (let round = 0; round < rounds; round++) {
      for (const [name, workload] of found) workload.rounds.push(await measure(name, workload.connections));
    }
    return {
      workloads: [...found].map(([name, workload]) => ({ name, ...workload })),
    };
  },
  render({ workloads }) {
    return {
      answer: workloads.map(({ name, rounds }) => {
        const rate = measuredOf(rounds, ({ okPerSecond }) => okPerSecond).median;
        const cpuUs = measuredOf(rounds, (figures) => figures.cpuUs).median;
        return `${name}: ${figure(rate)} requests a second, ${figure(cpuUs)} us of server CPU each.`;
      }),
      tables: [
        {
          title: 'At saturation, closed loop',
          columns: [
            'workload',
            'connections',
            'requests/s',
            'server CPU, us',
            'of it HTTP thread',
            'p50, ms',
            'p99, ms',
            'generator of one core',
          ],
          rows: workloads.map(({ name, connections, rounds }) => [
            name,
            String(connections),
            spread(measuredOf(rounds, ({ okPerSecond }) => okPerSecond)),
            spread(measuredOf(rounds, ({ cpuUs }) => cpuUs)),
            figure(measuredOf(rounds, ({ mainThreadUs }) => mainThreadUs).median),
            figure(measuredOf(rounds, ({ latencyMs }) => latencyMs.p50).median),
            figure(measuredOf(rounds, ({ latencyMs }) => latencyMs.p99).median),
            percent(measuredOf(rounds, ({ generatorCpuShare }) => generatorCpuShare).median),
          ]),
        },
      ],
      plots: [
        {
          kind: 'bars',
          title: 'Requests a second at saturation',
          label: 'requests a second, more is better',
          bars: workloads.map(({ name, rounds }) => {
            const { median, min, max } = measuredOf(rounds, ({ okPerSecond }) => okPerSecond);
            return { name, value: median, low: min, high: max };
          }),
        },
      ],
      notes: [
        mixMeaning,
        'The generator runs on the same cores and takes its part of them: on a machine of its own the server would answer more. Server CPU for each request does not depend on that.',
        'Closed loop: each connection waits for its answer, so these latencies say how long 16 to 256 callers in a circle wait. What a caller sees at a given load is in latency-curve.',
      ],
    };
  },
});
