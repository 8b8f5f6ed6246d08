import { cpSync } from 'node:fs';
import { temporaryDirectory } from '../../test/support/service.ts';
import type { LoadRequest, LoadStream, StreamResult } from '../load/plan.ts';
import { figure, spread } from '../report/figures.ts';
import { type Context, scenario, type Table } from '../scenario.ts';
import {
  dataBytes,
  decryptRequests,
  encryptRequest,
  generateKeys,
  generateRequest,
  type KeyType,
  plaintextBytes,
  type Signing,
  signRequest,
  startKmsV1,
  verifyRequests,
} from '../support/kms-v1.ts';
import { runLoad } from '../support/load.ts';
import { closedLoop, type Figures, figuresOf, mustAllSucceed, planOf } from '../support/measure.ts';
import type { Product } from '../support/product.ts';
import { type PoolState, poolFilled, poolOf, refillRate } from '../support/rsa-pool.ts';
import { measuredOf } from '../support/statistics.ts';

/** The load that this surface has to carry, and how long its callers may wait then. */
export interface LoadTarget {
  readonly name: string;
  readonly ratePerSecond: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
}

export const loadTargets = [
  { name: 'generate', ratePerSecond: 100, p95Ms: 500, p99Ms: 1_000 },
  { name: 'sign', ratePerSecond: 1_000, p95Ms: 50, p99Ms: 100 },
  { name: 'verify', ratePerSecond: 2_000, p95Ms: 20, p99Ms: 50 },
  { name: 'encrypt', ratePerSecond: 1_000, p95Ms: 30, p99Ms: 60 },
  { name: 'decrypt', ratePerSecond: 1_000, p95Ms: 30, p99Ms: 60 },
] as const satisfies readonly LoadTarget[];

/** Like `generate`, but nothing else than RSA-2048: only where the pool holds enough of them. */
const rsaAlone: LoadTarget = { ...loadTargets[0], name: 'generate RSA-2048' };

export interface LoadRow extends LoadTarget {
  readonly rounds: Found[];
}

interface Found extends Figures {
  readonly unanswered: number;
}

export interface KmsV1Data {
  readonly alone: readonly LoadRow[];
  readonly together: readonly LoadRow[];
  /** Server CPU for each answer of the mixture, in each round. */
  readonly togetherCpuUs: readonly number[];
  readonly pool: {
    /** Before the load. */
    readonly ready: number;
    readonly taken: number;
    readonly missed: number;
    /** Keys a second that the idle service made after it. */
    readonly refillPerSecond: number;
  };
}

const poolTarget = 3_000;
/** Longer than most pools take that are nearly full, and short enough for a run of three minutes. */
const fillMostMs = 45_000;

const keyCounts = { ed25519: 45, rsa: 5, aes: 32 } as const;
const connections = 256;

export const kmsV1 = scenario<KmsV1Data>({
  name: 'kms-v1',
  question:
    'Does /kms/v1 carry the load that it is meant for, each operation alone and all of them at once, and how long do its callers wait?',
  typicalSeconds: 170,
  async run(context) {
    const { quick, rounds, step, steps } = context;
    steps(5 + rounds * (loadTargets.length + 1));
    step('keys');
    const product = await context.using(startWithPool());
    const { port } = product;
    const requests = await prepare(product);
    step('the service warms up');
    await warmUp(context, product, requests);
    step('the pool of RSA keys fills');
    const { ready } = await poolFilled(port, poolTarget, quick ? 5_000 : fillMostMs);
    const before = await poolOf(port);
    const alone: LoadRow[] = loadTargets.map((target) => ({ ...target, rounds: [] }));
    const together: LoadRow[] = loadTargets.map((target) => ({ ...target, rounds: [] }));
    const togetherCpuUs: number[] = [];
    for (let round = 0; round < rounds; round++) {
      for (const row of alone) {
        step(`${row.name} at ${row.ratePerSecond} a second`);
        const { found } = await load(context, product, [streamOf(row, requests[row.name] ?? [])]);
        row.rounds.push(...found);
      }
      step('all at once');
      const all = together.map((row) => streamOf(row, requests[row.name] ?? []));
      const { found, cpuUs } = await load(context, product, all);
      togetherCpuUs.push(cpuUs);
      for (const [n, row] of together.entries()) row.rounds.push(found[n] as Found);
    }
    step(rsaAlone.name);
    const enough = rsaAlone.ratePerSecond * (timingOf(context, rsaAlone.ratePerSecond).totalMs / 1_000) * 1.2;
    if ((await poolOf(port)).ready >= enough) {
      const stream = streamOf(rsaAlone, [generateRequest('RSA-2048')]);
      alone.push({ ...rsaAlone, rounds: (await load(context, product, [stream])).found });
    }
    step('the pool of RSA keys fills again');
    const after = await poolOf(port);
    const refillPerSecond = await refillRate(port, quick ? 2_000 : 10_000);
    return { alone, together, togetherCpuUs, pool: { ...used(before, after), ready, refillPerSecond } };
  },
  render: renderKmsV1,
});

