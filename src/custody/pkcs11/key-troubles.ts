import { BoundedCache } from '../../core/bounded-cache.ts';
import { codes } from './numbers.ts';

/** Modules say these of one broken object as of a token that does nothing any more. */
export const unclearTroubles: ReadonlySet<number> = new Set([codes.generalError, codes.functionFailed]);

/** As long as one operation may take: after that, what worked before says nothing of now. */
const recentMs = 2_000;
/** A key for whose sake the token was opened anew, in vain, is not a reason to do so again for so long. */
const openAgainMs = 60_000;
/** Some 200 bytes each. */
const maxKeys = 1_024;

interface Seen {
  name: string;
  atMs: number;
}

/**
 * Says whose an unclear trouble is: a key's own, or the token's. The token's it is where two keys have it in a row, and where no
 * other key worked lately: then the token is opened anew, which helps if anything does. A key that has it after that too, alone,
 * has it of itself.
 */
export class KeyTroubles {
  readonly #nowMs: () => number;
  /** The two keys that worked last. */
  #latest: Seen | undefined;
  #before: Seen | undefined;
  /** Nothing has worked since. */
  #failedLast: string | undefined;
  /** When the token was opened anew for the sake of a key. */
  #blamed = new BoundedCache<string, number>(maxKeys);
  /** Keys whose own trouble was told. */
  #told = new BoundedCache<string, true>(maxKeys);

  /** `nowMs`: monotonic. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  worked(name: string): void {
    this.#failedLast = undefined;
    const atMs = this.#nowMs();
    if (this.#latest?.name === name) this.#latest.atMs = atMs;
    else {
      this.#before = this.#latest;
      this.#latest = { name, atMs };
    }
    if (this.#blamed.size > 0) this.#blamed.delete(name);
    if (this.#told.size > 0) this.#told.delete(name);
  }

  /** Of a key that has just had an unclear trouble. `isNew`: it is not known to have it of itself yet. */
  judge(name: string): { readonly of: 'token' } | { readonly of: 'key'; readonly isNew: boolean } {
    const nowMs = this.#nowMs();
    const isInARow = this.#failedLast !== undefined && this.#failedLast !== name;
    this.#failedLast = name;
    const other = this.#latest?.name === name ? this.#before : this.#latest;
    const blamedAtMs = this.#blamed.get(name);
    const tokenWorks = other !== undefined && nowMs - other.atMs <= recentMs;
    const openedInVain = blamedAtMs !== undefined && nowMs - blamedAtMs <= openAgainMs;
    if (isInARow || !(tokenWorks || openedInVain)) {
      this.#blamed.set(name, nowMs);
      return { of: 'token' };
    }
    const isNew = this.#told.get(name) === undefined;
    this.#told.set(name, true);
    return { of: 'key', isNew };
  }
}
