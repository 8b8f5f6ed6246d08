import type { Algorithm, SignatureScheme } from '../algorithms/descriptor.ts';
import { type CostMeter, createCostMeter } from '../queue/cost-meter.ts';

/** The meters of one signature scheme of one key type. */
export interface SchemeCosts {
  readonly sign: CostMeter;
  readonly verify: CostMeter;
}

/** A meter for each way to sign of each algorithm, found by the descriptor itself. */
export type CostTable = ReadonlyMap<SignatureScheme, SchemeCosts>;

export function createCostTable(algorithms: readonly Algorithm[]): CostTable {
  const table = new Map<SignatureScheme, SchemeCosts>();
  for (const { components } of algorithms) {
    for (const scheme of components.flatMap((component) => component.schemes)) {
      if (table.has(scheme)) continue;
      table.set(scheme, {
        sign: createCostMeter(scheme.signCostUs),
        verify: createCostMeter(scheme.verifyCostUs),
      });
    }
  }
  return table;
}
