import { ok, type Result, refuse } from '../../core/result.ts';
import type { KeyOperation } from '../operation.ts';
import { type DekMade, dekDestroyed, describe } from './create-dek.ts';
import type { Dek, DekVersion } from './dek.ts';
import type { DekParts } from './parts.ts';

const doesNotOpen = refuse('Conflict', 'no version in the snapshot opens under the KEKs that are there');
const changed = refuse('Conflict', 'the DEK was changed meanwhile');

/**
 * The versions of a DEK as they were before the rotation of the KEK to version `from`, by default the last one that has a snapshot
 * of it. They take the place of the same versions in the record, which may be damaged or missing; versions made since then stay.
 */
export function restoreDekOperation({
  deks,
  keks,
  snapshots,
  rewrapper,
  journal,
}: DekParts): KeyOperation<{ readonly id: string; readonly from: number | undefined }, DekMade> {
  return {
    ...{ kind: 'keys', name: 'dek_restore', scope: 'kms:rotate' },
    async run({ id, from }, caller) {
      const revision = await deks.revisionOf(id);
      if (!revision.ok) return revision;
      const found = await deks.find(id);
      // The record that cannot be read is Internal, and why somebody is here.
      if (!found.ok && found.failure.code !== 'Internal') return found;
      const record = found.ok ? found.value : undefined;
      if (record?.dek.state === 'destroyed') return dekDestroyed;
      const snapshot = await snapshotOf(id, from);
      if (!snapshot.ok) return snapshot;
      const blank = { dek: { ...snapshot.value.dek, versions: [] }, revision: revision.value };
      const there = record ?? blank;
      const kek = await keks.current(caller.actor);
      if (!kek.ok) return kek;
      const current = kek.value.version.version;
      const rewrapped = await rewrapper.rewrapped([{ dek: snapshot.value.dek, revision: 0 }], current);
      if (!rewrapped.ok) return rewrapped;
      const opened = (rewrapped.value[0] as Dek).versions.filter((version) => version.kek === current);
      if (opened.length === 0) return doesNotOpen;
      const restored = { ...there.dek, versions: merged(there.dek.versions, opened) };
      const facts = { dek: id, from: snapshot.value.from };
      const recorded = await journal.record({ kind: 'restored', caller, facts });
      if (!recorded.ok) return recorded;
      const put = await deks.put(restored, there);
      const refused = put.ok ? (put.value === 'put' ? undefined : changed) : put;
      recorded.value.end(refused);
      return refused ?? ok(describe(keks.id, restored));
    },
  };

  async function snapshotOf(
    id: string,
    from: number | undefined,
  ): Promise<Result<{ dek: Dek; from: number }>> {
    const targets: number[] = [];
    for (const rotation of await snapshots.list()) if (await rotation.has(id)) targets.push(rotation.target);
    const target = from ?? targets.at(-1);
    if (target === undefined || !targets.includes(target))
      return refuse(
        'NotFound',
        targets.length === 0
          ? 'there is no snapshot of this DEK in kms-deks-backup'
          : `snapshots of this DEK: of the rotations to ${targets.join(', ')}`,
      );
    const dek = await snapshots.read(id, target);
    return dek === undefined ? refuse('Conflict', 'the snapshot cannot be read') : ok({ dek, from: target });
  }
}

/** Those of the snapshot, and what it has not. */
function merged(there: readonly DekVersion[], opened: readonly DekVersion[]): readonly DekVersion[] {
  const numbers = new Set(opened.map(({ version }) => version));
  return [...there.filter(({ version }) => !numbers.has(version)), ...opened].sort(
    (a, b) => a.version - b.version,
  );
}
