import type { Algorithm, SchemeEntry } from '../algorithms/descriptor.ts';
import type { WorkKind } from '../algorithms/work-kinds.ts';
import { type CostMeter, createCostMeter } from '../queue/cost-meter.ts';

/** A meter for each kind of work of each scheme in each home: a token takes a hundred times as long as our engine. */
export interface CostTable {
  /** `inputBytes`: of the message; longer ones are metered apart, as their price is the bytes'. */
  meterOf(scheme: SchemeEntry, kind: WorkKind, inputBytes: number, home: string): CostMeter;
}

/** Borders of size classes, in bytes: hashing takes about 2 us a KiB, so that each class varies by some 15 us at most. */
const sizeClassBytes = [1_024, 8_192, 65_536];
/** A KiB of input adds this to a first guess, in microseconds: SHA-256 without SHA extensions. */
const costUsPerKiB = 2;

type Meters = Map<SchemeEntry, Map<WorkKind, readonly CostMeter[]>>;

/** Homes have the same first guesses. A name that is no home's is a bug of the caller, as these tables are never removed. */
export function createCostTable(algorithms: readonly Algorithm[]): CostTable {
  const tables = new Map<string, Meters>();
  const tableOf = (home: string): Meters => {
    const table = metersOf(algorithms);
    tables.set(home, table);
    return table;
  };
  return {
    meterOf(scheme, kind, inputBytes, home) {
      let sizeClass = 0;
      while (sizeClass < sizeClassBytes.length && inputBytes > (sizeClassBytes[sizeClass] as number))
        sizeClass++;
      const meter = (tables.get(home) ?? tableOf(home)).get(scheme)?.get(kind)?.[sizeClass];
      if (meter === undefined) throw new RangeError('the scheme does not do this kind of work');
      return meter;
    },
  };
}

function metersOf(algorithms: readonly Algorithm[]): Meters {
  const table: Meters = new Map();
  const schemes = algorithms.flatMap(({ components }) =>
    components.flatMap((component) => component.schemes),
  );
  // A mu is signed by other code than a message, and learns its price by itself.
  for (const scheme of schemes.flatMap((entry) => (entry.mu === undefined ? [entry] : [entry, entry.mu]))) {
    const meters = new Map<WorkKind, readonly CostMeter[]>();
    for (const [kind, costUs] of Object.entries(scheme.costUs)) {
      const ofClass = (bytes: number) => createCostMeter(costUs + (bytes / 1_024) * costUsPerKiB);
      meters.set(kind as WorkKind, [createCostMeter(costUs), ...sizeClassBytes.map(ofClass)]);
    }
    table.set(scheme, meters);
  }
  return table;
}
