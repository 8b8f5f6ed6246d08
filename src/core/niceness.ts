import { getPriority, setPriority } from 'node:os';

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
