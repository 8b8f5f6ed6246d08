/**
 * The rule by which signatures of a key with several components count: `and` asks for all components, `or` for one of them,
 * `pq_only` for the post-quantum ones. For a key with one component `and` and `or` are the same.
 */
export const hybridModes = ['or', 'and', 'pq_only'] as const;

export type HybridMode = (typeof hybridModes)[number];

/** Phases of a migration to post-quantum signatures, in their order: `off` is classical, the others demand the mode of their name. */
export const pqPhases = ['off', ...hybridModes] as const;

export type PqPhase = (typeof pqPhases)[number];
