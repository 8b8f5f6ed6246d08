import { basename } from 'node:path';
import { type Files, type LogFile, systemFiles } from '../../../src/audit/disk/files.ts';
import { systemError } from './memory-files.ts';

/** Milliseconds that a lasting fault lasts; the drill takes 10,000. */
export const lastingMs = Number(process.env.DRILL_FAULT_MS ?? 150);

export type Call =
  | 'open'
  | 'read'
  | 'list'
  | 'makeDirectory'
  | 'rename'
  | 'remove'
  /** Its path has behind it what was renamed or removed last: `…/seg with 000000000000.tile1`. */
  | 'syncDirectory'
  | 'space'
  | 'write'
  | 'sync'
  | 'truncate';

/** One kind of call on one file, that fails with this error. */
export type FaultyCall = readonly [what: string, call: Call, path: RegExp, code: string];

/** The real file system, whose calls fail where `fault` throws. */
export class FaultyFiles implements Files {
  fault: (call: Call, path: string) => void = () => {};
  readonly space = (directory: string) => this.#with('space', directory, () => systemFiles.space(directory));
  #changed = '';

  /**
   * Makes calls fail one after the other: each is armed when the one before has failed, fails the first time that it is made,
   * and, where `forMs` is given, every time for so long. The failures so far: how often each call failed.
   */
  failInTurn(calls: readonly FaultyCall[], forMs = 0): FailuresInTurn {
    const counts: number[] = [];
    const untilMs: number[] = [];
    this.fault = (made, where) => {
      for (const [index, [, call, path, code]] of calls.entries()) {
        if (index > counts.length) return;
        if (made !== call || !path.test(where)) continue;
        untilMs[index] ??= performance.now() + forMs;
        if (counts[index] !== undefined && performance.now() >= untilMs[index]) continue;
        counts[index] = (counts[index] ?? 0) + 1;
        throw systemError(code);
      }
    };
    return {
      counts,
      next: () => calls[counts.length]?.[0],
      over: () => counts.length === calls.length && untilMs.every((ms) => performance.now() >= ms),
    };
  }

  open(path: string, how: 'read' | 'write'): LogFile {
    const file = this.#with('open', path, () => systemFiles.open(path, how));
    return {
      size: () => file.size(),
      read: (into, position) => this.#with('read', path, () => file.read(into, position)),
      write: (bytes, from, length, position) =>
        this.#with('write', path, () => file.write(bytes, from, length, position)),
      sync: async () => this.#with('sync', path, () => file.sync()),
      truncate: (size) => this.#with('truncate', path, () => file.truncate(size)),
      close: () => file.close(),
    };
  }
  read(path: string): Buffer | undefined {
    return this.#with('read', path, () => systemFiles.read(path));
  }
  list(directory: string): string[] {
    return this.#with('list', directory, () => systemFiles.list(directory));
  }
  makeDirectory(path: string): void {
    this.#with('makeDirectory', path, () => systemFiles.makeDirectory(path));
  }
  rename(from: string, to: string): void {
    this.#with('rename', to, () => systemFiles.rename(from, to));
    this.#changed = basename(to);
  }
  remove(path: string): void {
    this.#with('remove', path, () => systemFiles.remove(path));
    this.#changed = basename(path);
  }
  async syncDirectory(path: string): Promise<void> {
    await this.#with('syncDirectory', `${path} with ${this.#changed}`, () => systemFiles.syncDirectory(path));
  }

  #with<T>(call: Call, path: string, act: () => T): T {
    this.fault(call, path);
    return act();
  }
}

export interface FailuresInTurn {
  readonly counts: readonly number[];
  /** The first call that has not failed yet. */
  next(): string | undefined;
  /** All have failed, and none does any more. */
  over(): boolean;
}
