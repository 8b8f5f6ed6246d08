/** True if one thing that the service needs is there. Called at every /readyz: cheap, and must not throw. */
export type Probe = () => boolean;

/** `required`: without it the service is not ready. `wanted`: without it the service serves, and says so. */
export type Need = 'required' | 'wanted';

export interface Readiness {
  readonly ready: boolean;
  /** Names of required conditions that do not hold, sorted. */
  readonly missing: readonly string[];
  /** Names of wanted conditions that do not hold, sorted. */
  readonly degraded: readonly string[];
}

/**
 * Readiness as a set of named conditions; each part of the service registers its own. The name is what an operator
 * reads when the condition does NOT hold: `store`, `engine`, `draining`, `memory_unlocked`.
 */
export interface Health {
  /** The returned function takes the condition back. Registering a name twice is a bug and throws. */
  condition(name: string, need: Need, holds: Probe): () => void;
  readiness(): Readiness;
}

export function createHealth(): Health {
  const conditions = new Map<string, { need: Need; holds: Probe }>();
  return {
    condition(name, need, holds) {
      if (conditions.has(name)) throw new Error(`condition ${name} is registered already`);
      conditions.set(name, { need, holds });
      return () => {
        conditions.delete(name);
      };
    },
    readiness() {
      const missing: string[] = [];
      const degraded: string[] = [];
      for (const [name, { need, holds }] of conditions) {
        if (!holds()) (need === 'required' ? missing : degraded).push(name);
      }
      return { ready: missing.length === 0, missing: missing.sort(), degraded: degraded.sort() };
    },
  };
}
