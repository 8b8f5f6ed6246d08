import { randomBytes } from 'node:crypto';
import { failures } from '../../../core/failure.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';
import type { BatchWork, WorkItem } from '../../../dispatch/work.ts';
import { type BatchOp, type BatchResult, batchOps } from '../../../engine/batch.ts';
import type { KeyHandle } from '../../../keys/keyring.ts';
import type { OperationParts } from '../../operation.ts';
import { wrapInfo } from '../../sealing/one-key.ts';
import { type Dek, type DekVersion, wrapAadOf } from '../dek.ts';
import type { Keks } from '../keks.ts';

export interface DekRewrapperParts extends Pick<OperationParts, 'costs' | 'runWork'> {
  readonly keks: Keks;
}

const wrong = refuse('Internal');

/** Rewraps DEKs in the engine, which alone sees their bytes. */
export class DekRewrapper {
  readonly #parts: DekRewrapperParts;

  constructor(parts: DekRewrapperParts) {
    this.#parts = parts;
  }

  /**
   * The DEKs as they will be, in their order. A version that does not open, or whose KEK is not there, stays as it is: `isBehind`
   * says so of its DEK.
   */
  async rewrapped(deks: readonly Dek[], target: number): Promise<Result<readonly Dek[]>> {
    const next = await this.#parts.keks.version(target);
    if (!next.ok) return next;
    const handles = await this.#handlesOf(deks, target);
    if (!handles.ok) return handles;
    const wanted = deks.flatMap((dek) =>
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
      // The output is a view of the whole page's answer.
      if (wrapped !== undefined)
        made.set(version, { ...version, kek: target, wrapped: Uint8Array.from(wrapped) });
    }
    const sample = wanted.find(({ version }) => made.has(version));
    if (sample !== undefined) {
      const after = made.get(sample.version) as DekVersion;
      const same = await this.isSameKey(sample.dek.id, after, sample.version);
      if (!same.ok) return same;
      if (!same.value) return wrong;
    }
    return ok(deks.map((dek) => ({ ...dek, versions: dek.versions.map((each) => made.get(each) ?? each) })));
  }

  /** True of two wrappings of one key for this DEK: the second one decrypts a text that the first one encrypted. */
  async isSameKey(dekId: string, one: DekVersion, other: DekVersion): Promise<Result<boolean>> {
    const text = randomBytes(sampleBytes);
    const sealed = await this.#runUnder('encrypt_under', dekId, one, [text, sampleAad]);
    if (!sealed.ok) return sealed;
    const [nonce, ciphertext] = sealed.value;
    if (nonce === undefined || ciphertext === undefined) return ok(false);
    const opened = await this.#runUnder('decrypt_under', dekId, other, [nonce, ciphertext, sampleAad]);
    return opened.ok ? ok(text.equals(opened.value[0] ?? noBytes)) : opened;
  }

  /** Runs one item by a DEK. No outputs: its wrapping does not open. */
  async #runUnder(
    kind: 'encrypt_under' | 'decrypt_under',
    dekId: string,
    { kek: number, version, wrapped }: DekVersion,
    inputs: readonly Uint8Array[],
  ): Promise<Result<BatchResult['outputs']>> {
    const kek = await this.#parts.keks.version(number);
    if (!kek.ok) return kek;
    const under = [wrapped, wrapInfo(kek.value), wrapAadOf(dekId, version), ...inputs];
    const op = kind === 'encrypt_under' ? batchOps.encryptUnder : batchOps.decryptUnder;
    const ran = await this.#runItems(kind, kek.value, [itemOf(kek.value, op, under)]);
    return ran.ok ? ok((ran.value[0] as BatchResult).outputs) : ran;
  }

  /** The KEKs that wrap these DEKs. Those that are gone are left out; a failure that may pass is a refusal. */
  async #handlesOf(deks: readonly Dek[], target: number): Promise<Result<ReadonlyMap<number, KeyHandle>>> {
    const handles = new Map<number, KeyHandle>();
    const gone = new Set<number>();
    for (const { versions } of deks) {
      for (const { kek } of versions) {
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

/** A text of 32 random bytes tells two keys apart. */
const sampleBytes = 32;
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
