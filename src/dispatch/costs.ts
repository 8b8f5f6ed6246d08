import type { Algorithm, SchemeEntry } from '../algorithms/descriptor.ts';
import type { WorkKind } from '../algorithms/work-kinds.ts';
import { type CostMeter, createCostMeter } from '../queue/cost-meter.ts';

/** A meter for each kind of work of each scheme, found by the entry itself. */
export interface CostTable {
  /** `inputBytes`: of the message; longer ones are metered apart, as their price is the bytes'. */
  meterOf(scheme: SchemeEntry, kind: WorkKind, inputBytes: number): CostMeter;
}

/** Borders of size classes, in bytes: hashing takes about 2 us a KiB, so that each class varies by some 15 us at most. */
const sizeClassBytes = [1_024, 8_192, 65_536];
/** A KiB of input adds this to a first guess, in microseconds: SHA-256 without SHA extensions. */
const costUsPerKiB = 2;

export function createCostTable(algorithms: readonly Algorithm[]): CostTable {
  const table = new Map<SchemeEntry, Map<WorkKind, readonly CostMeter[]>>();
  for (const scheme of algorithms.flatMap(({ components }) => components.flatMap(({ schemes }) => schemes))) {
    const meters = new Map<WorkKind, readonly CostMeter[]>();
    for (const [kind, costUs] of Object.entries(scheme.costUs)) {
      const ofClass = (bytes: number) => createCostMeter(costUs + (bytes / 1_024) * costUsPerKiB);
      meters.set(kind as WorkKind, [createCostMeter(costUs), ...sizeClassBytes.map(ofClass)]);
    }
    table.set(scheme, meters);
  }
  return {
    meterOf(scheme, kind, inputBytes) {
      let sizeClass = 0;
      while (sizeClass < sizeClassBytes.length && inputBytes > (sizeClassBytes[sizeClass] as number))
        sizeClass++;
      const meter = table.get(scheme)?.get(kind)?.[sizeClass];
      if (meter === undefined) throw new RangeError('the scheme does not do this kind of work');
      return meter;
    },
  };
}
