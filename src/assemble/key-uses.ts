import { KeyUses } from '../admission/key-uses.ts';
import type { Config } from '../config/load.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../keys/authenticity.ts';
import type { Logger } from '../observe/log.ts';
import { type CountSeal, DurableCounts } from '../store/durable-counts.ts';
import type { Store } from '../store/store.ts';

export interface OpenedKeyUses {
  readonly keyUses: KeyUses;
  /** Every call must have ended. Never rejects. */
  close(): Promise<void>;
}

/** Counts of uses in the store, authenticated as the records of keys are. */
export function openKeyUses(
  { keyUsesPerDay }: Pick<Config, 'keyUsesPerDay'>,
  log: Logger,
  { store, mac, clock = systemClock }: { store: Store; mac: RecordMac; clock?: Clock },
): OpenedKeyUses {
  const counts = new DurableCounts({
    ...{ store, seal: sealedBy(mac) },
    onCorruptRecord: (key) => log.error({ key }, 'a count in the store cannot be read or is not authentic'),
  });
  const perDay = keyUsesPerDay === 0 ? Number.POSITIVE_INFINITY : keyUsesPerDay;
  return { keyUses: new KeyUses({ counts, clock, perDay }), close: () => counts.close() };
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
