import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';
import { ownRoot } from '../core/own-package.ts';

/** System calls that Node has no function for. They need the native addon, and not that it is the engine in use. */
export interface SystemCalls {
  /** True if the kernel calls its clock synchronised (adjtimex(2)); undefined where that cannot be said. */
  clockSynchronised(): boolean | undefined;

  /**
   * No core dump of this process from here on, and no debugger of the same user (PR_SET_DUMPABLE, prctl(2)); false where
   * it could not be done. Afterwards files such as /proc/self/environ belong to root; nothing here may need them.
   */
  forbidCoreDumps(): boolean;

  /** Ends this process with `status` after `limitMs`, unless it has ended by then; false where that could not be promised. */
  endWithin(status: number, limitMs: number): boolean;
}

const addonPath = './native/build/intaglio_native.node';

/** Never throws. Without the addon, or with one of another version, nothing is said and nothing done. */
export function openSystemCalls(): SystemCalls {
  const addon = loadAddon();
  return {
    clockSynchronised() {
      const answer = addon.clockSynchronised?.();
      return typeof answer === 'boolean' ? answer : undefined;
    },
    forbidCoreDumps: () => addon.forbidCoreDumps?.() === true,
    endWithin: (status, limitMs) => addon.endWithin?.(status, limitMs) === true,
  };
}

function loadAddon(): Partial<Readonly<Record<keyof SystemCalls, (...numbers: number[]) => unknown>>> {
  try {
    return createRequire(ownRoot)(addonPath);
  } catch {
    return {};
  }
}

/**
 * Once all that this process does at its end is done, it is gone within `limitMs`. Without this it can stay for good: Node joins its
 * threads, and one of them may wait for the main thread (https://github.com/nodejs/node/issues/54918), or for a disk that
 * does not answer. Called by another thread than the main one, it does nothing: that one's end is not the process's.
 */
export function limitExit(limitMs: number): void {
  if (isMainThread) process.on('exit', (status) => void openSystemCalls().endWithin(status, limitMs));
}
