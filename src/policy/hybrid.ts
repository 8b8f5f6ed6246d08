import type { Component } from '../algorithms/descriptor.ts';
import type { HybridMode } from '../core/hybrid-mode.ts';

export type { HybridMode };

export interface CheckedSignature {
  readonly kid: string;
  readonly components: readonly Component[];
  /** The component that this signature was checked with; undefined when it fits none. */
  readonly component: Component | undefined;
  readonly valid: boolean;
}

export interface Judgement {
  readonly ok: boolean;
  readonly satisfiedMode: HybridMode | 'none';
}

/** Every key that is named has to satisfy the mode. Under `and` and `pq_only` one invalid signature spoils its key. */
export function judge(signatures: readonly CheckedSignature[], mode: HybridMode): Judgement {
  const satisfied = (asked: HybridMode) =>
    [...groupByKid(signatures).values()].every((group) => satisfies(group, asked));
  const strictest = (['and', 'pq_only', 'or'] as const).find(satisfied);
  return { ok: satisfied(mode), satisfiedMode: strictest ?? 'none' };
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
      const postQuantum = components.filter((component) => component.postQuantum);
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
