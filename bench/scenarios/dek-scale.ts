import { setTimeout as sleep } from 'node:timers/promises';
import { figure, spread } from '../report/figures.ts';
import { type Context, scenario } from '../scenario.ts';
import { ask, askAll } from '../support/client.ts';
import { memoryOf, rested, restMs } from '../support/cpu.ts';
import {
  type DekServer,
  dekEncryptRequest,
  fillDeks,
  keksRequest,
  newDekDirectory,
  readDekRequest,
  rotateKekRequest,
  startDekServer,
} from '../support/dek.ts';
import { type Figures, openLoop } from '../support/measure.ts';
import { measuredOf } from '../support/statistics.ts';

interface Start {
  /** From the start of the process to the line that says it listens. */
  readonly listeningMs: number;
  /** To when it has looked for old snapshots, and rests. */
  readonly restsMs: number;
  readonly residentBytes: number;
  readonly anonymousBytes: number;
}

interface Rotation {
  readonly rewrapped: number;
  /** To when every DEK was seen. */
  readonly rewrapMs: number;
  /** To the answer, after which old snapshots and versions are gone. */
  readonly answerMs: number;
}

interface Size {
  readonly count: number;
  readonly starts: readonly Start[];
  /** Once each DEK was read. */
  readonly readBytes: number;
  readonly rest: readonly Figures[];
  readonly rotations: readonly Rotation[];
}

export interface DekScaleData {
  readonly fillS: number;
  readonly small: Size;
  readonly large: Size;
  /** Rotations with encryptions beside them, and these: each wholly within one. */
  readonly loaded: { readonly rotations: readonly Rotation[]; readonly encryptions: readonly Figures[] };
  /** With the snapshots that all those rotations have left. */
  readonly lastStart: Start;
}

const few = 100;
const many = 100_000;
const quickMany = 2_000;
/** Some tenth of what can be done, so that a wait is that of the rotation. */
const encryptionsPerSecond = 200;
const connections = 16;
/** Of those that encrypt: the first use of each DEK writes a block of its count. */
const usedDeks = 100;
/** A round has two rotations; a machine on which they take longer has fewer rounds. */
const rotatingMostMs = 110_000;

export const dekScale = scenario<DekScaleData>({
  name: 'dek-scale',
  question:
    'What do 100,000 DEKs cost beside a hundred at the start and in memory, how quick is the rotation of their KEK, and who waits for it?',
  typicalSeconds: 270,
  async run(context) {
    const { quick, rounds, step, steps, using } = context;
    steps(5 + rounds * 8);
    const counts = { small: few, large: quick ? quickMany : many };
    step(`${counts.large.toLocaleString('en-US')} DEKs`);
    const directories = { small: newDekDirectory(), large: newDekDirectory() };
    await fillDeks(directories.small, counts.small);
    const filledFromMs = performance.now();
    await fillDeks(directories.large, counts.large);
    const fillS = (performance.now() - filledFromMs) / 1000;
    const starts: { small: Start[]; large: Start[] } = { small: [], large: [] };
    const servers: { small?: DekServer; large?: DekServer } = {};
    for (let round = 0; round < rounds; round++) {
      for (const size of sizes) {
        step(`start with ${counts[size].toLocaleString('en-US')} DEKs`);
        const { server, start } = await startOnce(directories[size]);
        starts[size].push(start);
        if (round < rounds - 1) await server.stop();
        else servers[size] = server;
      }
    }
    const { small, large } = servers as { small: DekServer; large: DekServer };
    await using(Promise.resolve(small));
    // It is started again at the end.
    let running = large;
    await using(Promise.resolve({ stop: () => running.stop() }));
    step('each DEK is read');
    const readBytes = {
      small: await readAll(small, counts.small),
      large: await readAll(large, counts.large),
    };
    step('both warm up');
    for (const server of [small, large]) await encryptions(context, server);
    const rest: { small: Figures[]; large: Figures[] } = { small: [], large: [] };
    const rotations: { small: Rotation[]; large: Rotation[] } = { small: [], large: [] };
    const loaded = { rotations: [] as Rotation[], encryptions: [] as Figures[] };
    const endMs = performance.now() + rotatingMostMs;
    for (let round = 0; round < rounds && performance.now() < endMs; round++) {
      for (const [size, server] of [
        ['small', small],
        ['large', large],
      ] as const) {
        step(`encryptions beside ${counts[size].toLocaleString('en-US')} DEKs`);
        rest[size].push(await encryptions(context, server));
        step(`rotation of ${counts[size].toLocaleString('en-US')} DEKs`);
        rotations[size].push(await rotate(server, counts[size]));
      }
      if (loaded.rotations.length > 0 && performance.now() >= endMs) break;
      step('rotation and encryptions');
      const rotation = rotate(large, counts.large);
      loaded.encryptions.push(...(await beside(context, large, rotation)));
      loaded.rotations.push(await rotation);
    }
    step('start with snapshots');
    await large.stop();
    const { server, start: lastStart } = await startOnce(directories.large);
    running = server;
    const sizeOf = (size: SizeName): Size => ({
      ...{ count: counts[size], starts: starts[size], readBytes: readBytes[size] },
      ...{ rest: rest[size], rotations: rotations[size] },
    });
    return { fillS, small: sizeOf('small'), large: sizeOf('large'), loaded, lastStart };
  },
  render: renderDekScale,
});

