import { errorCode } from '../../core/private-file.ts';
import { ok, type Refused, refuse } from '../../core/result.ts';
import { formatKid } from '../../keys/kid.ts';
import type { CryptoOperation, KeyOperation, OperationParts, WorkOutcome } from '../operation.ts';
import { outputsOf } from '../sealing/encrypt.ts';
import { countEncryption, notOpened, planWithKey, wrapInfo } from '../sealing/one-key.ts';
import { activeDek, type DekMade, describe, noSuchDek } from './create-dek.ts';
import { type Dek, isDekId } from './dek.ts';
import type { KekRotated, KekRotationProgress } from './kek-rotation.ts';
import type { DekParts } from './parts.ts';
import { parseWrapped, wrappedText } from './wrapped-text.ts';

export interface KekWrapRequest {
  /** At most 64 KiB. */
  readonly plaintext: Uint8Array;
  readonly aad: Uint8Array;
}

export interface KekWrapped {
  readonly wrapped: string;
  readonly kekId: string;
  readonly kekVersion: number;
}

export interface KekUnwrapRequest {
  readonly wrapped: string;
  readonly aad: Uint8Array;
  /** The version of the KEK that wrapped it, where the caller names one: another one is refused. */
  readonly kid?: string;
}

export interface KekList {
  readonly keks: readonly {
    readonly kekId: string;
    readonly kekVersion: number;
    readonly state: 'current' | 'old' | 'destroyed';
    readonly createdAtMs: number;
  }[];
  readonly rotation: KekRotationProgress | undefined;
}

/** Callers' bytes, so that they are never those of a DEK. */
const callersAad = (aad: Uint8Array) => Buffer.concat([Buffer.from('intaglio::caller::'), aad]);
const noWrapping = refuse('BadRequest', 'wrapped: this service has not made it');

/** A caller's own bytes by the KEK. */
export function kekWrapOperation(
  parts: OperationParts,
  { keks }: DekParts,
): CryptoOperation<KekWrapRequest, KekWrapped> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'kek_wrap', scope: 'kms:wrap' },
    async plan({ plaintext, aad }, caller) {
      const kek = await keks.current(caller.actor);
      if (!kek.ok) return kek;
      const { version } = kek.value.version;
      // Before the wrapping is anybody's: the KEK has to stay for it.
      const refused = await keks.noteCallers(version);
      if (refused !== undefined) return refused;
      const planned = await planWithKey(parts, caller, kek.value.version.kid, {
        kind: () => 'wrap',
        item: (handle) =>
          ok({ inputs: [plaintext, wrapInfo(handle), callersAad(aad)], pricedBytes: plaintext.length }),
        ready: countEncryption,
      });
      if (!planned.ok) return planned;
      return ok({
        works: [planned.value.work],
        finish([outcome]) {
          const ran = outcome as WorkOutcome;
          if (!ran.ok) return ran;
          const [wrapped] = outputsOf(ran) as [Uint8Array];
          return ok({ wrapped: wrappedText({ kek: version, wrapped }), kekId: keks.id, kekVersion: version });
        },
      });
    },
  };
}

export function kekUnwrapOperation(
  parts: OperationParts,
  { keks }: DekParts,
): CryptoOperation<KekUnwrapRequest, { readonly plaintext: Uint8Array }> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'kek_unwrap', scope: 'kms:unwrap' },
    async plan({ wrapped: text, aad, kid: named }, caller) {
      const parsed = parseWrapped(text);
      if (parsed === undefined) return noWrapping;
      const { kek, wrapped } = parsed;
      const kid = formatKid(keks.id, kek);
      if (named !== undefined && named !== kid) return noWrapping;
      const planned = await planWithKey(parts, caller, kid, {
        kind: () => 'unwrap',
        item: (handle) =>
          ok({
            inputs: [wrapped, wrapInfo(handle), callersAad(aad)],
            ...{ pricedBytes: wrapped.length, recorded: [wrapped] },
          }),
        ready(work) {
          work.refusal = notOpened;
        },
      });
      // A version that was never there is none of this service's.
      if (!planned.ok) return planned.failure.code === 'NotFound' ? noWrapping : planned;
      return ok({
        works: [planned.value.work],
        finish([outcome]) {
          const ran = outcome as WorkOutcome;
          return ran.ok ? ok({ plaintext: outputsOf(ran)[0] as Uint8Array }) : ran;
        },
      });
    },
  };
}

