import { headKey } from './codec.ts';
import type { KeyCount } from './keyring.ts';
import type { KeyHead } from './record.ts';

/** What a metric may have; a label set of each tenant's own would let tenants grow the metrics without bound. */
const maxSeries = 1_000;

interface Change {
  /** `happened`: the change is durable. */
  readonly end: (happened: boolean) => void;
}

/**
 * Counts active keys by tenant, purpose and algorithm, while a scan over all heads is still on its way. A key that
 * changes before the scan has come to it is counted here and passed over by the scan. When a store cannot say whether
 * a change happened, the count takes it as not happened; the next start counts anew.
 */
export class KeyCounter {
  readonly #series = new Map<string, { tenant: string; purpose: string; alg: string; count: number }>();
  #other = 0;
  /** The scan has counted everything up to this store key; undefined when it is done. */
  #scannedTo: string | undefined = '';
  readonly #countedByChange = new Set<string>();

  counts(): readonly KeyCount[] {
    const counts = [...this.#series.values()].map((series) => ({ ...series }));
    if (this.#other === 0) return counts;
    return [...counts, { tenant: 'other', purpose: 'other', alg: 'other', count: this.#other }];
  }

  /** To be called before the commit, with the head as it is before a destruction or after a creation. */
  begin(head: KeyHead, change: 'created' | 'destroyed'): Change {
    const isAhead = this.#scannedTo !== undefined && headKey(head.id) > this.#scannedTo;
    if (isAhead && !this.#countedByChange.has(head.id)) {
      this.#countedByChange.add(head.id);
      if (change === 'destroyed') this.#add(head, 1);
    }
    const difference = change === 'created' ? 1 : -1;
    return {
      end: (happened) => {
        if (happened) this.#add(head, difference);
      },
    };
  }

  /** Heads that the scan has found, in order, up to this store key. */
  scanned(heads: readonly KeyHead[], upTo: string): void {
    for (const head of heads) {
      if (head.state === 'active' && !this.#countedByChange.delete(head.id)) this.#add(head, 1);
    }
    this.#scannedTo = upTo;
  }

  scanEnded(): void {
    this.#scannedTo = undefined;
    this.#countedByChange.clear();
  }

  #add({ tenant, purpose, alg }: KeyHead, difference: number): void {
    const name = `${tenant}/${purpose}/${alg}`;
    const series = this.#series.get(name);
    if (series !== undefined) series.count += difference;
    else if (this.#series.size >= maxSeries) this.#other += difference;
    else this.#series.set(name, { tenant, purpose, alg, count: difference });
  }
}