const used = (before: PoolState, after: PoolState) => ({
  taken: after.taken - before.taken,
  missed: after.missed - before.missed,
});

/** A pool that was filled before is used as a copy, so that each run finds it as it was. */
function startWithPool(): Promise<Product> {
  const env = { KMS_RSA_POOL: String(poolTarget) };
  const filled = process.env.INTAGLIO_BENCH_POOL ?? '';
  if (filled === '') return startKmsV1({ env });
  const dataDir = temporaryDirectory();
  cpSync(filled, dataDir, { recursive: true });
  return startKmsV1({ env, dataDir });
}

/** Of each operation, all requests that are sent in turn. */
async function prepare({ port }: Product): Promise<Readonly<Record<string, readonly LoadRequest[]>>> {
  const ed25519 = await generateKeys(port, 'Ed25519', keyCounts.ed25519);
  const rsa = await generateKeys(port, 'RSA-2048', keyCounts.rsa);
  const aes = await generateKeys(port, 'AES-256', keyCounts.aes);
  // Nine of Ed25519 and one of RSA, whose scheme changes from one to the next.
  const signings = ed25519.flatMap((keyId, n): Signing[] => {
    const signing: Signing = { keyId, algorithm: 'EdDSA' };
    if (n % 9 !== 8) return [signing];
    const algorithm = n % 18 === 8 ? 'RSA-PSS-SHA256' : 'RSA-PKCS1v15-SHA256';
    return [signing, { keyId: rsa[(n - 8) / 9] as string, algorithm }];
  });
  const types: readonly KeyType[] = ['RSA-2048', 'Ed25519', 'AES-256'];
  return {
    generate: types.map(generateRequest),
    sign: signings.map(signRequest),
    verify: await verifyRequests(port, signings),
    encrypt: aes.map(encryptRequest),
    decrypt: await decryptRequests(port, aes),
  };
}

/** Until the code is compiled. New keys are none of RSA, which are kept for the load. */
async function warmUp(
  { windowMs, warmUpMs }: Context,
  product: Product,
  requests: Readonly<Record<string, readonly LoadRequest[]>>,
): Promise<void> {
  const timing = { windowMs: windowMs / 2, warmUpMs: warmUpMs / 2 };
  for (const { name } of loadTargets) {
    const those =
      name === 'generate' ? [generateRequest('Ed25519'), generateRequest('AES-256')] : requests[name];
    mustAllSucceed(
      await closedLoop(timing, product, those ?? [], { connections: 16 }),
      `${name}, warming up`,
    );
  }
}

function streamOf({ name, ratePerSecond }: LoadTarget, requests: readonly LoadRequest[]): LoadStream {
  return { name, ratePerSecond, connections, requests };
}

/** The 99th percentile of a slow stream needs a longer window. */
function timingOf({ quick, windowMs, warmUpMs }: Context, ratePerSecond: number) {
  const times = quick ? 1 : ratePerSecond < 1_000 ? 4 : 2;
  const counted = { windowMs: windowMs * times, warmUpMs: warmUpMs * 2 };
  return { ...counted, totalMs: counted.windowMs + counted.warmUpMs };
}

async function load(context: Context, product: Product, streams: readonly LoadStream[]) {
  const slowest = Math.min(...streams.map(({ ratePerSecond }) => ratePerSecond));
  const plan = planOf(timingOf(context, slowest), product, streams);
  const measured = await runLoad(plan, product.pid);
  const found = measured.streams.map(
    (stream: StreamResult): Found => ({
      ...figuresOf(measured, stream),
      unanswered: stream.unanswered,
    }),
  );
  return { found, cpuUs: measured.serverCpuUsPerAnswer };
}

/** True if every request was answered as asked and in time, and at the end no more were under way than come in that time. */
export function isKept({ rounds, ratePerSecond, p95Ms, p99Ms }: LoadRow): boolean {
  const median = (of: (found: Found) => number) => measuredOf(rounds, of).median;
  const inTime =
    median(({ latencyMs }) => latencyMs.p95) <= p95Ms && median(({ latencyMs }) => latencyMs.p99) <= p99Ms;
  const left = median(({ unanswered }) => unanswered);
  return errorsOf(rounds) === 0 && inTime && left <= (ratePerSecond * p95Ms) / 1_000;
}

