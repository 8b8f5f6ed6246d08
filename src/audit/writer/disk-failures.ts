/** The act that failed on the disk, for the operator; each is tried again. */
export type DiskFailure = 'write' | 'sync' | 'checkpoint' | 'seal' | 'retain' | 'space' | 'scrub';

/** The system's error code, or in words what else was thrown. */
export function errnoOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message ?? 'unknown';
}

/**
 * Failures that last. Each is told once, until it is another error or none: what is tried again four times a second must
 * not fill the operator's log.
 */
export class DiskFailures {
  readonly #tell: (what: DiskFailure, cause: string | undefined) => void;
  readonly #lasting = new Map<DiskFailure, string>();

  constructor(tell: (what: DiskFailure, cause: string | undefined) => void) {
    this.#tell = tell;
  }

  began(what: DiskFailure, error: unknown): void {
    const cause = errnoOf(error);
    if (this.#lasting.get(what) === cause) return;
    this.#lasting.set(what, cause);
    this.#tell(what, cause);
  }

  ended(what: DiskFailure): void {
    if (this.#lasting.delete(what)) this.#tell(what, undefined);
  }
}
