import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';

export interface MemoryRange {
  readonly start: number;
  readonly end: number;
  /** A core dump holds it. */
  readonly dumpable: boolean;
  /** The stack of a thread. */
  readonly stack: boolean;
}

/** What of a process's memory a core dump would hold, in parts of 64 KiB and 63 bytes of the next. */
export function* dumpableMemory(pid: number): Generator<Buffer> {
  yield* memoryOf(
    pid,
    memoryRanges(pid).filter(({ dumpable }) => dumpable),
  );
}

/** The same of any of its ranges. */
export function* memoryOf(pid: number, ranges: readonly MemoryRange[]): Generator<Buffer> {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  const pages = openSync(`/proc/${pid}/pagemap`, 'r');
  const chunk = Buffer.allocUnsafeSlow(chunkBytes + overlapBytes);
  try {
    for (const { start, end } of ranges) {
      for (let at = start; at < end; at += chunkBytes) {
        const bytes = Math.min(chunkBytes, end - at);
        // Most of the address space was never touched.
        if (!anyPresent(pages, at, bytes)) continue;
        const wanted = Math.min(bytes + overlapBytes, end - at);
        const part = chunk.subarray(0, readSync(memory, chunk, 0, wanted, at));
        // V8 and WebAssembly reserve gigabytes of zeros.
        if (zeros.compare(part, 0, part.length, 0, part.length) !== 0) yield part;
      }
    }
  } finally {
    closeSync(memory);
    closeSync(pages);
  }
}

const pageBytes = 4096;
const chunkBytes = 1 << 16;
/** The longest mark has 64 bytes. */
const overlapBytes = 63;
const zeros = Buffer.alloc(chunkBytes + overlapBytes);

/**
 * The kernel dumps, unless told otherwise (core(5)), memory without a file behind it, and pages of files that were written to
 * privately. `dd` in the flags of a mapping is MADV_DONTDUMP. Stacks are found where the process is stopped.
 */
export function memoryRanges(pid: number): MemoryRange[] {
  const pointers = stackPointers(pid);
  const ranges: MemoryRange[] = [];
  for (const mapping of readFileSync(`/proc/${pid}/smaps`, 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const [, from = '', to = '', name = ''] =
      /^([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+ *(.*)/.exec(mapping) ?? [];
    if (from === '' || name.startsWith('[v')) continue;
    const shared = /^\/(?:dev\/zero|memfd:)/.test(name);
    if (!shared && /^Anonymous: +0 kB/m.test(mapping)) continue;
    const [start, end] = [Number.parseInt(from, 16), Number.parseInt(to, 16)];
    const dumpable = !/^VmFlags:.* (?:dd|io)\b/m.test(mapping);
    ranges.push({ start, end, dumpable, stack: pointers.some((at) => at >= start && at < end) });
  }
  return ranges;
}

/** Of the threads that are not running; `/proc/<pid>/task/<tid>/syscall` ends with stack pointer and program counter. */
function stackPointers(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((tid) => {
    let words: string[];
    try {
      words = readFileSync(`/proc/${pid}/task/${tid}/syscall`, 'latin1').trim().split(' ');
    } catch (cause) {
      // The thread has ended since the list was read.
      if (['ENOENT', 'ESRCH'].includes((cause as NodeJS.ErrnoException).code ?? '')) return [];
      throw cause;
    }
    return words.length < 3 ? [] : [Number(words.at(-2))];
  });
}

function anyPresent(pages: number, start: number, bytes: number): boolean {
  const entries = Buffer.alloc((bytes / pageBytes) * 8);
  readSync(pages, entries, 0, entries.length, (start / pageBytes) * 8);
  // Bits 63 and 62: in memory, or in swap.
  for (let at = 7; at < entries.length; at += 8) if ((entries[at] as number) >= 0x40) return true;
  return false;
}
