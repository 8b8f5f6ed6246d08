import { type Scheme, schemes } from '../../src/algorithms/ids.ts';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { createCancellation } from '../../src/core/cancellation.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { Pkcs11Home } from '../../src/custody/pkcs11/index.ts';
import type { CryptoLane } from '../../src/dispatch/crypto-dispatch.ts';
import { createHomeLane } from '../../src/dispatch/home-lane.ts';
import { batchOps } from '../../src/engine/batch.ts';
import { createCostMeter } from '../../src/queue/cost-meter.ts';
import { createSoftHsm, noSoftHsm, openHome } from '../../test/support/softhsm.ts';
import { figure, spread } from '../report/figures.ts';
import { scenario } from '../scenario.ts';
import { startPkcs11Loop } from '../support/pkcs11-loop.ts';
import { measuredOf } from '../support/statistics.ts';

const sessions = 8;
/** So many that the lane always has the next one. */
const callers = 64;
const algs = [
  { alg: 'rsa-2048', scheme: schemes.ps256 },
  { alg: 'ecdsa-p256', scheme: schemes['ecdsa-p256-sha256-p1363'] },
] as const;
/** The promise: the lane does at least so much of what the bare loop does. */
const promised = 0.85;

interface Round {
  readonly barePerSecond: number;
  readonly lanePerSecond: number;
}

interface Data {
  readonly missing: string | false;
  readonly rounds: Readonly<Record<string, readonly Round[]>>;
}

interface LaneKey {
  readonly reference: Uint8Array;
  readonly scheme: Scheme;
}

async function makeKey(home: Pkcs11Home, alg: string) {
  const kid = `bench/web/${alg}/one#v1`;
  const made = await home.generate(findAlgorithm(alg)!, 'bench', kid);
  if (!made.ok) throw new Error(made.failure.hint ?? made.failure.code);
  return { reference: home.keyReference(made.value[0]!, 0, 'bench', kid), label: `intaglio:${kid}/0` };
}

/** Callers that each wait for their signature before they ask for the next. */
async function countThroughLane(
  lane: CryptoLane,
  { reference, scheme }: LaneKey,
  windowMs: number,
): Promise<number> {
  const meter = createCostMeter(100);
  const inputs = [Buffer.alloc(32, 7)];
  const items = [{ op: batchOps.sign, scheme, keyNumber: 1, key: reference, inputs }];
  const sign = () =>
    new Promise<void>((resolve, reject) => {
      const nowMs = systemClock.monotonicMs();
      const offered = lane.offer({
        ...{ tenant: 'bench', callClass: 'sign', costUs: meter.costUs, offeredAtMs: nowMs },
        ...{ deadlineAtMs: nowMs + 10_000, cancellation: createCancellation(), items, meters: [meter] },
        settle: (outcome) => (outcome.ok ? resolve() : reject(new Error(outcome.failure.code))),
      });
      if (!offered.ok) reject(new Error(offered.failure.code));
    });
  let done = 0;
  const beganMs = performance.now();
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (performance.now() - beganMs < windowMs) {
        await sign();
        done++;
      }
    }),
  );
  return (done / (performance.now() - beganMs)) * 1_000;
}

export const hsm = scenario<Data>({
  name: 'hsm',
  question: 'What does the lane of a token leave of what npm pkcs11js does alone?',
  typicalSeconds: 20,
  async run({ rounds, windowMs, warmUpMs, steps, step }) {
    if (noSoftHsm !== false) return { missing: noSoftHsm, rounds: {} };
    steps(algs.length * (rounds + 1) * 2);
    const softHsm = createSoftHsm();
    const token = softHsm.makeToken('bench');
    const settings = softHsm.settings(token, { sessions });
    const home = await openHome(settings);
    const keys = new Map(
      await Promise.all(algs.map(async ({ alg }) => [alg, await makeKey(home, alg)] as const)),
    );
    // The token is opened after the keys are in it: it lists its objects then.
    const loop = await startPkcs11Loop(settings.module, token.label, '123456', sessions);
    const settingsOfLane = {
      perTenantCalls: 256,
      totalCalls: 256,
      deadlineMs: 2_000,
      jobBudgetUs: 300,
      jobMaxCalls: 64,
    };
    const lane = createHomeLane(settingsOfLane, { carrier: home.carrier, clock: systemClock });
    const found: Record<string, Round[]> = {};
    try {
      for (let round = 0; round <= rounds; round++) {
        for (const { alg, scheme } of algs) {
          const { reference, label } = keys.get(alg)!;
          const ms = round === 0 ? warmUpMs : windowMs;
          step(`${alg}, alone`);
          const { perSecond } = await loop.count({ keyLabel: label, scheme, windowMs: ms });
          step(`${alg}, through the lane`);
          const lanePerSecond = await countThroughLane(lane, { reference, scheme }, ms);
          if (round > 0) {
            found[alg] ??= [];
            found[alg].push({ barePerSecond: perSecond, lanePerSecond });
          }
        }
      }
    } finally {
      loop.stop();
      await home.close();
      softHsm.remove();
    }
    return { missing: false, rounds: found };
  },
  render({ missing, rounds }) {
    if (missing !== false) return { answer: [missing], tables: [], plots: [], notes: [] };
    const parts = Object.entries(rounds).map(([alg, all]) => ({
      alg,
      bare: measuredOf(all, ({ barePerSecond }) => barePerSecond),
      lane: measuredOf(all, ({ lanePerSecond }) => lanePerSecond),
      part: measuredOf(all, ({ barePerSecond, lanePerSecond }) => lanePerSecond / barePerSecond),
    }));
    return {
      answer: parts.map(
        ({ alg, part }) =>
          `${alg}: the lane does ${figure(part.median * 100)} % of the signatures that the bare loop does; ${promised * 100} % are promised.`,
      ),
      tables: [
        {
          title: `Signatures a second, SoftHSM2, ${sessions} sessions, ${callers} callers`,
          columns: ['alg', 'npm pkcs11js alone', 'through the lane', 'part'],
          rows: parts.map(({ alg, bare, lane, part }) => [alg, spread(bare), spread(lane), spread(part)]),
        },
      ],
      plots: [],
      notes: [
        'Both do the same asynchronous calls of the same library with as many sessions and threads, each in a process of its own, one after the other in each round.',
        'The lane is what a call passes after HTTP: the fair queue, the worker process, the session.',
        'SoftHSM2 works on one thing at a time, so that more sessions make neither faster.',
        'Two cores are full in both: the lane has a second process on them, and messages to it, some 100 us of CPU for each signature. So an algorithm that is cheap in the token loses a larger part.',
      ],
    };
  },
});
