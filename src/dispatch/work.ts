import type { WorkKind } from '../algorithms/work-kinds.ts';
import type { BatchItem } from '../engine/batch.ts';
import type { CostMeter } from '../queue/cost-meter.ts';

/** The homes that may make a signature in the place of one that is away, as its key's policy allows. */
export interface StandIn {
  /** At least one; they are tried in this order. */
  readonly homes: readonly string[];
  /** Of the key's record. A signature that it does not verify is thrown away: the home had another key of that name. */
  readonly publicKey: Uint8Array;
  /** The home that signed, once one has. */
  signedIn: string | undefined;
}

/** An item, and the home of the key that it uses: the name of a custody. */
export interface WorkItem extends BatchItem {
  readonly home: string;
  /** Where its home is away and another one may sign for it. */
  readonly standIn?: StandIn | undefined;
}

/** Items that stay together: in one job, if they are in one home. */
export interface BatchWork {
  readonly kind: WorkKind;
  readonly items: readonly WorkItem[];
  /** One for each item; learns what it took. */
  readonly meters: readonly CostMeter[];
}
