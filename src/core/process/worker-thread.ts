import { getCompileCacheDir } from 'node:module';
import { getPriority, setPriority } from 'node:os';
import { dirname } from 'node:path';

/**
 * The environment of a worker thread. It sees nothing of the process's: it needs none, and a crash report then holds none.
 * It is told where the main thread keeps compiled code, if it does (in a directory of Node's version): loading an
 * engine takes 14 ms then, not 80.
 */
export function workerEnvironment(): NodeJS.ProcessEnv {
  const compiled = getCompileCacheDir();
  return compiled === undefined ? {} : { NODE_COMPILE_CACHE: dirname(compiled) };
}

/**
 * The calling thread gives way to others (nice(2), which on Linux counts for each thread), or does so already: a service that
 * was started with more niceness keeps it, as only root may take it back.
 */
export function giveWay(niceness: number): void {
  // Elsewhere it would be the whole process's.
  if (process.platform !== 'linux') return;
  const own = getPriority();
  if (niceness > own) setPriority(0, niceness);
}
