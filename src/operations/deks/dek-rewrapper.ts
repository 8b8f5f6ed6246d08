import { randomBytes } from 'node:crypto';
import { failures } from '../../core/failure.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { BatchWork, WorkItem } from '../../dispatch/work.ts';
import { type BatchOp, type BatchResult, batchOps } from '../../engine/batch.ts';
import type { KeyHandle } from '../../keys/keyring.ts';
import type { OperationParts } from '../operation.ts';
import { wrapInfo } from '../sealing/one-key.ts';
import { type Dek, type DekVersion, wrapAadOf } from './dek.ts';
import type { StoredDek } from './dek-store.ts';
import type { Keks } from './keks.ts';

export interface DekRewrapperParts extends Pick<OperationParts, 'costs' | 'runWork'> {
  readonly keks: Keks;
}

const wrong = refuse('Internal');

/** The engine's part of a rotation of the KEK. */
export class DekRewrapper {
  readonly #parts: DekRewrapperParts;

  constructor(parts: DekRewrapperParts) {
    this.#parts = parts;
  }

  /**
   * The DEKs as they will be, in their order. A version that does not open, or whose KEK is not there, stays as it is: `isBehind`
   * says so of its DEK.
   */
  async rewrapped(deks: readonly StoredDek[], target: number): Promise<Result<readonly Dek[]>> {
    const next = await this.#parts.keks.version(target);
    if (!next.ok) return next;
    const handles = await this.#handlesOf(deks, target);
    if (!handles.ok) return handles;
    const wanted = deks.flatMap(({ dek }) =>
      dek.versions
        .filter(({ kek }) => kek < target)
        .flatMap((version) => {
          const old = handles.value.get(version.kek);
          return old === undefined ? [] : [{ dek, version, old }];
        }),
    );
    const items = wanted.map(({ dek, version, old }) => {
      const aad = wrapAadOf(dek.id, version.version);
      const inputs = [referenceOf(next.value), version.wrapped, wrapInfo(old), wrapInfo(next.value), aad];
      return itemOf(old, batchOps.rewrap, inputs);
    });
    const ran = await this.#runItems('rewrap', next.value, items);
    if (!ran.ok) return ran;
    const made = new Map<DekVersion, DekVersion>();
    for (const [index, { version }] of wanted.entries()) {
      const [wrapped] = (ran.value[index] as BatchResult).outputs;
      // A view of the whole page's answer.
      if (wrapped !== undefined)
        made.set(version, { ...version, kek: target, wrapped: Uint8Array.from(wrapped) });
    }
    const sample = wanted.find(({ version }) => made.has(version));
    if (sample !== undefined) {
      const after = made.get(sample.version) as DekVersion;
      const same = await this.#isSameKey(sample.dek, [sample.old, sample.version], [next.value, after]);
      if (!same.ok) return same;
      if (!same.value) return wrong;
    }
    return ok(
      deks.map(({ dek }) => ({ ...dek, versions: dek.versions.map((each) => made.get(each) ?? each) })),
    );
  }

  /** What the new wrapping encrypts, the old one decrypts. */
  async #isSameKey(
    dek: Dek,
    [oldKek, before]: readonly [KeyHandle, DekVersion],
    [newKek, after]: readonly [KeyHandle, DekVersion],
  ): Promise<Result<boolean>> {
    const text = randomBytes(32);
    const aad = wrapAadOf(dek.id, before.version);
    const inputs = [after.wrapped, wrapInfo(newKek), aad, text, sampleAad];
    const made = await this.#runItems('encrypt_under', newKek, [
      itemOf(newKek, batchOps.encryptUnder, inputs),
    ]);
    if (!made.ok) return made;
    const [nonce, ciphertext] = (made.value[0] as BatchResult).outputs as [Uint8Array, Uint8Array];
    if (nonce === undefined) return ok(false);
    const opened = await this.#runItems('decrypt_under', oldKek, [
      itemOf(oldKek, batchOps.decryptUnder, [
        ...[before.wrapped, wrapInfo(oldKek), aad],
        ...[nonce, ciphertext, sampleAad],
      ]),
    ]);
    if (!opened.ok) return opened;
    return ok(text.equals(opened.value[0]?.outputs[0] ?? noBytes));
  }

  /** Of the versions that can be had; a refusal where another moment may have them. */
  async #handlesOf(
    deks: readonly StoredDek[],
    target: number,
  ): Promise<Result<ReadonlyMap<number, KeyHandle>>> {
    const handles = new Map<number, KeyHandle>();
    const gone = new Set<number>();
    for (const { dek } of deks) {
      for (const { kek } of dek.versions) {
        if (kek >= target || handles.has(kek) || gone.has(kek)) continue;
        const found = await this.#parts.keks.version(kek);
        if (found.ok) handles.set(kek, found.value);
        else if (failures[found.failure.code].retryable) return found;
        else gone.add(kek);
      }
    }
    return ok(handles);
  }

  async #runItems(
    kind: BatchWork['kind'],
    { version }: KeyHandle,
    items: readonly WorkItem[],
  ): ReturnType<OperationParts['runWork']> {
    if (items.length === 0) return ok([]);
    const [part] = version.parts as [KeyHandle['version']['parts'][0]];
    const [scheme] = part.component.schemes;
    const meters = items.map(() => this.#parts.costs.meterOf(scheme, kind, 32, part.home));
    return this.#parts.runWork(this.#parts.keks.tenant, { kind, items, meters });
  }
}

const sampleAad = Buffer.from('intaglio::dek::sample');
const noBytes = new Uint8Array(0);

function referenceOf({ version }: KeyHandle): Uint8Array {
  return version.parts[0]?.keyReference ?? noBytes;
}

function itemOf(handle: KeyHandle, op: BatchOp, inputs: readonly Uint8Array[]): WorkItem {
  const [part] = handle.version.parts as [KeyHandle['version']['parts'][0]];
  const { scheme } = part.component.schemes[0];
  return { op, scheme, keyNumber: part.keyNumber, key: part.keyReference, inputs, home: part.home };
}
