import { createRequire } from 'node:module';
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
