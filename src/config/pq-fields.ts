import { type PqPhase, pqPhases } from '../core/hybrid-mode.ts';
import { field } from './field.ts';
import { boolean, integer, oneOf } from './kinds.ts';
import { optionalMoment, phasesByTenant } from './pq-kinds.ts';

/** Settings of the migration to post-quantum signatures. */
export const pqFields = {
  pqVerifyMode: field<'none' | PqPhase>(
    'KMS_PQ_VERIFY_MODE',
    oneOf('none', ...pqPhases),
    'none',
    'The phase of the migration to post-quantum signatures, and the weakest mode that a verification may ask for; docs/hybrid.md. `off` is classical, `or` takes either signature, `and` needs both, `pq_only` counts post-quantum ones alone. `none` demands nothing: hybrid keys sign with all their parts, and each call says its mode, `and` where it says none.',
    'reload',
  ),
  pqProduceHybrid: field(
    'KMS_PQ_PRODUCE_HYBRID',
    boolean,
    true,
    'Whether a hybrid key signs with both its parts where the call says neither a mode nor an alg. `false`: in the phases `off` and `or` with the classical one alone, in `pq_only` with the post-quantum one alone; refused with `and`. Both parts keep the way back to the phase before open.',
    'reload',
  ),
  pqRolloutPercent: field(
    'KMS_PQ_ROLLOUT_PERCENT',
    integer(0, 100),
    100,
    'The part of all pairs of tenant and purpose that follow KMS_PQ_VERIFY_MODE; the others follow the phase before it. Each pair has its place for good: the first 4 bytes of the SHA-256 of `<tenant>/<purpose>`, as a big-endian number modulo 100, below this number.',
    'reload',
  ),
  pqTenants: field<Readonly<Record<string, PqPhase>>>(
    'KMS_PQ_TENANTS',
    phasesByTenant,
    { text: 'none', from: () => ({}) },
    'Phases of single tenants, or of one purpose of a tenant, whatever the percentage: acme=and,acme/tls=off. The entry with the purpose goes before the other.',
    'reload',
  ),
  pqCutover: field<'none' | number>(
    'KMS_PQ_CUTOVER',
    optionalMoment,
    'none',
    'The moment from which classical keys count as new. In the phases `and` and `pq_only` a version that was made before it verifies by its classical signature alone for KMS_PQ_GRACE_DAYS after it. `none`: no grace.',
    'reload',
  ),
  pqGraceDays: field(
    'KMS_PQ_GRACE_DAYS',
    integer(0, 3_650),
    90,
    'Days of grace after KMS_PQ_CUTOVER. 90 is what documents that live a quarter of a year need.',
    'reload',
  ),
};
