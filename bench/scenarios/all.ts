import type { Scenario } from '../scenario.ts';
import { batch } from './batch.ts';
import { engine } from './engine.ts';
import { latencyCurve } from './latency-curve.ts';
import { saturation } from './saturation.ts';

/** In the order in which they run, and in which a reader wants the answers. */
export const scenarios: readonly Scenario<unknown>[] = [engine, saturation, latencyCurve, batch];
