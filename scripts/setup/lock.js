/** One set-up at a time in a checkout: two `npm test` at once must not install into the same tree. */
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const pollMs = 200;
/** Longer than any build seen (about ten minutes on two cores); past it the lock's owner is taken to be stuck. */
const patienceMs = 60 * 60 * 1000;

/** @param {string} path @returns {number | undefined} process id of the owner, undefined when nobody holds it */
function ownerOf(path) {
  try {
    return Number.parseInt(readFileSync(path, 'utf8'), 10);
  } catch {
    return undefined;
  }
}

/** @param {number} pid */
function isAlive(pid) {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}

/**
 * True if a living process holds the lock.
 * @param {string} path
 */
export function isLocked(path) {
  const owner = ownerOf(path);
  return owner !== undefined && isAlive(owner);
}

/** @param {string} path @returns {boolean} taken whole, with the owner's number in it, or not at all */
function tryTake(path) {
  const draft = `${path}.${process.pid}.new`;
  writeFileSync(draft, `${process.pid}\n`);
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
    return false;
  } finally {
    rmSync(draft, { force: true });
  }
}

/**
 * Removes the lock of a process that is gone. Only the holder of a second lock may, for a moment, so that nobody removes
 * the lock that another waiter has taken since. (A process that dies within that moment leaves the second lock behind;
 * the next one to come removes it.)
 * @param {string} path
 */
function clearDead(path) {
  const breaker = `${path}.break`;
  if (!tryTake(breaker)) {
    const owner = ownerOf(breaker);
    if (owner !== undefined && !isAlive(owner)) rmSync(breaker, { force: true });
    return;
  }
  const owner = ownerOf(path);
  if (owner !== undefined && !isAlive(owner)) rmSync(path, { force: true });
  rmSync(breaker, { force: true });
}

/**
 * Waits for the lock and returns the function that gives it back. The lock also goes when the process exits.
 * @param {string} path
 * @param {(owner: number) => void} onWait called once when somebody else is at work
 */
export async function takeLock(path, onWait) {
  mkdirSync(dirname(path), { recursive: true });
  const started = Date.now();
  for (let told = false; !tryTake(path); ) {
    const owner = ownerOf(path);
    if (owner !== undefined && !isAlive(owner)) {
      clearDead(path);
    } else if (owner !== undefined && !told) {
      told = true;
      onWait(owner);
    }
    if (Date.now() - started > patienceMs) {
      throw new Error(
        `process ${owner} has held ${path} for an hour; end it, or remove the file, and try again`,
      );
    }
    await sleep(pollMs);
  }
  const release = () => {
    if (ownerOf(path) === process.pid) rmSync(path, { force: true });
  };
  process.once('exit', release);
  return () => {
    process.off('exit', release);
    release();
  };
}
