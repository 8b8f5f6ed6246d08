import { setTimeout as sleep } from 'node:timers/promises';

/** The state of a service's pool of RSA-2048 keys (KMS_RSA_POOL), as its metrics tell it. */
export interface PoolState {
  readonly ready: number;
  readonly made: number;
  readonly taken: number;
  /** Keys that were asked for when none was ready. */
  readonly missed: number;
}

export async function poolOf(port: number): Promise<PoolState> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const value = (series: string) => {
    const line = text.split('\n').find((each) => each.startsWith(`${series} `));
    if (line === undefined) throw new Error(`no ${series} among the metrics`);
    return Number(line.slice(series.length));
  };
  const keys = (what: string) => value(`kms_rsa_pool_keys_total{what="${what}"}`);
  return {
    ready: value('kms_rsa_pool_ready'),
    made: keys('made'),
    taken: keys('taken'),
    missed: keys('missed'),
  };
}

/** Waits until so many keys lie ready, at most so long; gives what is there then. */
export async function poolFilled(port: number, keys: number, mostMs: number): Promise<PoolState> {
  const endMs = performance.now() + mostMs;
  for (;;) {
    const state = await poolOf(port);
    if (state.ready >= keys || performance.now() >= endMs) return state;
    // An idle service makes some ten keys meanwhile, and looking costs it a millisecond.
    await sleep(Math.max(1, Math.min(500, endMs - performance.now())));
  }
}

/** Keys that an idle service makes in a second. */
export async function refillRate(port: number, forMs: number): Promise<number> {
  const before = await poolOf(port);
  const beganMs = performance.now();
  await sleep(forMs);
  const after = await poolOf(port);
  return ((after.made - before.made) * 1000) / (performance.now() - beganMs);
}
