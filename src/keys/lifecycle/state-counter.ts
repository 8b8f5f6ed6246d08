import type { KeyHead, KeyVersion } from '../record.ts';
import { type LifecycleState, lifecycleOf } from './states.ts';

/** Versions of one algorithm in one state. */
export interface StateCount {
  readonly alg: string;
  readonly state: LifecycleState;
  readonly count: number;
}

/** About 200 bytes each. Later ones are not counted; a service with more has other means. */
const maxVersions = 1_000_000;

type Head = Pick<KeyHead, 'alg' | 'state' | 'currentVersion' | 'validUntilMs'>;
type Version = Pick<KeyVersion, 'version' | 'state' | 'createdAtMs' | 'replacedAtMs' | 'archivedAtMs'>;

interface Known {
  readonly head: Head;
  readonly version: Version;
  readonly revision: number;
}

/** Counts versions of keys with a placement by their states, which change with time alone too. */
export class StateCounter {
  readonly #versions = new Map<string, Known>();

  /** The newest writing of a version. An older one that comes later, from a scan, changes nothing. */
  heard(head: KeyHead, { id, version, state, createdAtMs, revision, ...more }: KeyVersion): void {
    if (head.placement === undefined) return;
    const name = `${id}#v${version}`;
    const known = this.#versions.get(name);
    if (known === undefined ? this.#versions.size >= maxVersions : known.revision > revision) return;
    const { replacedAtMs, archivedAtMs } = more;
    this.#versions.set(name, {
      head: {
        ...{ alg: head.alg, state: head.state, currentVersion: head.currentVersion },
        ...(head.validUntilMs === undefined ? undefined : { validUntilMs: head.validUntilMs }),
      },
      version: {
        ...{ version, state, createdAtMs },
        ...(replacedAtMs === undefined ? undefined : { replacedAtMs }),
        ...(archivedAtMs === undefined ? undefined : { archivedAtMs }),
      },
      revision,
    });
  }

  /** A walk over all of them: 100,000 take about 10 ms. */
  counts(nowMs: number, graceMs: number): readonly StateCount[] {
    const counts = new Map<string, { alg: string; state: LifecycleState; count: number }>();
    for (const { head, version } of this.#versions.values()) {
      const state = lifecycleOf(head, version, nowMs, graceMs);
      const name = `${head.alg} ${state}`;
      const known = counts.get(name);
      if (known === undefined) counts.set(name, { alg: head.alg, state, count: 1 });
      else known.count++;
    }
    return [...counts.values()];
  }
}
