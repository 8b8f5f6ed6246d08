import type { Component } from '../algorithms/descriptor.ts';
import type { HybridMode } from '../core/hybrid-mode.ts';
import { type Refused, refuse } from '../core/result.ts';
import { isClassical, isPostQuantum, worstFault } from './hybrid.ts';

/** A key of a call, and the components that signatures in the bundle are by, whether they hold or not. */
export interface BundleKey {
  readonly kid: string;
  readonly components: readonly Component[];
  readonly signedBy: readonly Component[];
}

/** The reason for which a bundle cannot satisfy a mode, whatever its signatures are. */
export type BundleFault =
  /** A signature of a key is missing. */
  | 'stripped'
  /** Nothing in it is post-quantum. */
  | 'downgraded'
  /** What one key lacks is there by another key. */
  | 'mixed';

/**
 * The fault of a bundle against the mode of policy; `or` takes every bundle. `and` asks each key for all its components, and the
 * bundle for a classical and a post-quantum one; `pq_only` asks each key for its post-quantum ones.
 */
export function bundleFault(keys: readonly BundleKey[], mode: HybridMode): BundleFault | undefined {
  if (mode === 'or') return undefined;
  return mode === 'and' ? faultOfBoth(keys) : faultOfPostQuantum(keys);
}

function faultOfBoth(keys: readonly BundleKey[]): BundleFault | undefined {
  const signed = keys.flatMap(({ signedBy }) => signedBy);
  const postQuantum = signed.some(isPostQuantum);
  const classical = signed.some(isClassical);
  const incomplete = keys.some(
    ({ components, signedBy }) => !components.every((one) => signedBy.includes(one)),
  );
  if (incomplete) return postQuantum && classical ? 'mixed' : 'stripped';
  if (!postQuantum) return 'downgraded';
  return classical ? undefined : 'stripped';
}

function faultOfPostQuantum(keys: readonly BundleKey[]): BundleFault | undefined {
  const faults = keys.flatMap(({ components, signedBy }): ('downgraded' | 'stripped')[] => {
    const wanted = components.filter(isPostQuantum);
    if (wanted.length === 0) return ['downgraded'];
    return wanted.every((one) => signedBy.includes(one)) ? [] : ['stripped'];
  });
  if (faults.length === 0) return undefined;
  return keys.some(({ signedBy }) => signedBy.some(isPostQuantum)) ? 'mixed' : worstFault(faults);
}

const faultHints: Readonly<Record<BundleFault, string>> = {
  stripped: 'stripped: policy asks for a signature that is missing',
  downgraded: 'downgraded: policy asks for a post-quantum signature',
  mixed: 'mixed: policy asks each key for its own signatures',
};

/** 403, and counted for the migration. */
export function refuseByPqPolicy(hint: string): Refused {
  const { failure } = refuse('PolicyViolation', hint);
  return { ok: false, failure: { ...failure, countedAs: 'pq_policy' } };
}

const refusals = Object.fromEntries(
  Object.entries(faultHints).map(([fault, hint]) => [fault, refuseByPqPolicy(hint)]),
) as Readonly<Record<BundleFault, Refused>>;

export function refusalOfFault(fault: BundleFault): Refused {
  return refusals[fault];
}
