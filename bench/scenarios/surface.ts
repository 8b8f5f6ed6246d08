import { figure, percent, spread } from '../report/figures.ts';
import { scenario } from '../scenario.ts';
import { type EngineTimes, timeEngine } from '../support/engine.ts';
import { closedLoop, type Figures, mustAllSucceed, openLoop } from '../support/measure.ts';
import { startProduct } from '../support/product.ts';
import { measuredOf } from '../support/statistics.ts';
import { prepareSurface } from '../support/surface.ts';
import { signingNames } from '../support/surface-names.ts';

interface Row {
  readonly name: string;
  readonly items: number;
  readonly engineUs: number;
  /** At saturation. */
  readonly full: Figures;
  /** At half of what was answered there. */
  readonly rounds: Figures[];
}

interface Data {
  readonly rows: readonly Row[];
}

/** Of what is answered at most: busy, and without a queue that stands. */
const loadShare = 0.5;

/** A caller's pool; an open loop leaves most of them idle. */
const connections = 64;

/** Of requests with many bundles: the queue of a tenant holds two that are full. */
const batchConnections = 2;

const connectionsOf = (items: number) => ({ connections: items > 1 ? batchConnections : connections });

/** There are some forty rows: with a third of a window for each, all of them take less than three minutes. */
const windowShare = 1 / 3;

export const surface = scenario<Data>({
  name: 'surface',
  question:
    'What does each operation cost over HTTP and how long does a caller wait, beside the engine alone?',
  typicalSeconds: 170,
  async run(context) {
    const { rounds, step, steps } = context;
    const timing = {
      windowMs: Math.round(context.windowMs * windowShare),
      warmUpMs: Math.round(context.warmUpMs * windowShare),
    };
    const product = await context.using(
      startProduct({
        moreScopes: ['kms:wrap', 'kms:unwrap', 'kms:encrypt', 'kms:decrypt', 'kms:derive', 'kms:rotate'],
      }),
    );
    step('engine alone');
    const engine = (await timeEngine({
      ...{ engine: product.engine, keyTypes: signingNames },
      ...{ windowMs: context.windowMs / 8, sealing: true },
    })) as EngineTimes;
    const prepared = await prepareSurface(product, engine);
    steps(1 + prepared.length * (1 + rounds));
    const rows: (Row & Pick<(typeof prepared)[0], 'requests'>)[] = [];
    for (const { name, items, engineUs, requests } of prepared) {
      step(`${name}, as much as can be done`);
      const full = await closedLoop(timing, product, requests(), connectionsOf(items));
      mustAllSucceed(full, name);
      rows.push({ name, items, engineUs, full, rounds: [], requests });
    }
    for (let round = 0; round < rounds; round++) {
      for (const { name, items, full, requests, rounds: found } of rows) {
        step(`${name}, at half of it`);
        const rate = Math.max(1, full.okPerSecond * loadShare);
        found.push(await openLoop(timing, product, requests(), rate, connectionsOf(items)));
      }
    }
    return { rows: rows.map(({ requests: _, ...row }) => row) };
  },
  render({ rows }) {
    const groups: Readonly<Record<string, RegExp>> = {
      Signatures: /^(sign|verify) /,
      [`Verification of ${rows.find(({ items }) => items > 1)?.items ?? 0} bundles in a request`]:
        /^verify\/batch/,
      'Encryption of 1 KiB': /^(encrypt|decrypt)/,
      'Wrapping of 32 bytes, and derivation': /^(wrap|unwrap|derive)/,
      'New keys and versions, on disk and in the audit log': /^(create|rotate)/,
    };
    return {
      answer: answersOf(rows),
      tables: Object.entries(groups).map(([title, names]) => ({
        title,
        columns: [
          ...['operation', 'engine alone, us', 'server CPU, us', 'over the engine, us', 'a second, at most'],
          ...['p50, ms', 'p95, ms', 'p99, ms', 'refused'],
        ],
        rows: rows.filter(({ name }) => names.test(name)).map(cells),
      })),
      plots: [],
      notes: [
        'Engine alone: one thread in a loop in a process of its own, in batches of 16; new keys one by one. Of a hybrid it is the sum of both.',
        `Server CPU and the most that is answered: closed loop over ${connections} connections, of batches ${batchConnections}. Of batches, all figures but the times of a request are for one bundle of the batch; a million over the server CPU is what one core verifies in a second.`,
        `p50, p95, p99: of a request, in an open loop of ${percent(loadShare)} of that; median of the rounds. Creating, rotating and deriving wait for the disk.`,
        "Each request opens its key from the engine's cache; keys are not sealed anew but by create, rotate and derive. The audit log and the durable counts have the defaults of the service.",
      ],
    };
  },
});

function cells({ name, items, engineUs, full, rounds }: Row): string[] {
  const times = (['p50', 'p95', 'p99'] as const).map((quantile) =>
    spread(measuredOf(rounds, ({ latencyMs }) => latencyMs[quantile])),
  );
  const cpuUs = full.cpuUs / items;
  const refused = measuredOf(
    rounds,
    ({ refusedPerSecond, okPerSecond }) => refusedPerSecond / Math.max(1, refusedPerSecond + okPerSecond),
  ).max;
  const of = [engineUs, cpuUs, cpuUs - engineUs, full.okPerSecond * items].map(figure);
  return [name, ...of, ...times, percent(refused)];
}

function answersOf(rows: readonly Row[]): string[] {
  const of = (name: string) => rows.find((row) => row.name === name) as Row;
  const p99 = (name: string) => figure(measuredOf(of(name).rounds, ({ latencyMs }) => latencyMs.p99).median);
  const cpu = (name: string) => figure(of(name).full.cpuUs / of(name).items);
  const perCore = (name: string) => figure((1e6 * of(name).items) / of(name).full.cpuUs);
  return [
    `At half of the most, p99 of a hybrid signature is ${p99('sign ed25519+ml-dsa-65')} ms, of an encryption of 1 KiB ${p99('encrypt xaes-256-gcm')} ms, of a hybrid wrap ${p99('wrap x25519+ml-kem-768')} ms, of its unwrap ${p99('unwrap x25519+ml-kem-768')} ms, of a derivation ${p99('derive aes-256-gcm')} ms, of a create ${p99('create ed25519+ml-dsa-65')} ms, of a rotation ${p99('rotate ed25519+ml-dsa-65')} ms.`,
    `In batches one core of the server verifies ${perCore('verify/batch ed25519')} Ed25519 signatures a second, ${perCore('verify/batch ml-dsa-44')} of ML-DSA-44, ${perCore('verify/batch ml-dsa-65')} of ML-DSA-65, ${perCore('verify/batch ed25519+ml-dsa-65')} hybrid bundles.`,
    `ML-DSA-44 beside ML-DSA-65, server CPU of a request: signing ${cpu('sign ml-dsa-44')} and ${cpu('sign ml-dsa-65')} us, verifying ${cpu('verify ml-dsa-44')} and ${cpu('verify ml-dsa-65')} us, creating ${cpu('create ml-dsa-44')} and ${cpu('create ml-dsa-65')} us.`,
  ];
}
