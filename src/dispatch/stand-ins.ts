import type { Result } from '../core/result.ts';
import { type BatchOp, type BatchResult, batchOps, batchStatuses } from '../engine/batch.ts';
import { softwareBackend } from '../keys/record.ts';
import { createCostMeter } from '../queue/cost-meter.ts';
import { type CallTerms, type CryptoDispatch, homeAway } from './crypto-dispatch.ts';
import type { BatchWork, WorkItem } from './work.ts';

/** The price of a check before one was measured, in microseconds. */
const guessedCheckUs = 150;

/** Signatures that stand-ins make leave only once the key's public key verifies them. Other works go by as they are. */
export function createStandIns(
  dispatch: CryptoDispatch,
  stoodIn: (backend: string, by: string) => void,
): CryptoDispatch {
  async function check(work: BatchWork, results: readonly BatchResult[], on: CallTerms): Promise<boolean> {
    const items = work.items.flatMap((item, at) => {
      const op = checkOps[item.op];
      const [signature] = results[at]?.outputs ?? [];
      if (item.standIn === undefined) return [];
      if (op === undefined || signature === undefined) return [undefined];
      const [input, ...others] = item.inputs as [Uint8Array, ...Uint8Array[]];
      return {
        ...plain(item, softwareBackend),
        op,
        keyNumber: 0,
        key: item.standIn.publicKey,
        inputs: [input, signature, ...others],
      };
    });
    const whole = items.filter((item) => item !== undefined);
    if (whole.length < items.length) return false;
    const meters = whole.map(() => createCostMeter(guessedCheckUs));
    const [checked] = await dispatch.runAll([{ kind: 'verify', items: whole, meters }], on);
    return checked?.ok === true && checked.value.every(({ status }) => status === batchStatuses.ok);
  }

  async function run(work: BatchWork, on: CallTerms): Promise<Result<readonly BatchResult[]>> {
    const most = Math.max(...work.items.map(({ standIn }) => standIn?.homes.length ?? 0));
    for (let attempt = 0; attempt < most; attempt++) {
      const homeOf = ({ home, standIn }: WorkItem) =>
        standIn === undefined ? home : (standIn.homes[attempt] ?? home);
      const items = work.items.map((item) => plain(item, homeOf(item)));
      const [outcome] = await dispatch.runAll([{ ...work, items }], on);
      if (outcome?.ok !== true) {
        if (outcome?.failure.code === 'Timeout' || outcome?.failure.code === 'Backpressure') return outcome;
        continue;
      }
      if (outcome.value.some(({ status }) => status !== batchStatuses.ok)) continue;
      if (!(await check(work, outcome.value, on))) continue;
      for (const item of work.items) {
        if (item.standIn === undefined) continue;
        item.standIn.signedIn = homeOf(item);
        stoodIn(item.home, item.standIn.signedIn);
      }
      return outcome;
    }
    return homeAway;
  }

  return {
    refusal: (tenant, deadlineMs) => dispatch.refusal(tenant, deadlineMs),
    runAll(works, on) {
      if (!works.some(hasStandIn)) return dispatch.runAll(works, on);
      return Promise.all(
        works.map(async (work) => {
          if (hasStandIn(work)) return run(work, on);
          const [outcome] = await dispatch.runAll([work], on);
          return outcome as Result<readonly BatchResult[]>;
        }),
      );
    },
  };
}

function hasStandIn({ items }: BatchWork): boolean {
  for (const { standIn } of items) if (standIn !== undefined) return true;
  return false;
}

function plain({ op, scheme, keyNumber, key, inputs }: WorkItem, home: string): WorkItem {
  return { op, scheme, keyNumber, key, inputs, home };
}

const checkOps: Readonly<Partial<Record<BatchOp, BatchOp>>> = {
  [batchOps.sign]: batchOps.verify,
  [batchOps.signDeterministic]: batchOps.verify,
  [batchOps.signDigest]: batchOps.verifyDigest,
  [batchOps.signMu]: batchOps.verifyMu,
};
