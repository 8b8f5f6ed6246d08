import { headKey } from './codec.ts';
import type { KeyCount } from './keyring.ts';
import type { KeyHead } from './record.ts';

/** The most series of a metric; a label set of each tenant's own would let tenants grow the metrics without bound. */
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
  /** Of each tenant that has any, with those that are being made. */
  readonly #tenants = new Map<string, number>();

  counts(): readonly KeyCount[] {
    const counts = [...this.#series.values()].map((series) => ({ ...series }));
    if (this.#other === 0) return counts;
    return [...counts, { tenant: 'other', purpose: 'other', alg: 'other', count: this.#other }];
  }

  /**
   * A place for a key that is about to be made, or undefined where the tenant has `max` keys; to be given back by calling it,
   * once the key is counted or was not made.
   */
  place(tenant: string, max: number): (() => void) | undefined {
    if ((this.#tenants.get(tenant) ?? 0) >= max) return undefined;
    this.#addTo(tenant, 1);
    return () => this.#addTo(tenant, -1);
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

  #addTo(tenant: string, difference: number): void {
    const count = (this.#tenants.get(tenant) ?? 0) + difference;
    if (count === 0) this.#tenants.delete(tenant);
    else this.#tenants.set(tenant, count);
  }

  #add({ tenant, purpose, alg }: KeyHead, difference: number): void {
    this.#addTo(tenant, difference);
    const name = `${tenant}/${purpose}/${alg}`;
    const series = this.#series.get(name);
    if (series !== undefined) series.count += difference;
    else if (this.#series.size >= maxSeries) this.#other += difference;
    else this.#series.set(name, { tenant, purpose, alg, count: difference });
  }
}
