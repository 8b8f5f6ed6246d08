import { temporaryDirectory } from '../../test/support/service.ts';
import type { LoadRequest } from '../load/plan.ts';
import { figure, spread } from '../report/figures.ts';
import { type Context, scenario } from '../scenario.ts';
import { memoryOf, rested, restMs } from '../support/cpu.ts';
import {
  generateKeys,
  get,
  type Signing,
  signRequest,
  startKmsV1,
  verifyRequests,
} from '../support/kms-v1.ts';
import { closedLoop, type Figures, mustAllSucceed, openLoop } from '../support/measure.ts';
import type { Product } from '../support/product.ts';
import { measuredOf } from '../support/statistics.ts';
import { writeTrustAnchors } from '../support/trust-anchors.ts';

interface Size {
  readonly keys: number;
  readonly anchors: number;
}

interface Start {
  /** From the start of the process to the line that says it listens. */
  readonly listeningMs: number;
  /** To when it has walked over its keys, and rests. */
  readonly restsMs: number;
  readonly residentBytes: number;
  readonly anonymousBytes: number;
}

interface Row {
  readonly name: string;
  readonly ratePerSecond: number;
  readonly small: Figures[];
  /** A hundred of the many are in use; absent where a call names none. */
  readonly hundred: Figures[];
  /** Each request names another one. */
  readonly any: Figures[];
}

export interface ScaleData {
  readonly small: Size;
  readonly large: Size;
  readonly starts: { readonly small: readonly Start[]; readonly large: readonly Start[] };
  /** Anonymous memory after the load. */
  readonly loadedBytes: { readonly small: number; readonly large: number };
  readonly rows: readonly Row[];
}

/** p95 beside that with a hundred keys. */
export const mostTimes = 1.2;

const few: Size = { keys: 100, anchors: 100 };
const many: Size = { keys: 100_000, anchors: 50_000 };
const quickMany: Size = { keys: 1_500, anchors: 1_000 };
/** A twelfth of the processor, so that nobody waits for others; a page of a listing costs several times a call. */
const rates = { call: 400, list: 50 } as const;
const connections = 16;
const hundred = 100;

export const kmsV1Scale = scenario<ScaleData>({
  name: 'kms-v1-scale',
  question: 'What do 100,000 keys and 50,000 certificates cost beside a hundred of each?',
  typicalSeconds: 240,
  async run(context) {
    const { quick, rounds, step, steps, using } = context;
    const large = quick ? quickMany : many;
    steps(7 + rounds * (2 + 16));
    const prepared = {
      small: await fill(context, few),
      large: await fill(context, large),
    };
    const starts: { small: Start[]; large: Start[] } = { small: [], large: [] };
    const servers: { small?: Product; large?: Product } = {};
    for (let round = 0; round < rounds; round++) {
      for (const size of ['small', 'large'] as const) {
        step(`start with ${prepared[size].keys.toLocaleString('en-US')} keys`);
        const { product, start } = await startOnce(prepared[size].dataDir);
        starts[size].push(start);
        if (round < rounds - 1) await product.stop();
        else servers[size] = await using(Promise.resolve(product));
      }
    }
    const [smallServer, largeServer] = [servers.small as Product, servers.large as Product];
    const rows: Row[] = prepared.small.calls.map(({ name, ratePerSecond }) => ({
      ...{ name, ratePerSecond },
      small: [],
      hundred: [],
      any: [],
    }));
    step('both warm up');
    for (const [product, { calls }] of [
      [smallServer, prepared.small],
      [largeServer, prepared.large],
    ] as const)
      for (const { requests } of calls) await warmUp(context, product, requests.slice(0, hundred));
    for (let round = 0; round < rounds; round++) {
      for (const [n, row] of rows.entries()) {
        const ask = async (
          kind: 'small' | 'hundred' | 'any',
          product: Product,
          from: readonly LoadRequest[],
        ) => {
          step(`${row.name}, ${kind}`);
          const figures = await openLoop(context, product, from, row.ratePerSecond, { connections });
          mustAllSucceed(figures, `${row.name}, ${kind}`);
          row[kind].push(figures);
        };
        const [one, other] = [prepared.small.calls[n], prepared.large.calls[n]] as [Calls, Calls];
        await ask('small', smallServer, one.requests);
        if (other.requests.length > 1) await ask('hundred', largeServer, other.requests.slice(0, hundred));
        await ask('any', largeServer, othersOf(context, other.requests, round));
      }
    }
    const loadedBytes = {
      small: memoryOf(smallServer.pid).anonymousBytes,
      large: memoryOf(largeServer.pid).anonymousBytes,
    };
    return { ...{ small: sizeOf(prepared.small), large: sizeOf(prepared.large), starts, loadedBytes, rows } };
  },
  render: renderScale,
});

