import { createHash } from 'node:crypto';
import type { KeyHead, RotationPlan } from './record.ts';

const dayMs = 86_400_000;

/** A key whose schedule asks for something. */
export interface DueKey {
  readonly id: string;
  readonly tenant: string;
  /** The version that was current when it was last seen. */
  readonly version: number;
}

interface Scheduled extends DueKey {
  readonly dueAtMs: number;
  readonly keep: number | undefined;
  readonly sinceMs: number;
  /** A key that is past its end gets no new versions. */
  readonly validUntilMs: number | undefined;
  /** The version that was current when its old ones were last destroyed. */
  readonly prunedAt?: number;
}

/**
 * The keys that have a schedule. It is made from their heads alone: found again at each start, it forgets nothing, and no
 * key without a schedule is in it. About 200 bytes a key.
 */
export class RotationSchedule {
  readonly #keys = new Map<string, Scheduled>();

  /** The newest state of a key. An older one that comes later, from a scan, changes nothing. */
  heard(head: KeyHead): void {
    const { id, tenant, rotation, state, currentVersion: version, validUntilMs } = head;
    const known = this.#keys.get(id);
    if (known !== undefined && known.version > version) return;
    const prunedAt = known?.version === version ? known.prunedAt : undefined;
    if (rotation === undefined || state === 'destroyed') {
      this.#keys.delete(id);
      return;
    }
    const { keepVersions: keep, sinceMs } = rotation;
    this.#keys.set(id, {
      ...{ id, tenant, version, keep, sinceMs, dueAtMs: dueAtMs(id, rotation), validUntilMs },
      ...(prunedAt === undefined ? undefined : { prunedAt }),
    });
  }

  get size(): number {
    return this.#keys.size;
  }

  /** Keys whose current version is to be replaced, the longest due first. */
  due(nowMs: number): readonly DueKey[] {
    return [...this.#keys.values()]
      .filter((key) => key.dueAtMs <= nowMs && (key.validUntilMs === undefined || nowMs < key.validUntilMs))
      .sort((a, b) => a.dueAtMs - b.dueAtMs);
  }

  /** Keys whose days begin after this moment: the clock was ahead when they were made or rotated. */
  beginningAfter(ms: number): readonly string[] {
    return [...this.#keys.values()].filter(({ sinceMs }) => sinceMs > ms).map(({ id }) => id);
  }

  /** Nothing older is there any more. */
  pruned(id: string, version: number): void {
    const key = this.#keys.get(id);
    if (key !== undefined && key.version === version) this.#keys.set(id, { ...key, prunedAt: version });
  }

  /** Keys that have more versions than they keep, where the newest has been there for longer than the grace. */
  overfull(nowMs: number, graceMs: number): readonly (DueKey & { readonly keep: number })[] {
    return [...this.#keys.values()].flatMap(({ keep, sinceMs, prunedAt, ...key }) =>
      keep !== undefined && key.version > keep && prunedAt !== key.version && nowMs >= sinceMs + graceMs
        ? [{ ...key, keep }]
        : [],
    );
  }
}

/**
 * A key is due up to a tenth of its time, and at most a day, before that is over: keys that were made together are not rotated
 * together, and none becomes older than its schedule says. The same key is always due at the same moment.
 */
export function dueAtMs(id: string, { afterDays, sinceMs }: RotationPlan): number {
  const spreadMs = Math.min((afterDays * dayMs) / 10, dayMs);
  const share = createHash('sha256').update(id).digest().readUInt32BE(0) / 2 ** 32;
  return Math.floor(sinceMs + afterDays * dayMs - share * spreadMs);
}