function errorsOf(rounds: readonly Found[]): number {
  const refused = ({ statuses }: Found) =>
    Object.entries(statuses)
      .filter(([status]) => !status.startsWith('2'))
      .reduce((sum, [, count]) => sum + count, 0);
  return rounds.reduce((sum, round) => sum + refused(round), 0);
}

export function renderKmsV1({ alone, together, togetherCpuUs, pool }: KmsV1Data) {
  const cpu = measuredOf(togetherCpuUs, (value) => value);
  const rate = loadTargets.reduce((sum, { ratePerSecond }) => sum + ratePerSecond, 0);
  return {
    answer: [
      `Alone: ${alone.map(answerOf).join('; ')}.`,
      `All at once, ${figure(rate)} a second: ${together.map(answerOf).join('; ')}; an operation of the mixture takes ${figure(cpu.median)} us of server CPU.`,
      `The pool of RSA keys held ${figure(pool.ready)} before the load; ${figure(pool.taken)} of them became keys, ${pool.missed === 0 ? 'none was missed' : `${figure(pool.missed)} more were asked for when it was empty`}, and the idle service then made ${figure(pool.refillPerSecond)} a second.`,
    ],
    tables: [
      tableOf('One operation at a time', alone, true),
      tableOf(`All at once, ${figure(rate)} a second`, together, false),
    ],
    plots: [],
    notes: [
      'Open loop: a Poisson process for each operation, timed from when a request was due. Times are medians of the rounds; targets are those of the module that this surface stands in for. Kept: p95 and p99 are, nothing was refused, and no more was under way at the end than comes in the time of p95.',
      'Keys: RSA-2048, Ed25519 and AES-256 in turn, each with an approval (a static one of development mode, which is checked and recorded like others, but not used up on disk). They wait for store and audit log on disk.',
      `Signatures and verifications: ${dataBytes} bytes, nine of ten with Ed25519 (${keyCounts.ed25519} keys), one with RSA-2048 (${keyCounts.rsa} keys), PS256 and RS256 in turn. Encryption and decryption: ${plaintextBytes} bytes with AES-256-GCM (${keyCounts.aes} keys).`,
      'KMS_M33_KEY_USES_PER_DAY has its default of 10,000: keys are as many as the load needs for that. KMS_SIGN_RATE_LIMIT and KMS_CREATE_RATE_LIMIT are 0, since all of it comes from one tenant; connections are more than a service takes by default.',
      'KMS_RSA_POOL is 3,000. It is filled while the service rests, at most one key at a time; keys of a data directory that INTAGLIO_BENCH_POOL names were made before, by bench/servers/fill-rsa-pool.ts. RSA-2048 alone is measured where the pool holds enough for it.',
      'Identity is that of development mode, over plain HTTP on loopback; listeners tells what TLS costs.',
    ],
  };
}

function answerOf(row: LoadRow): string {
  const p95 = measuredOf(row.rounds, ({ latencyMs }) => latencyMs.p95).median;
  return `${row.name} p95 ${figure(p95)} ms of ${row.p95Ms} (${isKept(row) ? 'kept' : 'NOT KEPT'})`;
}

function tableOf(title: string, rows: readonly LoadRow[], withCpu: boolean): Table {
  const cells = (row: LoadRow) => {
    const of = (member: (found: Found) => number) => measuredOf(row.rounds, member);
    return [
      ...[row.name, figure(row.ratePerSecond), figure(of(({ okPerSecond }) => okPerSecond).median)],
      figure(of(({ latencyMs }) => latencyMs.p50).median),
      ...[spread(of(({ latencyMs }) => latencyMs.p95)), String(row.p95Ms)],
      ...[spread(of(({ latencyMs }) => latencyMs.p99)), String(row.p99Ms)],
      ...[String(errorsOf(row.rounds)), String(of(({ unanswered }) => unanswered).max)],
      ...(withCpu ? [spread(of(({ cpuUs }) => cpuUs))] : []),
      isKept(row) ? 'kept' : 'not kept',
    ];
  };
  return {
    title,
    columns: [
      ...['operation', 'a second', 'answered/s', 'p50, ms', 'p95, ms', 'at most', 'p99, ms', 'at most'],
      ...['errors', 'under way at the end', ...(withCpu ? ['server CPU, us'] : []), 'target'],
    ],
    rows: rows.map(cells),
  };
}
