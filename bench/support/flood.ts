import type { LoadRequest, StreamResult } from '../load/plan.ts';
import type { Effort } from '../scenario.ts';
import { runLoad } from './load.ts';
import { type Figures, figuresOf, floodNiceness, openLoopConnections, planOf } from './measure.ts';
import type { Target } from './target.ts';

export interface Caller {
  readonly requests: readonly LoadRequest[];
  readonly ratePerSecond: number;
  readonly connections?: number;
}

export interface FloodFigures {
  readonly victim: Figures;
  /** Absent where there was none. */
  readonly aggressor?: Figures;
}

/** As many as a service with a dozen threads would open. */
const victimConnections = 64;

/** The victim counts only once the flood has found its level. */
const settlingMs = 700;

/** A victim at its normal load, alone or beside an aggressor; each has a generator of its own. */
export async function underFlood(
  { windowMs, warmUpMs }: Pick<Effort, 'windowMs' | 'warmUpMs'>,
  target: Target,
  victim: Caller,
  aggressor: Caller | undefined,
): Promise<FloodFigures> {
  const stream = (caller: Caller, name: string, connections: number) => ({ name, connections, ...caller });
  const calm = { windowMs, warmUpMs: warmUpMs + settlingMs };
  const flood =
    aggressor === undefined
      ? undefined
      : runLoad(
          {
            // Begins with the victim, and is still there when the victim has ended.
            ...planOf({ windowMs: windowMs + settlingMs, warmUpMs: calm.warmUpMs }, target, [
              stream(aggressor, 'aggressor', openLoopConnections),
            ]),
            niceness: floodNiceness,
          },
          target.pid,
        );
  const load = await runLoad(planOf(calm, target, [stream(victim, 'victim', victimConnections)]), target.pid);
  const figures = figuresOf(load, load.streams[0] as StreamResult);
  if (flood === undefined) return { victim: figures };
  const flooded = await flood;
  return { victim: figures, aggressor: figuresOf(flooded, flooded.streams[0] as StreamResult) };
}
