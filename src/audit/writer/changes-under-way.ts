import type { TreeHead } from '../disk/head.ts';

interface UnderWay {
  /** The log before the change's record. */
  readonly before: TreeHead;
  /** Records with the one of its failure; undefined: not decided. */
  readonly until: number | undefined;
}

/**
 * Changes that are on the log and that the store has not decided. A checkpoint says of every change that it covers: it is
 * in the store, or the log tells otherwise. So it ends before the first of which neither is true.
 */
export class ChangesUnderWay {
  /** In the order of the log. */
  readonly #changes = new Map<string, UnderWay>();

  /** One at a time of each name. The failure of the one before may not be durable yet. */
  began(name: string, before: TreeHead): void {
    this.#changes.set(name, { before: this.#changes.get(name)?.before ?? before, until: undefined });
  }

  committed(name: string): void {
    this.#changes.delete(name);
  }

  /** The record of its outcome will be among the first `size` records. */
  recorded(name: string, size: number): void {
    const change = this.#changes.get(name);
    if (change !== undefined) this.#changes.set(name, { ...change, until: size });
  }

  /** The largest tree that a checkpoint may cover when so much is durable. */
  limit(durable: TreeHead): TreeHead {
    for (const [name, { before, until }] of this.#changes) {
      if (until === undefined || until > durable.size) {
        return before.size < durable.size ? before : durable;
      }
      this.#changes.delete(name);
    }
    return durable;
  }
}