export function readDekOperation({ deks, keks }: DekParts): KeyOperation<{ readonly id: string }, DekMade> {
  return {
    ...{ kind: 'keys', name: 'dek_read', scope: 'kms:read' },
    async run({ id }) {
      const found = await activeDek(deks.find(id));
      return found.ok ? ok(describe(keks.id, found.value.dek)) : found;
    },
  };
}

export interface DekPageAnswer {
  readonly deks: readonly Dek[];
  /** After which the next page begins. */
  readonly next: string | undefined;
}

const badAfter = refuse('BadRequest', 'after is the id of a DEK');
const deksPerPage = 100;

/** In the order of their ids, destroyed ones too. */
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

/** Every DEK by a new version of the KEK; answers when all are. `plainKek`: 32 bytes, where the configuration allows it. */
export function rotateKekOperation(
  { rotation, journal, allowPlainKek }: DekParts,
  givenKek: GivenKek,
): KeyOperation<{ readonly plainKek: Uint8Array | undefined }, KekRotated> {
  return {
    ...{ kind: 'keys', name: 'kek_rotate', scope: 'kms:rotate' },
    async run({ plainKek }, caller) {
      if (plainKek !== undefined && !allowPlainKek)
        return refuse('PolicyViolation', 'new_kek_hex: the configuration does not say allow_plain_kek');
      const given = plainKek === undefined ? undefined : givenKek(plainKek, caller);
      const recorded = await journal.record({ kind: 'kek_rotated', caller, facts: {} });
      if (!recorded.ok) return recorded;
      try {
        const rotated = await rotation.rotate(caller.actor, given);
        recorded.value.end(rotated.ok ? undefined : rotated);
        return rotated;
      } finally {
        // Its text in the request cannot be wiped; docs/dek.md says so.
        plainKek?.fill(0);
      }
    },
  };
}

/** A single DEK by the current version of the KEK, where it is wrapped by an older one. */
export function rewrapDekOperation({
  deks,
  keks,
  rotation,
  journal,
}: DekParts): KeyOperation<{ readonly id: string }, DekMade> {
  return {
    ...{ kind: 'keys', name: 'dek_rewrap', scope: 'kms:rotate' },
    async run({ id }, caller) {
      const found = await activeDek(deks.find(id));
      if (!found.ok) return found;
      const recorded = await journal.record({ kind: 'rewrapped', caller, facts: { dek: id } });
      if (!recorded.ok) return recorded;
      const refused = await rotation.rewrapOne(found.value, caller.actor);
      recorded.value.end(refused);
      if (refused !== undefined) return refused;
      const now = await activeDek(deks.find(id));
      return now.ok ? ok(describe(keks.id, now.value.dek)) : now;
    },
  };
}

/** A version of the KEK that comes in the clear. */
export type GivenKek = (
  plain: Uint8Array,
  caller: Parameters<KeyOperation<unknown, unknown>['run']>[1],
) => NonNullable<Parameters<DekParts['rotation']['rotate']>[1]>;

export function listKeksOperation({ keks, rotation }: DekParts): KeyOperation<unknown, KekList> {
  return {
    ...{ kind: 'keys', name: 'kek_list', scope: 'kms:read' },
    async run() {
      const versions = await keks.versions();
      if (!versions.ok) return versions;
      const listed = versions.value.map(({ version, state, createdAtMs }, index) => ({
        ...{ kekId: keks.id, kekVersion: version, createdAtMs },
        state: state === 'destroyed' ? state : index === 0 ? ('current' as const) : ('old' as const),
      }));
      return ok({ keks: listed, rotation: rotation.progress });
    },
  };
}

/**
 * The wrappings of a DEK go, and its snapshots: nothing decrypts what it encrypted. Copies of files elsewhere open as long as the
 * KEK's versions are there, so a rotation of the KEK ends these, too. Twice is as good as once.
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

/** Others that change the same DEK at the same moment; each turn lets one of them through. */
const maxTurns = 16;

function ended(record: { end(failed: Refused | undefined): void }, refused: Refused): Refused {
  record.end(refused);
  return refused;
}
