import { figure, percent, spread } from '../report/figures.ts';
import { type Context, scenario } from '../scenario.ts';
import { type FloodFigures, underFlood } from '../support/flood.ts';
import { bestConnections, closedLoop, type Figures, mustAllSucceed } from '../support/measure.ts';
import { type Product, type ProductOptions, startProduct } from '../support/product.ts';
import { signRequests } from '../support/requests.ts';
import { measuredOf } from '../support/statistics.ts';
import { type ComparedAlgorithm, startComparator, type Target } from '../support/target.ts';

interface Server {
  readonly name: string;
  readonly alg: ComparedAlgorithm;
  /** The number of connections with which it did most; tried first. */
  readonly connections: number;
  readonly rounds: Figures[];
}

interface PolicyResult {
  readonly name: string;
  readonly alone: FloodFigures[];
  readonly flooded: FloodFigures[];
  readonly saturated: Figures[];
}

interface Data {
  readonly servers: readonly Server[];
  readonly policies: readonly PolicyResult[];
}

const algorithms = ['ed25519', 'ml-dsa-65'] as const;
const product = 'Intaglio';
const unlogged = 'Intaglio, keys in memory and no audit log';
const ours: readonly string[] = [product, unlogged];
/** One that is not enough keeps the generator and a server waiting for each other in turns. */
const connectionCounts = [64, 256, 512];
const floor = 'uWebSockets.js, no work at all';
const others = [
  { name: 'uWebSockets.js + node:crypto inline', file: 'uwebsockets-inline.ts' },
  { name: 'Fastify + node:crypto on the thread pool', file: 'fastify-pool.ts' },
  { name: floor, file: 'floor.ts' },
] as const;

/** Signatures a second that the bucket of an address lets through: what one worker can do of the victim's algorithm. */
const bucketShare = 0.8;
const floodTimes = 10;
const normalShare = 0.1;
const policyAlgorithm = 'ml-dsa-65';

interface Variant {
  readonly name: string;
  readonly options: (peakPerSecond: number) => ProductOptions;
  /** The tenants that the server takes victim and aggressor for. */
  readonly tenants: readonly [victim: string, aggressor: string];
}

const own = ['victim', 'aggressor'] as const;
const variants: readonly Variant[] = [
  { name: 'as it is', options: () => ({ policy: {} }), tenants: own },
  { name: 'one FIFO for all', options: () => ({ policy: { oneQueue: true } }), tenants: own },
  {
    // Callers behind one gateway have one address, hence one bucket and one queue: as if they were one tenant.
    name: 'a bucket for each address',
    options: (peak) => ({
      policy: { oneQueue: true },
      env: { KMS_SIGN_RATE_LIMIT: String(Math.round(peak * bucketShare)) },
    }),
    tenants: ['gateway', 'gateway'],
  },
  {
    name: 'one message for each signature',
    options: () => ({ policy: { callsPerMessage: 1 } }),
    tenants: own,
  },
];

