import { errorCode } from '../../core/private-file.ts';
import { ok, type Refused, refuse } from '../../core/result.ts';
import type { KeyOperation } from '../operation.ts';
import { type Dek, isDekId } from './dek.ts';
import { noSuchDek } from './dek-store.ts';
import { type DescribedDek, describeDek } from './described-dek.ts';
import type { DekParts } from './parts.ts';

export function readDekOperation({
  deks,
  keks,
}: DekParts): KeyOperation<{ readonly id: string }, DescribedDek> {
  return {
    ...{ kind: 'keys', name: 'dek_read', scope: 'kms:read' },
    async run({ id }) {
      const found = await deks.findActive(id);
      return found.ok ? ok(describeDek(keks.id, found.value.dek)) : found;
    },
  };
}

export interface DekPageAnswer {
  readonly deks: readonly Dek[];
  /** The id after which the next page begins; undefined behind the last page. */
  readonly next: string | undefined;
}

const badAfter = refuse('BadRequest', 'after is the id of a DEK');
const deksPerPage = 100;

/** Lists DEKs in the order of their ids, destroyed ones too. */
export function listDeksOperation({
  deks,
}: DekParts): KeyOperation<{ readonly after: string | undefined }, DekPageAnswer> {
  return {
    ...{ kind: 'keys', name: 'dek_list', scope: 'kms:read' },
    async run({ after }) {
      if (after !== undefined && !isDekId(after)) return badAfter;
      const page = await deks.page(after, deksPerPage);
      return page.ok ? ok({ deks: page.value.deks.map(({ dek }) => dek), next: page.value.last }) : page;
    },
  };
}

/** Rewraps one DEK by the current version of the KEK. One that is under it already stays as it is. */
export function rewrapDekOperation({
  deks,
  keks,
  rotation,
  journal,
}: DekParts): KeyOperation<{ readonly id: string }, DescribedDek> {
  return {
    ...{ kind: 'keys', name: 'dek_rewrap', scope: 'kms:rotate' },
    async run({ id }, caller) {
      const found = await deks.findActive(id);
      if (!found.ok) return found;
      const recorded = await journal.record({ kind: 'rewrapped', caller, facts: { dek: id } });
      if (!recorded.ok) return recorded;
      const refused = await rotation.rewrapOne(found.value, caller.actor);
      recorded.value.end(refused);
      if (refused !== undefined) return refused;
      const now = await deks.findActive(id);
      return now.ok ? ok(describeDek(keks.id, now.value.dek)) : now;
    },
  };
}

/**
 * Removes the wrappings of a DEK and its snapshots: nothing decrypts its ciphertexts any more. Copies of files elsewhere open
 * until the KEK is rotated and its old versions are pruned. Idempotent.
 */
export function destroyDekOperation({
  deks,
  snapshots,
  journal,
}: DekParts): KeyOperation<{ readonly id: string }, { readonly id: string }> {
  return {
    ...{ kind: 'keys', name: 'dek_destroy', scope: 'kms:destroy' },
    async run({ id }, caller) {
      const found = await deks.find(id);
      if (!found.ok) return found;
      if (found.value === undefined) return noSuchDek;
      const pruned = async () => {
        try {
          await snapshots.removeOf(id);
          return ok({ id });
        } catch (cause) {
          return refuse(
            'StoreUnavailable',
            `the DEK is destroyed, and its snapshots could not be removed (${errorCode(cause)}): ask again`,
            1_000,
          );
        }
      };
      if (found.value.dek.state === 'destroyed') return pruned();
      const recorded = await journal.record({ kind: 'destroyed', caller, facts: { dek: id } });
      if (!recorded.ok) return recorded;
      for (let turn = 0; ; turn++) {
        const now = await deks.find(id);
        if (!now.ok) return ended(recorded.value, now);
        if (now.value === undefined) return ended(recorded.value, noSuchDek);
        const put = await deks.put({ ...now.value.dek, state: 'destroyed', versions: [] }, now.value);
        if (!put.ok) return ended(recorded.value, put);
        if (put.value === 'put') break;
        if (turn === maxTurns) return ended(recorded.value, refuse('StoreUnavailable', undefined, 1_000));
      }
      recorded.value.end(undefined);
      return pruned();
    },
  };
}

/** Each turn lets another writer of the same DEK through. */
const maxTurns = 16;

function ended(record: { end(failed: Refused | undefined): void }, refused: Refused): Refused {
  record.end(refused);
  return refused;
}
