import { closeSync, constants, fstatSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode, writePrivateFile } from '../../core/private-file.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import { StartError } from '../../core/start-error.ts';
import {
  isSourceList,
  type ListedSource,
  maxSourcesBytes,
  parseRootSources,
  type RootSourcesFile,
} from './listed-source.ts';

/**
 * `<data-dir>/root-sources.json`: the sources of the root key, any of which opens it. It holds places, and blobs that a
 * passphrase, an identity or a token opens: no secrets. Nothing vouches for it: the store's witness refuses another root key.
 * Without it the configuration names the one source.
 */
export const rootSourcesName = 'root-sources.json';

/** The list on disk. Undefined: there is none. Internal, with a hint for the operator: it is no such list. */
export function readRootSources(dataDir: string): Result<RootSourcesFile | undefined> {
  const place = join(dataDir, rootSourcesName);
  const refused = (problem: string) => refuse('Internal', `${place} ${problem}`);
  let bytes: Buffer;
  try {
    const file = openSync(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stat = fstatSync(file);
      if (!stat.isFile()) return refused('is not a regular file');
      if (stat.size > maxSourcesBytes) return refused(`has more than ${maxSourcesBytes} bytes`);
      bytes = readFileSync(file);
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    return errorCode(cause) === 'ENOENT' ? ok(undefined) : refused(`cannot be read (${errorCode(cause)})`);
  }
  const parsed = parseRootSources(bytes);
  return typeof parsed === 'string' ? refused(parsed) : ok(parsed);
}

/** A writer holds the list for some milliseconds; one that holds it longer was killed. */
const longestHoldMs = 1_000;
const waitMs = 5;

/**
 * Replaces the list by `change` of the present one, under a lock: a rotation and an approval at one time keep each other's
 * entries. Throws a StartError where the list cannot be read, and what `change` throws.
 */
export function changeRootSources(
  dataDir: string,
  change: (now: readonly ListedSource[] | undefined) => readonly ListedSource[],
): void {
  const lock = join(dataDir, `${rootSourcesName}.lock`);
  const sleeping = new Int32Array(new SharedArrayBuffer(4));
  for (let waitedMs = 0; !isMade(lock) && waitedMs < longestHoldMs; waitedMs += waitMs)
    Atomics.wait(sleeping, 0, 0, waitMs);
  try {
    const read = readRootSources(dataDir);
    if (!read.ok) throw new StartError(read.failure.hint ?? 'the list of sources cannot be read');
    writeRootSources(dataDir, change(read.value?.sources));
  } finally {
    rmSync(lock, { force: true });
  }
}

function isMade(path: string): boolean {
  try {
    closeSync(openSync(path, 'wx', 0o600));
    return true;
  } catch (cause) {
    if (errorCode(cause) === 'EEXIST') return false;
    throw cause;
  }
}

/** Replaces the list: whole or not at all, and on disk when it returns. Throws as the file system does. */
export function writeRootSources(dataDir: string, sources: readonly ListedSource[]): void {
  const file = { v: 1 as const, sources: [...sources] };
  // A list that the next start refuses is worse than an exception.
  if (!isSourceList(file)) throw new Error('not a list of root key sources');
  writePrivateFile(join(dataDir, rootSourcesName), `${JSON.stringify(file, null, 2)}\n`, 'replace');
}