const sizes = ['small', 'large'] as const;
type SizeName = (typeof sizes)[number];

async function startOnce(directory: string): Promise<{ server: DekServer; start: Start }> {
  const beganMs = performance.now();
  const server = await startDekServer(directory, { KMS_DEFAULT_DEADLINE_MS: '2000' });
  const listeningMs = performance.now() - beganMs;
  await rested(server.pid);
  const restsMs = performance.now() - beganMs - restMs;
  const { residentBytes, anonymousBytes } = memoryOf(server.pid);
  return { server, start: { listeningMs, restsMs, residentBytes, anonymousBytes } };
}

const idOf = (n: number) => `dek-${n}`;

/** Resident afterwards. */
async function readAll(server: DekServer, count: number): Promise<number> {
  await askAll(
    server,
    Array.from({ length: count }, (_, n) => readDekRequest(idOf(n))),
  );
  return memoryOf(server.pid).residentBytes;
}

/** Spread over the whole store; the same ones each time. */
function encryptions(context: Pick<Context, 'windowMs' | 'warmUpMs'>, server: DekServer): Promise<Figures> {
  const requests = Array.from({ length: usedDeks }, (_, n) => dekEncryptRequest(idOf(n)));
  return openLoop(context, server, requests, encryptionsPerSecond, { connections });
}

const lookMs = 50;

async function rotate(server: DekServer, count: number): Promise<Rotation> {
  const beganMs = performance.now();
  let answerMs: number | undefined;
  let rewrapMs: number | undefined;
  const asked = ask<{ rewrapped: number }>(server, rotateKekRequest).finally(() => {
    answerMs = performance.now() - beganMs;
  });
  // Its failure is told by the wait below.
  asked.catch(() => {});
  while (answerMs === undefined && rewrapMs === undefined) {
    await sleep(lookMs);
    const { rotation } = await ask<{ rotation: { seen: number } | null }>(server, keksRequest);
    if (rotation !== null && rotation.seen >= count) rewrapMs = performance.now() - beganMs;
  }
  const { rewrapped } = await asked;
  return {
    rewrapped,
    rewrapMs: rewrapMs ?? (answerMs as unknown as number),
    answerMs: answerMs as unknown as number,
  };
}

/** One window after the other, as long as the rotation takes; one that it ends in is none of them. */
async function beside(
  { windowMs }: Context,
  server: DekServer,
  rotation: Promise<Rotation>,
): Promise<readonly Figures[]> {
  let under = true;
  const over = () => {
    under = false;
  };
  rotation.then(over, over);
  const found: Figures[] = [];
  while (under) {
    const figures = await encryptions({ windowMs, warmUpMs: 100 }, server);
    // The shortest rotations have no whole window.
    if (under || found.length === 0) found.push(figures);
  }
  return found;
}

const latency = (rounds: readonly Figures[], quantile: 'p50' | 'p95' | 'p99') =>
  measuredOf(rounds, ({ latencyMs }) => latencyMs[quantile]);
const rewrapRate = (rotations: readonly Rotation[]) =>
  measuredOf(rotations, ({ rewrapped, rewrapMs }) => (rewrapped / rewrapMs) * 1000);
const refused = (rounds: readonly Figures[]) =>
  rounds
    .flatMap(({ statuses }) => Object.entries(statuses))
    .reduce((sum, [status, count]) => sum + (status.startsWith('2') ? 0 : count), 0);
