import { CloudTrouble } from './trouble.ts';

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
