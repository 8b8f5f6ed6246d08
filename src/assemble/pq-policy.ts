import type { Config } from '../config/load.ts';
import type { PqPolicy } from '../policy/phases.ts';

const dayMs = 86_400_000;

/** The policy of the migration as these settings have it. */
export function pqPolicyOf({
  pqVerifyMode: phase,
  pqProduceHybrid: produceHybrid,
  pqRolloutPercent: rolloutPercent,
  pqTenants,
  pqCutover,
  pqGraceDays,
}: Config): PqPolicy {
  return {
    ...{ phase, produceHybrid, rolloutPercent },
    tenants: Object.keys(pqTenants).length === 0 ? undefined : pqTenants,
    grace:
      pqCutover === 'none' ? undefined : { madeBefore: pqCutover, until: pqCutover + pqGraceDays * dayMs },
  };
}