interface Calls {
  readonly name: string;
  readonly ratePerSecond: number;
  readonly requests: readonly LoadRequest[];
}

interface Filled extends Size {
  readonly dataDir: string;
  readonly calls: readonly Calls[];
}

/** A store of so many, and calls that name as many of them as the rounds have requests. */
async function fill(context: Context, { keys, anchors }: Size): Promise<Filled> {
  const { step } = context;
  const dataDir = temporaryDirectory();
  const product = await startKmsV1({ dataDir });
  const { port } = product;
  step(`${keys.toLocaleString('en-US')} keys`);
  const ids = shuffled(await generateInTime(port, keys));
  step('signatures of them');
  const needed = Math.min(ids.length, hundred + requestsOfRound(context) * context.rounds);
  const signings = part(ids, 2, needed).map((keyId): Signing => ({ keyId, algorithm: 'EdDSA' }));
  const verifications = await verifyRequests(port, signings);
  await product.stop();
  step(`${anchors.toLocaleString('en-US')} trust anchors`);
  const anchorIds = shuffled(await writeTrustAnchors(dataDir, anchors));
  return {
    ...{ keys: ids.length, anchors, dataDir },
    // Each call names other keys, so that none has met them before.
    calls: [
      callsOf('sign', part(ids, 0, needed), (keyId) => signRequest({ keyId, algorithm: 'EdDSA' })),
      { name: 'verify', ratePerSecond: rates.call, requests: verifications },
      callsOf('read a key', part(ids, 1, needed), (id) => get(`/keys/${id}`)),
      { name: 'list 20 keys', ratePerSecond: rates.list, requests: [get('/keys', 'limit=20')] },
      callsOf('read an anchor', part(anchorIds, 0, needed), (id) => get(`/trust-anchors/${id}`)),
      { name: 'list 20 anchors', ratePerSecond: rates.list, requests: [get('/trust-anchors', 'limit=20')] },
    ],
  };
}

const keysAtOnce = 2_000;
/** With the rest the run takes five minutes. The report tells how many keys there are. */
const makingMostMs = 135_000;

async function generateInTime(port: number, count: number): Promise<readonly string[]> {
  const endMs = performance.now() + makingMostMs;
  const ids: string[] = [];
  while (ids.length < count && performance.now() < endMs)
    ids.push(...(await generateKeys(port, 'Ed25519', Math.min(keysAtOnce, count - ids.length))));
  return ids;
}

const sizeOf = ({ keys, anchors }: Size): Size => ({ keys, anchors });

function callsOf(name: string, ids: readonly string[], of: (id: string) => LoadRequest): Calls {
  return { name, ratePerSecond: rates.call, requests: ids.map(of) };
}

/** The n-th part of so many; of few, all of them. */
const part = (ids: readonly string[], n: number, count: number) =>
  ids.length < (n + 1) * count ? ids.slice(0, count) : ids.slice(n * count, (n + 1) * count);

function requestsOfRound({ windowMs, warmUpMs }: Context): number {
  return Math.ceil((rates.call * (windowMs + warmUpMs)) / 1_000);
}

/** Requests that no round before has sent, where there are enough of them. */
function othersOf(context: Context, requests: readonly LoadRequest[], round: number): readonly LoadRequest[] {
  if (requests.length <= hundred) return requests;
  const count = requestsOfRound(context);
  const others = requests.slice(hundred + round * count, hundred + (round + 1) * count);
  return others.length > 0 ? others : requests;
}

/** Fisher and Yates; keys of one time lie side by side in a store, and those in use do not. */
function shuffled(ids: readonly string[]): string[] {
  const all = [...ids];
  for (let n = all.length - 1; n > 0; n--) {
    const other = Math.floor(Math.random() * (n + 1));
    [all[n], all[other]] = [all[other] as string, all[n] as string];
  }
  return all;
}

