import type { Clock } from '../../../core/clock.ts';
import { ok, type Result } from '../../../core/result.ts';
import type { DekStore } from '../dek-store.ts';
import type { Keks } from '../keks.ts';
import type { SnapshotAges } from './snapshot-ages.ts';
import { type DekSnapshots, onSnapshotDisk } from './snapshots.ts';

export interface KekPruningParts {
  readonly deks: DekStore;
  readonly keks: Keks;
  readonly snapshots: DekSnapshots;
  readonly clock: Clock;
  /** Age at which a snapshot goes, in milliseconds. An old KEK goes with the last snapshot that needs it. */
  readonly keepSnapshotsMs: number;
  /** For the operator's log. Must not throw. */
  readonly report: (event: KekPruningEvent) => void;
}

export type KekPruningEvent =
  /** Some snapshots could not be read or removed. They and their KEKs stay until the next time. */
  | { readonly kind: 'unpruned'; readonly problem: string }
  | { readonly kind: 'destroyed'; readonly version: number };

/** Removes old snapshots, and then destroys versions of the KEK that nothing needs. Reports instead of rejecting. */
export async function pruneKeks(parts: KekPruningParts, ages: SnapshotAges, actor: string): Promise<void> {
  const { snapshots, clock, report } = parts;
  if (ages.look())
    report({ kind: 'unpruned', problem: 'the clock went ahead by more than an hour: none goes for a day' });
  const refused = await onSnapshotDisk(async () => {
    for (const rotation of await snapshots.list()) {
      const fate = ages.fateOf(rotation);
      if (fate === 'goes') await rotation.remove();
      // The clock was ahead when they were written: their time begins now.
      else if (fate === 'is_of_the_future') await rotation.stamp(clock.utcMs());
    }
    await destroyUnneeded(parts, actor);
  });
  if (refused !== undefined) report({ kind: 'unpruned', problem: refused.failure.hint ?? '' });
}

async function destroyUnneeded(
  { deks, keks, snapshots, report }: KekPruningParts,
  actor: string,
): Promise<void> {
  const versions = await keks.versions();
  if (!versions.ok) return;
  const [current, ...old] = versions.value;
  const alive = old.filter(({ state }) => state === 'active').map(({ version }) => version);
  const rotations = await snapshots.list();
  if (current === undefined || (alive.length === 0 && rotations.length === 0)) return;
  const found = await neededByDeks(deks);
  if (!found.ok) return;
  const { needed, destroyed, unread } = found.value;
  // A kill can have come between a DEK's destruction and this.
  for (const rotation of rotations) await rotation.removeOf(destroyed);
  // Unreadable records may need any KEK, and a backup may bring them back.
  if (unread > 0) return;
  const kept = await snapshots.list();
  for (const version of alive) {
    if (needed.has(version) || kept.some((rotation) => rotation.needs(version))) continue;
    if (!(await keks.retire(version))) continue;
    if ((await keks.destroy(actor, version)) === undefined) report({ kind: 'destroyed', version });
  }
}

interface NeededByDeks {
  /** Versions of the KEK. */
  readonly needed: Set<number>;
  /** Ids of DEKs. */
  readonly destroyed: ReadonlySet<string>;
  readonly unread: number;
}

async function neededByDeks(deks: DekStore): Promise<Result<NeededByDeks>> {
  const needed = new Set<number>();
  const destroyed = new Set<string>();
  let unread = 0;
  let after: string | undefined;
  do {
    const page = await deks.page(after, 1_000);
    if (!page.ok) return page;
    unread += page.value.unread;
    for (const { dek } of page.value.deks) {
      if (dek.state === 'destroyed') destroyed.add(dek.id);
      for (const { kek } of dek.versions) needed.add(kek);
    }
    after = page.value.last;
  } while (after !== undefined);
  return ok({ needed, destroyed, unread });
}
