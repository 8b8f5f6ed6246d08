import { settleNetwork } from './network.ts';
import { quietThisProcess } from './quiet.ts';
import { CloudTrouble } from './trouble.ts';

/** A provider's SDK: an optional dependency, which is loaded when a source asks for it, and never before. Throws a CloudTrouble. */
export async function loadSdk<T>(name: string, load: () => Promise<T>): Promise<T> {
  quietThisProcess();
  settleNetwork();
  try {
    return await load();
  } catch {
    throw new CloudTrouble('no-package', name);
  }
}

/** Resolves as `work` does, or rejects as `slow` when the time is over, also where a library does not heed the signal. */
export async function withinMs<T>(limitMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      controller.abort();
      reject(new CloudTrouble('slow'));
    }, limitMs);
  });
  try {
    const working = work(controller.signal);
    // What it says after its time is of no use.
    working.catch(() => {});
    return await Promise.race([working, over]);
  } finally {
    clearTimeout(timer);
  }
}