const mebibytes = (bytes: number) => figure(bytes / 2 ** 20);

export function renderDekScale({ fillS, small, large, loaded, lastStart }: DekScaleData) {
  const named = ({ count }: Size) => `${count.toLocaleString('en-US')} DEKs`;
  const of = (starts: readonly Start[], member: keyof Start) => measuredOf(starts, (start) => start[member]);
  const startRow = (name: string, starts: readonly Start[], readBytes: number | undefined) => [
    ...[name, spread(of(starts, 'listeningMs')), spread(of(starts, 'restsMs'))],
    ...[mebibytes(of(starts, 'residentBytes').median), mebibytes(of(starts, 'anonymousBytes').median)],
    readBytes === undefined ? '-' : mebibytes(readBytes),
  ];
  const rotationRow = (name: string, rotations: readonly Rotation[]) => [
    ...[name, String(rotations.length), spread(rewrapRate(rotations))],
    spread(measuredOf(rotations, ({ rewrapMs }) => rewrapMs / 1000)),
    spread(measuredOf(rotations, ({ answerMs }) => answerMs / 1000)),
  ];
  const waitRow = (name: string, rounds: readonly Figures[]) => [
    ...[name, String(rounds.length)],
    ...(['p50', 'p95', 'p99'] as const).map((each) => spread(latency(rounds, each))),
    ...[spread(measuredOf(rounds, ({ cpuUs }) => cpuUs)), String(refused(rounds))],
  ];
  return {
    answer: [
      `A start with ${named(large)} listens after ${figure(of(large.starts, 'listeningMs').median)} ms and takes ${mebibytes(of(large.starts, 'residentBytes').median)} MiB, ${mebibytes(large.readBytes)} once each was read; with ${small.count} ${figure(of(small.starts, 'listeningMs').median)} ms, ${mebibytes(of(small.starts, 'residentBytes').median)} and ${mebibytes(small.readBytes)} MiB.`,
      `A rotation of the KEK rewraps ${figure(rewrapRate(large.rotations).median)} DEKs a second at rest, and ${figure(rewrapRate(loaded.rotations).median)} beside ${encryptionsPerSecond} encryptions a second.`,
      `p95 of these encryptions is ${figure(latency(loaded.encryptions, 'p95').median)} ms during the rotation, and ${figure(latency(large.rest, 'p95').median)} ms without one.`,
    ],
    tables: [
      {
        title: 'Start and memory',
        columns: [
          ...['store', 'listens, ms', 'rests after, ms', 'resident, MiB', 'of it not files, MiB'],
          'resident once each was read, MiB',
        ],
        rows: [
          startRow(named(small), small.starts, small.readBytes),
          startRow(named(large), large.starts, large.readBytes),
          startRow(`${named(large)}, after the rotations`, [lastStart], undefined),
        ],
      },
      {
        title: 'Rotations of the KEK',
        columns: ['rotation', 'times', 'DEKs a second', 'all rewrapped after, s', 'answered after, s'],
        rows: [
          rotationRow(named(small), small.rotations),
          rotationRow(named(large), large.rotations),
          rotationRow(`${named(large)}, beside encryptions`, loaded.rotations),
        ],
      },
      {
        title: `${encryptionsPerSecond} encryptions of 1 KiB a second`,
        columns: ['beside', 'windows', 'p50, ms', 'p95, ms', 'p99, ms', 'server CPU, us', 'errors'],
        rows: [
          waitRow(named(small), small.rest),
          waitRow(named(large), large.rest),
          waitRow('a rotation', loaded.encryptions),
        ],
      },
    ],
    plots: [],
    notes: [
      `The store was filled by \`intaglio dek import\`, ${named(large)} in ${figure(fillS)} s. The first use of a DEK by an encryption writes a block of its count; the ${usedDeks} that are used here had theirs.`,
      'Resident memory has the pages of the store that were read, which the kernel takes back when it needs them. Read: GET /get_wrapped of each DEK; the service keeps the last 16,384 in memory.',
      'All rewrapped: GET /keks, asked every 50 ms, says that each DEK was seen. Answered: old snapshots and versions of the KEK were looked through as well. Each DEK leaves a snapshot, in a file of its own, at each rotation.',
      'Server CPU of an encryption during a rotation has the work of the rotation in it. Open loop; medians of the rounds, or of the windows that lie within a rotation.',
    ],
  };
}
