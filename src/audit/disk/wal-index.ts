import type { ReadableFiles } from './files.ts';
import { eachEntry, findFrame, frameHeaderBytes, readFrame } from './frames.ts';
import { segmentLeaves } from './layout.ts';

/** A frame of the file: its entries are [first, first + count) of the file's, its bytes [offset, offset + bytes). */
interface Placed {
  readonly first: number;
  readonly count: number;
  readonly offset: number;
  readonly bytes: number;
}

/** An index of the frames in a growing write-ahead file. A damaged frame leaves a gap, and those behind it are found again. */
export class WalIndex {
  readonly #firstIndex: number;
  /** Ascending, at most one for each of 65,536 entries. */
  readonly #frames: Placed[] = [];
  #offset = 0;

  /** `firstIndex`: of the file's first entry in the log. */
  constructor(firstIndex: number) {
    this.#firstIndex = firstIndex;
  }

  /** Entries up to the end of the last whole frame, those in gaps included. */
  get count(): number {
    const last = this.#frames.at(-1);
    return last === undefined ? 0 : last.first + last.count;
  }

  /** Takes in whole frames that came since. */
  read(files: ReadableFiles, path: string): void {
    const news = readSpan(files, path, this.#offset);
    let at = 0;
    while (news !== undefined && at < news.length) {
      const frame = readFrame(news, at);
      if (frame === undefined) {
        // Either damage, or a frame that is still being written: then nothing follows it.
        const next = findFrame(news, at + 1);
        if (next === undefined) break;
        at = next;
        continue;
      }
      const bytes = frameHeaderBytes + frame.bodyLength;
      const first = frame.firstIndex - this.#firstIndex;
      if (frame.count > 0 && first >= this.count && first + frame.count <= segmentLeaves) {
        this.#frames.push({ first, count: frame.count, offset: this.#offset + at, bytes });
      }
      at += bytes;
    }
    this.#offset += at;
  }

  /** The bundle of entries [from, to), which frames' headers may interrupt; undefined where one is in a gap, or damaged since. */
  entries(files: ReadableFiles, path: string, from: number, to: number): Buffer | undefined {
    if (to > this.count || from >= to) return undefined;
    const frames: Placed[] = [];
    let reached = from;
    for (let at = this.#frameAt(from); reached < to; at++) {
      const frame = this.#frames[at];
      if (frame === undefined || frame.first > reached) return undefined;
      frames.push(frame);
      reached = frame.first + frame.count;
    }
    const begin = frames[0]?.offset ?? 0;
    const last = frames.at(-1);
    const bytes = last && readSpan(files, path, begin, last.offset + last.bytes - begin);
    if (bytes === undefined) return undefined;
    const pieces: Buffer[] = [];
    for (const { first, count, offset } of frames) {
      // Read again with its checksums: what was whole when it was indexed need not be now.
      const frame = readFrame(bytes, offset - begin);
      if (frame?.count !== count || frame.firstIndex !== this.#firstIndex + first) return undefined;
      let index = first;
      const whole = eachEntry(
        bytes,
        offset - begin + frameHeaderBytes,
        frame.bodyLength,
        count,
        (start, length) => {
          if (index >= from && index < to) pieces.push(bytes.subarray(start - 2, start + length));
          index++;
          return true;
        },
      );
      if (!whole) return undefined;
    }
    return Buffer.concat(pieces);
  }

  /** The frame that ends behind this entry, by bisection. */
  #frameAt(entry: number): number {
    let [low, high] = [0, this.#frames.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { first, count } = this.#frames[middle] as Placed;
      if (first + count <= entry) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Bytes of the file from `offset` on, to its end or exactly `length`; undefined where they are not there. */
function readSpan(files: ReadableFiles, path: string, offset: number, length?: number): Buffer | undefined {
  let file: ReturnType<ReadableFiles['open']>;
  try {
    file = files.open(path, 'read');
  } catch {
    return undefined;
  }
  try {
    const there = Math.max(0, file.size() - offset);
    if (length !== undefined && there < length) return undefined;
    const bytes = Buffer.allocUnsafe(length ?? there);
    const read = file.read(bytes, offset);
    return length === undefined || read === length ? bytes.subarray(0, read) : undefined;
  } catch {
    return undefined;
  } finally {
    file.close();
  }
}
