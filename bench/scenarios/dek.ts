import type { LoadRequest } from '../load/plan.ts';
import { figure, percent, spread } from '../report/figures.ts';
import { type Context, scenario } from '../scenario.ts';
import {
  createDeks,
  type DekServer,
  dekDecryptRequests,
  dekEncryptRequest,
  healthRequest,
  startDekServer,
} from '../support/dek.ts';
import { fieldBytes } from '../support/field.ts';
import { closedLoop, type Figures, openLoop } from '../support/measure.ts';
import { type Measured, measuredOf } from '../support/statistics.ts';
import { timeUnder, type UnderTimes } from '../support/under.ts';

/** Parts of the most that is answered over many connections. */
export const loadShares = { third: 1 / 3, 'two thirds': 2 / 3 } as const;
type LoadShare = keyof typeof loadShares;

export interface DekRow {
  readonly name: string;
  readonly few: readonly Figures[];
  readonly many: readonly Figures[];
  readonly open: Readonly<
    Record<LoadShare, { readonly ratePerSecond: number; readonly rounds: readonly Figures[] }>
  >;
}

export interface DekData {
  readonly rows: readonly DekRow[];
  /** Without HTTP, in each round. */
  readonly under: readonly UnderTimes[];
}

/** A caller that asks one after the other, twice: many databases have one such pool. */
const connections = { few: 2, many: 64 } as const;
const dekCounts = [1, 1_000] as const;
const health = 'healthz';

export const dek = scenario<DekData>({
  name: 'dek',
  question:
    'How many fields of 1 KiB does serve-dek encrypt and decrypt in a second over its Unix socket, how long do callers wait, and what of it is HTTP?',
  typicalSeconds: 150,
  async run(context) {
    const { quick, rounds, step, steps, windowMs } = context;
    const names = 1 + 2 * dekCounts.length;
    steps(2 + rounds * (1 + 4 * names));
    step('DEKs');
    // A closed loop that looks for the most meets no deadline.
    const server = await context.using(startDekServer(undefined, { KMS_DEFAULT_DEADLINE_MS: '2000' }));
    const workloads = await prepare(server);
    step('the service warms up');
    for (const { requests } of workloads) await warmUp(context, server, requests);
    const rows = workloads.map(({ name, requests }) => ({
      ...{ name, requests, few: [] as Figures[], many: [] as Figures[] },
      open: { third: openOf(), 'two thirds': openOf() },
    }));
    const under: UnderTimes[] = [];
    for (let round = 0; round < rounds; round++) {
      step('engine and node:crypto alone');
      under.push(await timeUnder(quick ? 50 : windowMs / 4));
      for (const count of ['few', 'many'] as const)
        for (const row of rows) {
          step(`${row.name}, ${connections[count]} connections`);
          const shape = { connections: connections[count] };
          row[count].push(await closedLoop(context, server, row.requests, shape));
        }
      for (const share of Object.keys(loadShares) as LoadShare[])
        for (const row of rows) {
          step(`${row.name}, at ${share} of it`);
          const open = row.open[share];
          // All rounds of a row meet the same load.
          if (round === 0) open.ratePerSecond = (row.many[0] as Figures).okPerSecond * loadShares[share];
          const shape = { connections: connections.many };
          open.rounds.push(await openLoop(context, server, row.requests, open.ratePerSecond, shape));
        }
    }
    return { rows: rows.map(({ requests: _, ...row }) => row), under };
  },
  render: renderDek,
});

const openOf = () => ({ ratePerSecond: 0, rounds: [] as Figures[] });

interface Workload {
  readonly name: string;
  readonly requests: readonly LoadRequest[];
}

async function prepare(server: DekServer): Promise<readonly Workload[]> {
  const ids = await createDeks(server, Math.max(...dekCounts));
  const workloads: Workload[] = [{ name: health, requests: [healthRequest] }];
  for (const count of dekCounts) {
    const used = ids.slice(0, count);
    const of = count === 1 ? 'one DEK' : `${count.toLocaleString('en-US')} DEKs`;
    workloads.push(
      { name: `encrypt, ${of}`, requests: used.map(dekEncryptRequest) },
      { name: `decrypt, ${of}`, requests: await dekDecryptRequests(server, used) },
    );
  }
  return workloads;
}

function warmUp({ windowMs, warmUpMs }: Context, server: DekServer, requests: readonly LoadRequest[]) {
  const timing = { windowMs: windowMs / 2, warmUpMs: warmUpMs / 2 };
  return closedLoop(timing, server, requests, { connections: 16 });
}

