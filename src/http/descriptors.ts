import { closeSync, openSync, readFileSync } from 'node:fs';
import type { Config } from '../config/load.ts';
import { StartError } from '../core/start-error.ts';

/** For the audit log and the store: segments, tiles and the checkpoint, each written beside and renamed. */
const keptForFiles = 64;
/** Beyond KMS_MAX_CONNECTIONS, for whoever has next to none. */
export const keptPlaces = 16;

/** RLIMIT_NOFILE, which Node itself raises to the hard limit; undefined where it cannot be read. */
function openFileLimit(): number | undefined {
  try {
    // World-readable, so that an undumpable process of any user can read its own.
    const line = /^Max open files\s+(\d+)\s/m.exec(readFileSync('/proc/self/limits', 'latin1'));
    return line === null ? undefined : Number(line[1]);
  } catch {
    return undefined;
  }
}

/**
 * Descriptors in use, from the numbers that new ones get, which are the lowest that are free: /proc/self/fd belongs to root
 * once the process is undumpable. The probes fill up to 32 gaps below the highest one in use.
 */
function descriptorsInUse(): number {
  const probes: number[] = [];
  try {
    while (probes.length < 32) probes.push(openSync('/dev/null', 'r'));
  } catch {
    // As many as there are.
  }
  for (const probe of probes) closeSync(probe);
  return Math.max(0, ...probes) + 1 - probes.length;
}

/** Of a service that opens, measured: a store in memory, and one on disk with its audit log, and each of its workers. */
const openedInMemory = 15;
const openedOnDisk = 23;
const openedByWorker = 5;

/** Before a service opens: throws a StartError where no connection could be had once it has. */
export function requireDescriptors(
  { backend, workers }: Pick<Config, 'backend' | 'workers'>,
  limit = openFileLimit(),
): void {
  affordableConnections(
    1,
    limit,
    backend === 'memory' ? openedInMemory : openedOnDisk + openedByWorker * workers,
  );
}

/**
 * The number of connections that the descriptors allow, at most `wanted`. Throws a StartError where that is none. `expected`:
 * descriptors that will be in use beside those of now.
 */
export function affordableConnections(wanted: number, limit = openFileLimit(), expected = 0): number {
  if (limit === undefined) return wanted;
  const others = descriptorsInUse() + expected + keptForFiles + keptPlaces;
  if (limit - others < 1) {
    throw new StartError(
      `the limit of open files is ${limit}, and ${others} are needed beside connections: raise it (ulimit -n, LimitNOFILE)`,
    );
  }
  return Math.min(wanted, limit - others);
}
