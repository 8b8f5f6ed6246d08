import type { Scenario } from '../scenario.ts';
import { auditLog } from './audit-log.ts';
import { batch } from './batch.ts';
import { client } from './client.ts';
import { coldStart } from './cold-start.ts';
import { comparators } from './comparators.ts';
import { dek } from './dek.ts';
import { dekScale } from './dek-scale.ts';
import { engine } from './engine.ts';
import { fairness } from './fairness.ts';
import { hsm } from './hsm.ts';
import { kmsV1 } from './kms-v1.ts';
import { kmsV1Scale } from './kms-v1-scale.ts';
import { latencyCurve } from './latency-curve.ts';
import { listeners } from './listeners.ts';
import { loadStep } from './load-step.ts';
import { memory } from './memory.ts';
import { outage } from './outage.ts';
import { overload } from './overload.ts';
import { saturation } from './saturation.ts';
import { surface } from './surface.ts';
import { tenants } from './tenants.ts';

/** In the order in which they run, and in which a reader wants the answers. */
export const scenarios: readonly Scenario<unknown>[] = [
  engine,
  saturation,
  latencyCurve,
  batch,
  surface,
  kmsV1,
  kmsV1Scale,
  dek,
  dekScale,
  comparators,
  fairness,
  tenants,
  overload,
  loadStep,
  outage,
  listeners,
  client,
  hsm,
  auditLog,
  coldStart,
  memory,
];
