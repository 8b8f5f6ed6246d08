import type { Component } from '../algorithms/descriptor.ts';
import type { HybridMode } from '../core/hybrid-mode.ts';

export type { HybridMode };

export interface CheckedSignature {
  readonly kid: string;
  readonly components: readonly Component[];
  /** The component that this signature was checked with; undefined when it fits none. */
  readonly component: Component | undefined;
  readonly valid: boolean;
  /** Its key needs no more than `or`, whatever the mode. */
  readonly excused?: boolean;
}

export interface Judgement {
  readonly ok: boolean;
  /** Of what was signed, whoever is excused. */
  readonly satisfiedMode: HybridMode | 'none';
  /** The reason for which valid signatures do not satisfy the mode: one is missing, or a key has nothing post-quantum. */
  readonly fault: 'stripped' | 'downgraded' | undefined;
}

/** Every key that is named has to satisfy the mode. Under `and` and `pq_only` one invalid signature spoils its key. */
export function judge(signatures: readonly CheckedSignature[], mode: HybridMode): Judgement {
  const groups = [...groupByKid(signatures).values()];
  const strictest = (['and', 'pq_only', 'or'] as const).find((asked) =>
    groups.every((group) => satisfies(group, asked)),
  );
  const failed = groups.filter((group) => !satisfies(group, modeFor(group, mode)));
  const allValid = signatures.every(({ valid }) => valid);
  return {
    ok: failed.length === 0,
    satisfiedMode: strictest ?? 'none',
    fault: allValid ? worstFault(failed.map((group) => faultOf(group, mode))) : undefined,
  };
}

/** The fault that is told where keys have several: the same in every order of the signatures. */
export function worstFault(
  faults: readonly ('stripped' | 'downgraded')[],
): 'stripped' | 'downgraded' | undefined {
  return faults.includes('downgraded') ? 'downgraded' : faults[0];
}

/** The mode that the signatures by one key have to satisfy. */
export function modeFor(group: readonly CheckedSignature[], mode: HybridMode): HybridMode {
  return group[0]?.excused === true ? 'or' : mode;
}

function faultOf(group: readonly CheckedSignature[], mode: HybridMode): 'stripped' | 'downgraded' {
  const postQuantum = (group[0] as CheckedSignature).components.some(isPostQuantum);
  return mode === 'pq_only' && !postQuantum ? 'downgraded' : 'stripped';
}

export function isPostQuantum({ postQuantum }: Component): boolean {
  return postQuantum;
}

/** A composite is both. */
export function isClassical({ postQuantum, composite }: Component): boolean {
  return !postQuantum || composite === true;
}

/** True if the signatures by one key, of which there is at least one, satisfy the mode. */
export function satisfies(group: readonly CheckedSignature[], mode: HybridMode): boolean {
  const { components } = group[0] as CheckedSignature;
  const holds = (component: Component) => group.some((sig) => sig.valid && sig.component === component);
  switch (mode) {
    case 'or':
      return components.some(holds);
    case 'and':
      return components.every(holds) && group.every((sig) => sig.valid);
    case 'pq_only': {
      const postQuantum = components.filter(isPostQuantum);
      const spoiled = group.some((sig) => !sig.valid && sig.component?.postQuantum !== false);
      return postQuantum.length > 0 && postQuantum.every(holds) && !spoiled;
    }
  }
}

function groupByKid(signatures: readonly CheckedSignature[]): Map<string, CheckedSignature[]> {
  const groups = new Map<string, CheckedSignature[]>();
  for (const signature of signatures) {
    const group = groups.get(signature.kid);
    if (group === undefined) groups.set(signature.kid, [signature]);
    else group.push(signature);
  }
  return groups;
}