const rate = (rounds: readonly Figures[]) => measuredOf(rounds, ({ okPerSecond }) => okPerSecond);
const cpu = (rounds: readonly Figures[]) => measuredOf(rounds, ({ cpuUs }) => cpuUs);
const latency = (rounds: readonly Figures[], quantile: 'p50' | 'p95' | 'p99') =>
  measuredOf(rounds, ({ latencyMs }) => latencyMs[quantile]);
/** Answers of another status than 2xx, of all rounds. */
const refused = (rounds: readonly Figures[]) =>
  rounds
    .flatMap(({ statuses }) => Object.entries(statuses))
    .reduce((sum, [status, count]) => sum + (status.startsWith('2') ? 0 : count), 0);

export function renderDek({ rows, under }: DekData) {
  const baseUs = cpu((rows.find(({ name }) => name === health) as DekRow).many).median;
  const alone = (member: keyof UnderTimes) => measuredOf(under, (times) => times[member]);
  const aloneOf = (name: string, of: 'engine' | 'node'): Measured | undefined =>
    name === health ? undefined : alone(`${of}${name.startsWith('encrypt') ? 'Encrypt' : 'Decrypt'}Us`);
  return {
    answer: rows
      .filter(({ name }) => name !== health)
      .map(
        ({ name, many, open }) =>
          `${name}: ${figure(rate(many).median)} a second at most, ${figure(cpu(many).median)} us of server CPU each, of which healthz takes ${figure(baseUs)} and the engine ${figure(aloneOf(name, 'engine')?.median ?? Number.NaN)}; p95 ${figure(latency(open.third.rounds, 'p95').median)} ms at a third of that, ${figure(latency(open['two thirds'].rounds, 'p95').median)} ms at two thirds.`,
      ),
    tables: [
      {
        title: `As much as can be done, closed loop over ${connections.few} and ${connections.many} connections`,
        columns: [
          ...['request', `a second over ${connections.few}`, 'p95, ms', `a second over ${connections.many}`],
          ...['p95, ms', 'server CPU, us', 'of it HTTP thread', 'times healthz', 'errors'],
          'generator of one core',
        ],
        rows: rows.map(({ name, few, many }) => [
          ...[name, spread(rate(few)), spread(latency(few, 'p95'))],
          ...[spread(rate(many)), spread(latency(many, 'p95')), spread(cpu(many))],
          figure(measuredOf(many, ({ mainThreadUs }) => mainThreadUs).median),
          figure(cpu(many).median / baseUs),
          String(refused([...few, ...many])),
          percent(measuredOf(many, ({ generatorCpuShare }) => generatorCpuShare).median),
        ]),
      },
      {
        title: 'At a part of it, open loop',
        columns: ['request', 'load', 'a second', 'p50, ms', 'p95, ms', 'p99, ms', 'server CPU, us', 'errors'],
        rows: rows.flatMap(({ name, open }) =>
          (Object.keys(loadShares) as LoadShare[]).map((share) => {
            const { ratePerSecond, rounds } = open[share];
            const times = (['p50', 'p95', 'p99'] as const).map((each) => spread(latency(rounds, each)));
            return [
              ...[name, share, figure(ratePerSecond), ...times],
              ...[spread(cpu(rounds)), String(refused(rounds))],
            ];
          }),
        ),
      },
      {
        title: 'Without a service, us of one core',
        columns: ['1 KiB', 'engine alone', 'node:crypto alone', 'server CPU', 'times the engine'],
        rows: rows
          .filter(({ name }) => name !== health)
          .map(({ name, many }) => [
            ...[name, spread(aloneOf(name, 'engine') as Measured), spread(aloneOf(name, 'node') as Measured)],
            spread(cpu(many)),
            figure(cpu(many).median / (aloneOf(name, 'engine') as Measured).median),
          ]),
      },
    ],
    plots: [
      {
        kind: 'bars' as const,
        title: `Requests a second over ${connections.many} connections of a Unix socket`,
        label: 'requests a second, more is better',
        bars: rows.map(({ name, many }) => {
          const { median, min, max } = rate(many);
          return { name, value: median, low: min, high: max };
        }),
      },
    ],
    notes: [
      `serve-dek as a process of its own with a master key in its configuration, on disk, with the Merkle log and kms-audit.log. Plaintext of ${fieldBytes} bytes; each DEK has encrypted before, so that it is in memory and its encryptions are counted in a block that is durable.`,
      'healthz is the cheapest route of the same service over the same socket: Node reads HTTP there, without the engine, the audit log and JSON of a body. Everything is measured in turn in each round.',
      'Engine alone: one thread in a process of its own, in batches of 16, which unwraps the DEK by the KEK for each piece, as the service does. node:crypto alone does the same with KeyObjects.',
      'The generator shares the processors with the server: on a machine of its own the service would answer more. Server CPU does not depend on that.',
    ],
  };
}
