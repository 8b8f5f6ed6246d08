import type { Algorithm, Component } from '../algorithms/descriptor.ts';
import type { Clock } from '../core/clock.ts';
import { ok, type Refused, type Result } from '../core/result.ts';
import type { KeyHandle } from '../keys/keyring.ts';
import { type BundleKey, bundleFault, refusalOfFault, refuseByPqPolicy } from '../policy/bundle.ts';
import { isWeaker } from '../policy/consult.ts';
import { type HybridMode, isPostQuantum } from '../policy/hybrid.ts';
import {
  type Demand,
  demandOn,
  demandsAnything,
  type NamedKey,
  type PqPolicy,
  phaseOf,
  signsByDefault,
} from '../policy/phases.ts';

interface MigrationParts {
  readonly pqPolicy: PqPolicy;
  readonly clock: Pick<Clock, 'utcMs'>;
}

/** A signature of a bundle, whether it was given or is to be made; `component` is undefined where it fits none of its key. */
export interface BundleSignature {
  readonly handle: KeyHandle;
  readonly component: Component | undefined;
}

const tooWeak = refuseByPqPolicy('this mode is weaker than the policy of the service');

/** The mode by which given signatures count, and the places of those that are excused from it; or the refusal of what policy forbids. */
export function judgedMode(
  parts: MigrationParts,
  signatures: readonly BundleSignature[],
  asked: HybridMode | undefined,
  ruled: HybridMode | undefined,
): Result<{ readonly mode: HybridMode; readonly excused: readonly number[] }> {
  if (ruled === undefined && !demandsAnything(parts.pqPolicy))
    return ok({ mode: asked ?? 'and', excused: [] });
  const demand = demandOf(parts, signatures, ruled);
  const refused = refusalOf(demand, signatures, asked);
  if (refused !== undefined) return refused;
  return ok(
    asked === undefined
      ? { mode: demand.standard, excused: signatures.flatMap((_, n) => (demand.excused[n] ? [n] : [])) }
      : { mode: asked, excused: [] },
  );
}

/** The refusal of signatures that policy would not let verify. Nobody has grace to make them. */
export function refusalOfSigning(
  { pqPolicy, clock }: MigrationParts,
  signatures: readonly BundleSignature[],
  asked: HybridMode | undefined,
): Refused | undefined {
  if (!demandsAnything(pqPolicy)) return undefined;
  const demand = demandOf({ pqPolicy: { ...pqPolicy, grace: undefined }, clock }, signatures, undefined);
  return refusalOf(demand, signatures, asked);
}

/** True if this part of a key signs where the call says neither a mode nor an alg. */
export function signsUnasked(
  { pqPolicy }: MigrationParts,
  { head, algorithm }: KeyHandle,
  part: Component,
): boolean {
  if (!demandsAnything(pqPolicy)) return true;
  return signsByDefault(pqPolicy, phaseOf(pqPolicy, head.tenant, head.purpose), algorithm.components, part);
}

function demandOf(
  { pqPolicy, clock }: MigrationParts,
  signatures: readonly BundleSignature[],
  ruled: HybridMode | undefined,
): Demand {
  const keys = signatures.map(({ handle: { head, version, algorithm } }): NamedKey => {
    const { tenant, purpose } = head;
    return { tenant, purpose, components: algorithm.components, createdAtMs: version.createdAtMs };
  });
  return demandOn(pqPolicy, keys, ruled, () => clock.utcMs());
}

function refusalOf(
  { mode, excused }: Demand,
  signatures: readonly BundleSignature[],
  asked: HybridMode | undefined,
): Refused | undefined {
  if (mode === undefined) return undefined;
  if (asked !== undefined && isWeaker(asked, mode)) return tooWeak;
  // A classical key in its grace gives `and` its classical half, and has nothing that `pq_only` could ask for.
  const counted = mode === 'pq_only' ? signatures.filter((_, n) => !excused[n]) : signatures;
  const fault = bundleFault(bundleOf(counted), mode);
  return fault === undefined ? undefined : refusalOfFault(fault);
}

function bundleOf(signatures: readonly BundleSignature[]): BundleKey[] {
  const keys = new Map<string, BundleKey & { readonly signedBy: Component[] }>();
  for (const { handle, component } of signatures) {
    const { kid } = handle.version;
    const key = keys.get(kid) ?? { kid, components: handle.algorithm.components, signedBy: [] };
    keys.set(kid, key);
    if (component !== undefined) key.signedBy.push(component);
  }
  return [...keys.values()];
}

const outOfTime = refuseByPqPolicy('policy lets no new classical key of this purpose verify');

/** The refusal of a new key, or a new version, whose signatures no phase would let verify. */
export function refusalOfNewKey(
  { pqPolicy }: Pick<MigrationParts, 'pqPolicy'>,
  tenant: string,
  purpose: string,
  { kind, components }: Algorithm,
): Refused | undefined {
  if (kind !== 'signature' || components.some(isPostQuantum)) return undefined;
  return phaseOf(pqPolicy, tenant, purpose) === 'pq_only' ? outOfTime : undefined;
}
