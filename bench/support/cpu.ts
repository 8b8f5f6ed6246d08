import { readdirSync, readFileSync } from 'node:fs';

/** CPU time that a process has used so far on all its threads, in microseconds (Linux: schedstat counts nanoseconds). */
export function cpuUs(pid: number): number {
  let ns = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) ns += threadNs(pid, thread);
  return ns / 1000;
}

/** The same for the thread that Node runs its program on, which talks HTTP. */
export function mainThreadCpuUs(pid: number): number {
  return threadNs(pid, String(pid)) / 1000;
}

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
