import { readFileSync } from 'node:fs';
import { manifest } from '../core/own-package.ts';

/** npm ends on a signal without ending what it started; nothing tells us, so we look. */
const lookEveryMs = 500;

/** The process that started this one, from proc(5): field 4, behind the name in brackets. Undefined without /proc. */
function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}

/** This process's parent, and its parent: npm runs a script by a shell, which may stay in between. */
function ancestors(): string {
  const { ppid } = process;
  return `${ppid} ${parentOf(ppid)}`;
}

/**
 * Calls `gone` once when npm, which started this process, is there no more: a service that nobody knows of would hold its data
 * directory and its port. Does nothing where npm did not start it.
 */
export function whenNpmIsGone(gone: () => void): void {
  // Another package's script may start a service that is to stay.
  const { npm_lifecycle_event: script, npm_package_name: name } = process.env;
  if (script === undefined || name !== manifest.name) return;
  const before = ancestors();
  const timer = setInterval(() => {
    if (ancestors() === before) return;
    clearInterval(timer);
    gone();
  }, lookEveryMs);
  timer.unref();
}
