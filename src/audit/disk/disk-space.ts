import { randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import { type LogOptions, monotonicMs } from '../thread-messages.ts';
import { type Files, writeAll } from './files.ts';

const pieceBytes = 1024 * 1024;
/** The rate of writing is that of the last ten seconds. */
const rateMemoryMs = 10_000;

/** Watches the room that is left, and holds some back for the last words. */
export class DiskSpace {
  readonly #files: Files;
  readonly #directory: string;
  readonly #options: LogOptions;
  readonly #ballast: string;
  #measured: { atMs: number; bytes: number };
  #bytesPerSecond = 0;

  constructor(files: Files, directory: string, options: LogOptions) {
    this.#files = files;
    this.#directory = directory;
    this.#options = options;
    this.#ballast = join(directory, 'ballast');
    this.#measured = { atMs: monotonicMs(), bytes: 0 };
  }

  /** True if there is too little room for using keys. `bytesWritten`: by the log since the start. */
  isLow(bytesWritten: number): boolean {
    const { reserveRatio, maxReserveBytes, reserveSeconds } = this.#options;
    const atMs = monotonicMs();
    const elapsedMs = atMs - this.#measured.atMs;
    if (elapsedMs > 0) {
      const rate = ((bytesWritten - this.#measured.bytes) * 1000) / elapsedMs;
      const weight = Math.min(1, elapsedMs / rateMemoryMs);
      this.#bytesPerSecond += (rate - this.#bytesPerSecond) * weight;
      this.#measured = { atMs, bytes: bytesWritten };
    }
    const { freeBytes, totalBytes } = this.#files.space(this.#directory);
    const reserve = Math.min(totalBytes * reserveRatio, maxReserveBytes);
    return freeBytes < Math.max(reserve, this.#bytesPerSecond * reserveSeconds);
  }

  /** Lays the ballast down where it is missing; false where there is no room for it. */
  takeBallast(): boolean {
    const file = this.#files.open(this.#ballast, 'write');
    try {
      // Random, so that a file system that compresses really gives the room.
      const piece = randomFillSync(new Uint8Array(pieceBytes));
      for (let at = file.size(); at < this.#options.ballastBytes; at += pieceBytes) {
        writeAll(file, piece, Math.min(pieceBytes, this.#options.ballastBytes - at), at);
      }
      return true;
    } catch {
      return false;
    } finally {
      file.close();
    }
  }

  dropBallast(): void {
    this.#files.remove(this.#ballast);
  }
}
