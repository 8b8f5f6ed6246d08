import { KeyUses } from '../admission/key-uses.ts';
import type { Config } from '../config/load.ts';
import { systemClock } from '../core/clock.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../keys/authenticity.ts';
import type { Logger } from '../observe/log.ts';
import { type CountSeal, DurableCounts } from '../store/durable-counts.ts';
import type { Store } from '../store/store.ts';

/** Counts of uses in the store, authenticated as the records of keys are. */
export function openCounts(log: Logger, { store, mac }: { store: Store; mac: RecordMac }): DurableCounts {
  return new DurableCounts({
    ...{ store, seal: sealedBy(mac) },
    onCorruptRecord: (key) => log.error({ key }, 'a count in the store cannot be read or is not authentic'),
  });
}

export function createKeyUses({ keyUsesPerDay }: Config, counts: DurableCounts): KeyUses {
  const perDay = keyUsesPerDay === 0 ? Number.POSITIVE_INFINITY : keyUsesPerDay;
  return new KeyUses({ counts, clock: systemClock, perDay });
}

export function sealedBy(mac: RecordMac): CountSeal {
  return {
    seal: (storeKey, text) => authenticated(storeKey, text, mac),
    open(storeKey, value) {
      const opened = openAuthenticated(storeKey, value, mac);
      return opened === undefined ? undefined : Buffer.from(opened.text).toString();
    },
  };
}
