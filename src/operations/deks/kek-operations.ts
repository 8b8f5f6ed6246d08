import { ok, refuse } from '../../core/result.ts';
import { formatKid } from '../../keys/kid.ts';
import type { CryptoOperation, KeyOperation, OperationParts, WorkOutcome } from '../operation.ts';
import { outputsOf } from '../sealing/encrypt.ts';
import { countEncryption, notOpened, planWithKey, wrapInfo } from '../sealing/one-key.ts';
import type { DekParts } from './parts.ts';
import type { KekRotated } from './rotation/kek-rotation.ts';
import type { KekRotationProgress } from './rotation/rewrap-pass.ts';
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
  /** The version of the KEK that must have wrapped it. Undefined: any. */
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

/** The prefix keeps callers' bytes apart from DEKs: neither opens as the other. */
const callersAad = (aad: Uint8Array) => Buffer.concat([Buffer.from('intaglio::caller::'), aad]);
const plainRefused = refuse('PolicyViolation', 'new_kek_hex: the configuration does not say allow_plain_kek');
const noWrapping = refuse('BadRequest', 'wrapped: this service has not made it');

/** Wraps a caller's own bytes by the KEK. */
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
      // The note comes before the wrapping: this version of the KEK must outlive it.
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
      // A version that never existed has wrapped nothing here.
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

/** Makes a version of the KEK and rewraps every DEK by it. `plainKek`: its 32 bytes, if the configuration allows that; wiped. */
export function rotateKekOperation(
  { rotation, journal, allowPlainKek }: DekParts,
  givenKek: GivenKek,
): KeyOperation<{ readonly plainKek: Uint8Array | undefined }, KekRotated> {
  return {
    ...{ kind: 'keys', name: 'kek_rotate', scope: 'kms:rotate' },
    async run({ plainKek }, caller) {
      try {
        if (plainKek !== undefined && !allowPlainKek) return plainRefused;
        const given = plainKek === undefined ? undefined : givenKek(plainKek, caller);
        const recorded = await journal.record({ kind: 'kek_rotated', caller, facts: {} });
        if (!recorded.ok) return recorded;
        const rotated = await rotation.rotate(caller.actor, given);
        recorded.value.end(rotated.ok ? undefined : rotated);
        return rotated;
      } finally {
        // The request's own text cannot be wiped; docs/dek.md says so.
        plainKek?.fill(0);
      }
    },
  };
}

/** Takes a version of the KEK that comes in the clear. */
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
