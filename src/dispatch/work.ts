import type { WorkKind } from '../algorithms/work-kinds.ts';
import type { BatchItem } from '../engine/batch.ts';
import type { CostMeter } from '../queue/cost-meter.ts';
import type { StandIn } from './stand-ins.ts';

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