/** Until the code is compiled: nobody measures the compiler, and the second to be measured is not to be better off. */
async function warmUp(
  { windowMs, warmUpMs }: Context,
  product: Product,
  requests: readonly LoadRequest[],
): Promise<void> {
  const timing = { windowMs: windowMs / 2, warmUpMs: warmUpMs / 2 };
  mustAllSucceed(await closedLoop(timing, product, requests, { connections: 4 }), 'warming up');
}

async function startOnce(dataDir: string): Promise<{ product: Product; start: Start }> {
  const beganMs = performance.now();
  const product = await startKmsV1({ dataDir });
  const listeningMs = performance.now() - beganMs;
  await rested(product.pid);
  const restsMs = performance.now() - beganMs - restMs;
  const { residentBytes, anonymousBytes } = memoryOf(product.pid);
  return { product, start: { listeningMs, restsMs, residentBytes, anonymousBytes } };
}

const p95 = (rounds: readonly Figures[]) => measuredOf(rounds, ({ latencyMs }) => latencyMs.p95);

/** p95 with many beside p95 with a hundred; NaN where it was not measured. */
export function timesOf({ small }: Row, of: readonly Figures[]): number {
  return of.length === 0 ? Number.NaN : p95(of).median / p95(small).median;
}

export function renderScale({ small, large, starts, loadedBytes, rows }: ScaleData) {
  const worst = Math.max(...rows.flatMap((row) => timesOfRow(row)));
  const listening = (of: readonly Start[]) => measuredOf(of, ({ listeningMs }) => listeningMs);
  const count = (size: Size) =>
    `${size.keys.toLocaleString('en-US')} keys and ${size.anchors.toLocaleString('en-US')} trust anchors`;
  return {
    answer: [
      `With ${count(large)} p95 is at most ${figure(worst)} times that of a hundred; ${mostTimes} is promised (${worst <= mostTimes ? 'kept' : 'NOT KEPT'}).`,
      `A start with them listens after ${figure(listening(starts.large).median)} ms, and after ${figure(listening(starts.small).median)} ms with a hundred; they take ${mebibytes(starts.large.at(-1)?.anonymousBytes ?? 0)} MiB of memory where a hundred take ${mebibytes(starts.small.at(-1)?.anonymousBytes ?? 0)}.`,
    ],
    tables: [
      {
        title: `p95 at ${rates.call} calls or ${rates.list} listings a second, ms`,
        columns: ['call', 'of a hundred', 'a hundred of many', 'times', 'any of many', 'times', 'target'],
        rows: rows.map((row) => [
          ...[row.name, spread(p95(row.small))],
          ...cellsOf(row, row.hundred),
          ...cellsOf(row, row.any),
          Math.max(...timesOfRow(row)) <= mostTimes ? 'kept' : 'not kept',
        ]),
      },
      {
        title: 'Start and memory',
        columns: [
          ...['store', 'listens, ms', 'rests after, ms', 'resident, MiB', 'of it not files, MiB'],
          'not files after the load, MiB',
        ],
        rows: (['small', 'large'] as const).map((size) => {
          const of = (member: keyof Start) => measuredOf(starts[size], (start) => start[member]);
          return [
            count(size === 'small' ? small : large),
            ...[spread(of('listeningMs')), spread(of('restsMs'))],
            ...[mebibytes(of('residentBytes').median), mebibytes(of('anonymousBytes').median)],
            mebibytes(loadedBytes[size]),
          ];
        }),
      },
    ],
    plots: [],
    notes: [
      'Both services run at once and are loaded in turn, over 16 connections, after each was started on a store that was filled before. Median of the rounds; open loop.',
      'A hundred of many: the same hundred keys in turn, as with a store that has no others. Any of many: each request names a key that was not used since the start, so that its record comes from the store and its private part has to be opened.',
      'All keys are Ed25519 of one tenant, made by POST /kms/v1/keys. Trust anchors are authorities of different names, written into the store with the records that the service writes.',
      'Rests: it has used less than a twentieth of a core for half a second, since it counts its keys and their states in the background.',
    ],
  };
}

function timesOfRow(row: Row): number[] {
  return [row.hundred, row.any].filter((found) => found.length > 0).map((found) => timesOf(row, found));
}

function cellsOf(row: Row, found: readonly Figures[]): string[] {
  return found.length === 0 ? ['-', '-'] : [spread(p95(found)), figure(timesOf(row, found))];
}

function mebibytes(bytes: number): string {
  return figure(bytes / 2 ** 20);
}
