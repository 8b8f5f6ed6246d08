import type { Scenario } from '../scenario.ts';
import { batch } from './batch.ts';
import { engine } from './engine.ts';
import { fairness } from './fairness.ts';
import { latencyCurve } from './latency-curve.ts';
import { overload } from './overload.ts';
import { saturation } from './saturation.ts';
import { tenants } from './tenants.ts';

/** In the order in which they run, and in which a reader wants the answers. */
export const scenarios: readonly Scenario<unknown>[] = [
  engine,
  saturation,
  latencyCurve,
  batch,
  fairness,
  tenants,
  overload,
];
