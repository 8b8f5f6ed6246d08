import { ok, type Result, refuse } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import { formatKid } from '../../keys/kid.ts';
import type { CryptoOperation, CryptoPlan, OperationParts, Step, WorkOutcome } from '../operation.ts';
import { outputsOf } from '../sealing/encrypt.ts';
import { doesNotOpen, notOpened, type OneKeyPlan, planWithKey, wrapInfo } from '../sealing/one-key.ts';
import { boundAad, type Dek, type DekVersion, isBinding, newestOf, wrapAadOf } from './dek.ts';
import type { DekParts } from './parts.ts';

export interface DekEncryptRequest {
  readonly id: string;
  /** At most 64 KiB. */
  readonly plaintext: Uint8Array;
  readonly aad: Uint8Array;
}

export interface DekEncrypted {
  /** nonce (12 bytes) || ciphertext || tag (16 bytes). */
  readonly ciphertext: Uint8Array;
  readonly version: number;
}

export interface DekDecryptRequest {
  readonly id: string;
  readonly ciphertext: Uint8Array;
  readonly aad: Uint8Array;
  /** The version that encrypted. Undefined: each is tried, the newest first. */
  readonly version: number | undefined;
}

/** SP 800-38D section 8.3 allows at most 2^32 random nonces of 96 bits; half of that leaves a margin. */
const maxEncryptions = 2 ** 31;
const nonceBytes = 12;
const tagBytes = 16;

/** Encrypts by the newest version, with the DEK's id and the AAD authenticated. */
export function dekEncryptOperation(
  parts: OperationParts,
  { deks, keks }: DekParts,
): CryptoOperation<DekEncryptRequest, DekEncrypted> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'dek_encrypt', scope: 'kms:encrypt' },
    async plan({ id, plaintext, aad }, caller) {
      const found = await deks.findActive(id);
      if (!found.ok) return found;
      const version = newestOf(found.value.dek);
      const planned = await planUnder(parts, caller, keks.id, found.value.dek, version, {
        kind: 'encrypt_under',
        inputs: [plaintext, boundAad(id, aad)],
        pricedBytes: plaintext.length,
      });
      if (!planned.ok) return planned;
      planned.value.work.encryption = {
        kid: `dek/${id}#v${version.version}`,
        most: maxEncryptions,
      };
      return ok({
        works: [planned.value.work],
        finish([outcome]) {
          const ran = outcome as WorkOutcome;
          if (!ran.ok) return ran;
          return ok({ ciphertext: Buffer.concat(outputsOf(ran)), version: version.version });
        },
      });
    },
  };
}

/** Decrypts by the version that fits. BadRequest, always with the same text: none does with this AAD. */
export function dekDecryptOperation(
  parts: OperationParts,
  { deks, keks }: DekParts,
): CryptoOperation<DekDecryptRequest, { readonly plaintext: Uint8Array }> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'dek_decrypt', scope: 'kms:decrypt' },
    async plan(
      { id, ciphertext, aad, version },
      caller,
    ): Promise<Result<CryptoPlan<{ plaintext: Uint8Array }>>> {
      const found = await deks.findActive(id);
      if (!found.ok) return found;
      if (ciphertext.length < nonceBytes + tagBytes) return doesNotOpen;
      const { dek } = found.value;
      const tried = dek.versions.filter((each) => version === undefined || each.version === version);
      const works: OneKeyPlan['work'][] = [];
      for (const each of tried.toReversed()) {
        const planned = await planOpening(parts, caller, keks.id, dek, each, ciphertext, aad);
        if (!planned.ok) return planned;
        works.push(...planned.value);
      }
      if (works.length === 0) return refuse('NotFound', 'the DEK has no such version');
      return ok({
        works,
        finish(outcomes) {
          const opened = outcomes.find(({ ok: done }) => done);
          if (opened?.ok) return ok({ plaintext: outputsOf(opened)[0] as Uint8Array });
          // A refusal of the queue says more than a version that does not fit.
          const other = outcomes.find((each) => !each.ok && each.failure.code !== 'BadRequest');
          return (other ?? outcomes[0]) as Extract<WorkOutcome, { ok: false }>;
        },
      });
    },
  };
}

/** Plans one try, and for an imported version a second: the service before bound no id. */
async function planOpening(
  parts: OperationParts,
  caller: Caller,
  kekId: string,
  dek: Dek,
  version: DekVersion,
  ciphertext: Uint8Array,
  aad: Uint8Array,
): Promise<Result<readonly OneKeyPlan['work'][]>> {
  const works: OneKeyPlan['work'][] = [];
  const bare = version.foreign === true && !isBinding(aad);
  const aads = bare ? [boundAad(dek.id, aad), aad] : [boundAad(dek.id, aad)];
  for (const bound of aads) {
    const inputs = [ciphertext.subarray(0, nonceBytes), ciphertext.subarray(nonceBytes), bound];
    const planned = await planUnder(parts, caller, kekId, dek, version, {
      ...{ kind: 'decrypt_under', inputs, pricedBytes: ciphertext.length, recorded: [ciphertext] },
    });
    if (!planned.ok) return planned;
    planned.value.work.refusal = notOpened;
    works.push(planned.value.work);
  }
  return ok(works);
}

interface UnderDek {
  readonly kind: 'encrypt_under' | 'decrypt_under';
  /** Inputs behind the wrapped DEK, its info and its AAD. */
  readonly inputs: readonly Uint8Array[];
  readonly pricedBytes: number;
  readonly recorded?: readonly Uint8Array[];
}

function planUnder(
  parts: OperationParts,
  caller: Caller,
  kekId: string,
  dek: Dek,
  version: DekVersion,
  { kind, inputs, ...more }: UnderDek,
): Step<OneKeyPlan> {
  return planWithKey(parts, caller, formatKid(kekId, version.kek), {
    kind: () => kind,
    item: (kek) =>
      ok({
        inputs: [version.wrapped, wrapInfo(kek), wrapAadOf(dek.id, version.version), ...inputs],
        ...more,
      }),
    ready(work) {
      work.about = { type: 'dek.use', data: { dek: dek.id, dek_version: version.version } };
    },
  });
}