export const comparators = scenario<Data>({
  name: 'comparators',
  question: 'How does it compare with the usual ways to build such a server, and with the usual policies?',
  typicalSeconds: 270,
  async run(context) {
    const contests = algorithms.length * (ours.length + others.length) - 1;
    context.steps(
      (context.rounds + connectionCounts.length) * contests + (3 * context.rounds + 1) * variants.length,
    );
    const servers = await compareServers(context);
    const peak = servers.find(({ name, alg }) => name === product && alg === policyAlgorithm) as Server;
    const peakPerSecond = measuredOf(peak.rounds, ({ okPerSecond }) => okPerSecond).median;
    return { servers, policies: await comparePolicies(context, peakPerSecond) };
  },
  render({ servers, policies }) {
    const rate = ({ rounds }: Server) => measuredOf(rounds, ({ okPerSecond }) => okPerSecond);
    const cpu = ({ rounds }: Server) => measuredOf(rounds, ({ cpuUs }) => cpuUs);
    const own = servers.filter(({ name }) => ours.includes(name));
    const p95 = (rounds: readonly FloodFigures[]) => measuredOf(rounds, ({ victim }) => victim.latencyMs.p95);
    return {
      answer: own.flatMap((server) =>
        servers
          .filter(({ name, alg }) => alg === server.alg && !ours.includes(name) && name !== floor)
          .map(
            (other) =>
              `${server.name}, ${server.alg}: ${figure(rate(server).median / rate(other).median)} times the requests a second of ${other.name}, at ${figure(cpu(other).median / cpu(server).median)} times less server CPU for each.`,
          ),
      ),
      tables: [
        ...algorithms.map((wanted) => ({
          title: `${wanted} signatures at saturation`,
          columns: [
            'server',
            'connections',
            'requests/s',
            'server CPU, us',
            'of it HTTP thread',
            'p50, ms',
            'p99, ms',
            'generator of one core',
          ],
          rows: servers
            .filter(({ alg }) => alg === wanted)
            .map((server) => [
              server.name,
              String(server.connections),
              spread(rate(server)),
              spread(cpu(server)),
              figure(measuredOf(server.rounds, ({ mainThreadUs }) => mainThreadUs).median),
              figure(measuredOf(server.rounds, ({ latencyMs }) => latencyMs.p50).median),
              figure(measuredOf(server.rounds, ({ latencyMs }) => latencyMs.p99).median),
              percent(measuredOf(server.rounds, ({ generatorCpuShare }) => generatorCpuShare).median),
            ]),
        })),
        {
          title: `The same server with other policies; victim and aggressor (${floodTimes} times) sign with ${policyAlgorithm}`,
          columns: [
            'policy',
            'requests/s at saturation',
            'server CPU, us',
            'victim alone, p95 ms',
            'flooded, p95 ms',
            'times',
            'victim answered',
          ],
          rows: policies.map(({ name, alone, flooded, saturated }) => [
            name,
            ...(saturated.some(({ refusedPerSecond }) => refusedPerSecond > 0)
              ? // Its bucket is what was measured.
                ['-', '-']
              : [
                  spread(measuredOf(saturated, ({ okPerSecond }) => okPerSecond)),
                  spread(measuredOf(saturated, ({ cpuUs }) => cpuUs)),
                ]),
            spread(p95(alone)),
            spread(p95(flooded)),
            figure(p95(flooded).median / p95(alone).median),
            percent(measuredOf(flooded, ({ victim }) => victim.okPerSecond / victim.offeredPerSecond).median),
          ]),
        },
      ],
      plots: [
        ...algorithms.map((wanted) => ({
          kind: 'bars' as const,
          title: `${wanted} signatures a second`,
          label: 'requests a second, more is better',
          bars: servers
            .filter(({ alg }) => alg === wanted)
            .map((server) => {
              const { median, min, max } = rate(server);
              return { name: server.name, value: median, low: min, high: max };
            }),
        })),
        {
          kind: 'bars',
          title: `The victim's p95 beside a flood of ${floodTimes} times its load`,
          label: 'milliseconds, less is better',
          bars: policies.map(({ name, flooded }) => {
            const { median, min, max } = p95(flooded);
            return { name, value: median, low: min, high: max };
          }),
        },
      ],
      notes: [
        `All servers run at once and are loaded in turn, A B C A B C, each with the number of connections (${connectionCounts.join(', ')}) with which it did most.`,
        'The product does what the others leave out: capabilities, tenants, admission, fair queues, the audit log.',
        'The bucket for each address is the product with victim and aggressor behind one address, which it then takes for one caller: one bucket of 80 % of the saturation and one queue. Policies are loaded at saturation with Ed25519.',
        'Every server’s first signature was checked with node:crypto.',
      ],
    };
  },
});

async function compareServers(context: Context): Promise<Server[]> {
  const targets: Target[] = [
    await context.using(startProduct({ name: product })),
    await context.using(startProduct({ name: unlogged, env: { KMS_BACKEND: 'memory' } })),
  ];
  for (const { name, file } of others) targets.push(await context.using(startComparator(name, file)));
  const contests = [];
  for (const alg of algorithms) {
    for (const target of targets) {
      // It answers the same for every algorithm.
      if (target.name === floor && alg !== 'ed25519') continue;
      const requests = signRequests(await target.signer(alg));
      const server = { name: target.name, alg, connections: 0, rounds: [] as Figures[] };
      contests.push({ target, requests, server });
    }
  }
  for (const { target, requests, server } of contests) {
    server.connections = await bestConnections(connectionCounts, (connections) => {
      context.step(`${server.name}, ${server.alg}, ${connections} connections`);
      return closedLoop(context, target, requests, { connections });
    });
  }
  for (let round = 0; round < context.rounds; round++) {
    for (const { target, requests, server } of contests) {
      context.step(`${server.name}, ${server.alg}`);
      const { connections } = server;
      const figures = await closedLoop(context, target, requests, { connections });
      mustAllSucceed(figures, server.name);
      server.rounds.push(figures);
    }
  }
  return contests.map(({ server }) => server);
}

async function comparePolicies(context: Context, peakPerSecond: number): Promise<PolicyResult[]> {
  const prepared = [];
  for (const { name, options, tenants } of variants) {
    const server: Product = await context.using(startProduct({ name, ...options(peakPerSecond) }));
    const [victim, aggressor] = tenants;
    prepared.push({
      server,
      victim: signRequests(await server.keyOf(victim, policyAlgorithm)),
      aggressor: signRequests(await server.keyOf(aggressor, policyAlgorithm)),
      saturating: signRequests(await server.keyOf('saturating', 'ed25519')),
      result: { name, alone: [], flooded: [], saturated: [] } as PolicyResult,
    });
  }
  const ratePerSecond = normalShare * peakPerSecond;
  for (const { server, saturating, result } of prepared) {
    context.step(`${result.name}: warming up`);
    await closedLoop(context, server, saturating);
  }
  for (let round = 0; round < context.rounds; round++) {
    for (const { server, victim, aggressor, saturating, result } of prepared) {
      const caller = { requests: victim, ratePerSecond };
      context.step(`${result.name}: victim alone`);
      result.alone.push(await underFlood(context, server, caller, undefined));
      context.step(`${result.name}: beside a flood`);
      const flood = { requests: aggressor, ratePerSecond: floodTimes * ratePerSecond };
      result.flooded.push(await underFlood(context, server, caller, flood));
      context.step(`${result.name}: saturation`);
      result.saturated.push(await closedLoop(context, server, saturating));
    }
  }
  return prepared.map(({ result }) => result);
}
