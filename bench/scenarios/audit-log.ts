import { figure, percent, spread } from '../report/figures.ts';
import { scenario } from '../scenario.ts';
import { closedLoop, type Figures, mustAllSucceed, openLoop } from '../support/measure.ts';
import { type Product, startProduct } from '../support/product.ts';
import { signRequests } from '../support/requests.ts';
import { measuredOf } from '../support/statistics.ts';

interface Variant {
  readonly name: string;
  readonly saturated: Figures[];
  /** At the same load for all. */
  readonly loaded: Figures[];
}

interface Data {
  readonly ratePerSecond: number;
  readonly variants: readonly Variant[];
}

const unlogged = 'none';
const levels = [
  // Without a store there is nothing to keep a log of.
  { name: unlogged, env: { KMS_BACKEND: 'memory' } },
  { name: 'written', env: { KMS_AUDIT_DURABILITY: 'written' } },
  { name: 'synced', env: { KMS_AUDIT_DURABILITY: 'synced' } },
];

/** Enough that generator and server need not wait for each other in turns. */
const connections = 128;

export const auditLog = scenario<Data>({
  name: 'audit-log',
  question: 'What does the audit log cost an Ed25519 signature?',
  typicalSeconds: 90,
  async run(context) {
    const { rounds, step, steps } = context;
    steps(levels.length * (1 + 2 * rounds));
    const prepared = [];
    for (const { name, env } of levels) {
      const server: Product = await context.using(startProduct({ name, env }));
      const requests = signRequests(await server.keyOf('signing', 'ed25519'));
      prepared.push({ server, requests, variant: { name, saturated: [], loaded: [] } as Variant });
    }
    let ratePerSecond = Number.POSITIVE_INFINITY;
    for (const { server, requests, variant } of prepared) {
      step(`${variant.name}: warming up`);
      const { okPerSecond } = await closedLoop(context, server, requests, { connections });
      if (variant.name === 'written') ratePerSecond = okPerSecond / 3;
    }
    for (let round = 0; round < rounds; round++) {
      for (const { server, requests, variant } of prepared) {
        step(`${variant.name}: saturation`);
        const saturated = await closedLoop(context, server, requests, { connections });
        mustAllSucceed(saturated, variant.name);
        variant.saturated.push(saturated);
      }
    }
    // Not in between: what saturation leaves to be sealed would be counted to the lower load.
    for (let round = 0; round < rounds; round++) {
      for (const { server, requests, variant } of prepared) {
        step(`${variant.name}: at a third`);
        variant.loaded.push(await openLoop(context, server, requests, ratePerSecond));
      }
    }
    return { ratePerSecond, variants: prepared.map(({ variant }) => variant) };
  },
  render({ ratePerSecond, variants }) {
    const none = variants.find(({ name }) => name === unlogged) as Variant;
    const cpu = (rounds: readonly Figures[]) => measuredOf(rounds, ({ cpuUs }) => cpuUs);
    const p95 = (rounds: readonly Figures[]) => measuredOf(rounds, ({ latencyMs }) => latencyMs.p95);
    return {
      answer: variants
        .filter(({ name }) => name !== unlogged)
        .map(({ name, saturated, loaded }) => {
          const cpuUs = cpu(saturated).median - cpu(none.saturated).median;
          const p95Ms = p95(loaded).median - p95(none.loaded).median;
          return `${name}: ${figure(cpuUs)} us of server CPU for each signature at saturation, ${figure(p95Ms)} ms of p95 at ${figure(ratePerSecond)} signatures a second.`;
        }),
      tables: [
        {
          title: `At saturation, ${connections} connections`,
          columns: [
            'durability',
            'signatures/s',
            'server CPU, us',
            'of it HTTP thread',
            'p95, ms',
            'generator of one core',
          ],
          rows: variants.map(({ name, saturated }) => [
            name,
            spread(measuredOf(saturated, ({ okPerSecond }) => okPerSecond)),
            spread(cpu(saturated)),
            figure(measuredOf(saturated, ({ mainThreadUs }) => mainThreadUs).median),
            figure(p95(saturated).median),
            percent(measuredOf(saturated, ({ generatorCpuShare }) => generatorCpuShare).median),
          ]),
        },
        {
          title: `At ${figure(ratePerSecond)} a second, a third of what was done with the log`,
          columns: ['durability', 'answered', 'server CPU, us', 'p50, ms', 'p95, ms', 'p99, ms'],
          rows: variants.map(({ name, loaded }) => [
            name,
            percent(
              measuredOf(loaded, ({ okPerSecond, offeredPerSecond }) => okPerSecond / offeredPerSecond)
                .median,
            ),
            spread(cpu(loaded)),
            figure(measuredOf(loaded, ({ latencyMs }) => latencyMs.p50).median),
            spread(p95(loaded)),
            spread(measuredOf(loaded, ({ latencyMs }) => latencyMs.p99)),
          ]),
        },
      ],
      plots: [
        {
          kind: 'bars',
          title: `p95 of a signature at ${figure(ratePerSecond)} a second`,
          label: 'milliseconds, less is better',
          bars: variants.map(({ name, loaded }) => {
            const { median, min, max } = p95(loaded);
            return { name, value: median, low: min, high: max };
          }),
        },
      ],
      notes: [
        '“none” keeps its keys in memory and has no log. “written” answers when the record is with the kernel, “synced” when it is on the disk (fdatasync). All servers run at once and are loaded in turn.',
        'The log’s directory is on the disk of this machine, and lasts as long as the run. What the appender does alone is in `npm exec -- node bench/audit.ts`.',
      ],
    };
  },
});
