import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** CPU time that a process has used so far, in microseconds (Linux: schedstat counts nanoseconds). */
export interface CpuTime {
  /** Of all its threads. */
  readonly cpuUs: number;
  /** Of the thread that Node runs its program on, which talks HTTP. */
  readonly mainThreadUs: number;
}

/** Both figures from one reading of each thread, so that the part is never more than the whole. */
export function cpuTime(pid: number): CpuTime {
  let cpuUs = 0;
  let mainThreadUs = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const us = threadNs(pid, thread) / 1000;
    cpuUs += us;
    if (thread === String(pid)) mainThreadUs = us;
  }
  return { cpuUs, mainThreadUs };
}

/** Of all threads of a process, in microseconds. */
export const cpuUs = (pid: number): number => cpuTime(pid).cpuUs;

function threadNs(pid: number, thread: string): number {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  } catch {
    // It ended between the listing and now.
    return 0;
  }
}

/** Memory of a process in bytes: resident, of it anonymous (heap, not files), and locked. */
export function memoryOf(pid: number): {
  residentBytes: number;
  anonymousBytes: number;
  lockedBytes: number;
} {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024;
  return { residentBytes: bytes('VmRSS'), anonymousBytes: bytes('RssAnon'), lockedBytes: bytes('VmLck') };
}

export const restMs = 500;
const restMostMs = 20_000;

/** Returns when the process has used less than a twentieth of a core for `restMs`, or after 20 s. */
export async function rested(pid: number): Promise<void> {
  const endMs = performance.now() + restMostMs;
  for (let before = cpuUs(pid); performance.now() < endMs; ) {
    await sleep(restMs);
    const now = cpuUs(pid);
    if (now - before < restMs * 50) return;
    before = now;
  }
}
