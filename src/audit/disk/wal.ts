import { type Files, type LogFile, writeAll } from './files.ts';
import type { Layout } from './layout.ts';

/** The write-ahead files: one for each segment that is not sealed, of which the last one grows. */
export class WalWriter {
  readonly #files: Files;
  readonly #layout: Layout;
  #file: LogFile | undefined;
  #first: number;
  #offset: number;
  /** Full files whose last bytes may not be durable yet. */
  #retired: LogFile[] = [];
  #directoryChanged = false;
  #bytesWritten = 0;

  /** Goes on at byte `offset` of the file that begins with record `first`. */
  constructor(files: Files, layout: Layout, first: number, offset: number) {
    this.#files = files;
    this.#layout = layout;
    this.#first = first;
    this.#offset = offset;
  }

  get bytesWritten(): number {
    return this.#bytesWritten;
  }

  /** Throws as the disk does; the next write then goes to the same place, over whatever part of this one is there. */
  write(frame: Uint8Array, length: number): void {
    if (this.#file === undefined) {
      this.#file = this.#files.open(this.#layout.walFile(this.#first), 'write');
      this.#directoryChanged = true;
    }
    writeAll(this.#file, frame, length, this.#offset);
    this.#offset += length;
    this.#bytesWritten += length;
  }

  /** The place of the next write. */
  mark(): number {
    return this.#offset;
  }

  /** Takes back what was written since `mark`: the next write goes over it. */
  backTo(offset: number): void {
    this.#offset = offset;
  }

  /** The next record goes to a file of its own. */
  startFile(first: number): void {
    if (this.#file !== undefined) this.#retired.push(this.#file);
    this.#file = undefined;
    this.#first = first;
    this.#offset = 0;
  }

  /** Makes durable all that was written before the call. */
  async sync(): Promise<void> {
    const retired = [...this.#retired];
    const directoryChanged = this.#directoryChanged;
    await Promise.all([
      ...retired.map((file) => file.sync()),
      this.#file?.sync(),
      directoryChanged ? this.#files.syncDirectory(this.#layout.wal) : undefined,
    ]);
    // Only now: after a failure all of it is still to be done. No two calls run at once.
    if (directoryChanged) this.#directoryChanged = false;
    this.#retired = this.#retired.filter((file) => !retired.includes(file));
    for (const file of retired) file.close();
  }

  /** Goes on at byte `offset` of the file that begins with record `first`, after all files were written anew. */
  reopen(first: number, offset: number): void {
    this.close();
    this.#first = first;
    this.#offset = offset;
    this.#directoryChanged = false;
  }

  close(): void {
    for (const file of this.#retired) file.close();
    this.#file?.close();
    this.#retired = [];
    this.#file = undefined;
  }
}
