import type { WorkKind } from '../algorithms/work-kinds.ts';
import { ok, type Result } from '../core/result.ts';
import type { BatchResult } from '../engine/batch.ts';
import type { CostMeter } from '../queue/cost-meter.ts';
import type { BatchWork, WorkItem } from './work.ts';

/**
 * Cost of the calls that the works of a large request are packed into, in microseconds. Half of a quantum: others have
 * their turn between two of them, and a message to a worker still carries several.
 */
const packedCostUs = 150;

/** Items of one kind in one home, which become one call. */
export interface Pack {
  readonly home: string;
  readonly kind: WorkKind;
  readonly items: WorkItem[];
  readonly meters: CostMeter[];
  costUs: number;
}

/** The place of one work's items in a pack: of all of them, or of those at `positions` of the work. */
interface Place {
  readonly pack: Pack;
  readonly first: number;
  readonly size: number;
  readonly positions: readonly number[] | undefined;
}

export interface Packing {
  readonly packs: readonly Pack[];
  /** For each work, one place in most cases: more if its items are in several homes, none if it has no items. */
  readonly places: readonly (readonly Place[])[];
}

export function packWorks(works: readonly BatchWork[]): Packing {
  const packs: Pack[] = [];
  const last = new Map<string, Pack>();
  const place = (piece: BatchWork, positions: readonly number[] | undefined): Place => {
    const { home } = piece.items[0] as WorkItem;
    const costUs = costOf(piece);
    let pack = last.get(home);
    if (pack === undefined || pack.kind !== piece.kind || pack.costUs + costUs > packedCostUs) {
      pack = { home, kind: piece.kind, items: [], meters: [], costUs: 0 };
      last.set(home, pack);
      packs.push(pack);
    }
    const first = pack.items.length;
    pack.items.push(...piece.items);
    pack.meters.push(...piece.meters);
    pack.costUs += costUs;
    return { pack, first, size: piece.items.length, positions };
  };
  const places = works.map((work) => {
    if (work.items.length === 0) return [];
    if (homeOfAll(work.items) !== undefined) return [place(work, undefined)];
    return [...positionsByHome(work.items).values()].map((positions) =>
      place(
        {
          kind: work.kind,
          items: positions.map((position) => work.items[position] as WorkItem),
          meters: positions.map((position) => work.meters[position] as CostMeter),
        },
        positions,
      ),
    );
  });
  return { packs, places };
}

/** The outcome of each work. A refusal of one of its homes is the refusal of all of it. */
export function unpack(
  { packs, places }: Packing,
  outcomes: readonly Result<readonly BatchResult[]>[],
): Result<readonly BatchResult[]>[] {
  const outcomeOf = new Map(packs.map((pack, index) => [pack, outcomes[index] as (typeof outcomes)[0]]));
  return places.map((ofWork) => {
    const results: BatchResult[] = [];
    for (const { pack, first, size, positions } of ofWork) {
      const outcome = outcomeOf.get(pack) as Result<readonly BatchResult[]>;
      if (!outcome.ok) return outcome;
      const own = outcome.value.slice(first, first + size);
      if (positions === undefined) return ok(own);
      for (const [n, position] of positions.entries()) results[position] = own[n] as BatchResult;
    }
    return ok(results);
  });
}

/** The home of these items; undefined if they are in several. */
export function homeOfAll(items: readonly WorkItem[]): string | undefined {
  const home = items[0]?.home;
  for (const item of items) if (item.home !== home) return undefined;
  return home;
}

export function costOf({ meters }: Pick<BatchWork, 'meters'>): number {
  let costUs = 0;
  for (const meter of meters) costUs += meter.costUs;
  return costUs;
}

function positionsByHome(items: readonly WorkItem[]): Map<string, number[]> {
  const byHome = new Map<string, number[]>();
  for (const [position, { home }] of items.entries()) {
    const positions = byHome.get(home);
    if (positions === undefined) byHome.set(home, [position]);
    else positions.push(position);
  }
  return byHome;
}
