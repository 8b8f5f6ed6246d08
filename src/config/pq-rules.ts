import type { Config } from './fields.ts';

/** Settings of the post-quantum migration that contradict each other, or say nothing. */
export function findPqContradictions(
  { pqVerifyMode, pqProduceHybrid, pqTenants, pqRolloutPercent }: Config,
  problems: string[],
): void {
  if (!pqProduceHybrid && (pqVerifyMode === 'and' || Object.values(pqTenants).includes('and'))) {
    problems.push('KMS_PQ_PRODUCE_HYBRID=false makes signatures that the mode and refuses');
  }
  if (pqVerifyMode === 'none' && pqRolloutPercent < 100) {
    problems.push('KMS_PQ_ROLLOUT_PERCENT says nothing without KMS_PQ_VERIFY_MODE');
  }
}
