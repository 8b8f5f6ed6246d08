import { createHash } from 'node:crypto';
import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import { type BatchOp, type BatchResult, batchStatuses } from '../../engine/batch.ts';
import type { KeyHandle, LoadedVersion } from '../../keys/keyring.ts';
import {
  addItem,
  addKey,
  type PlannedKind,
  type PlannedWork,
  planWork,
  refusalOfVersion,
  withKeys,
} from '../key-work.ts';
import type { OperationParts, Step } from '../operation.ts';

/** The work of one request by one key. */
export interface OneKeyPlan {
  readonly work: PlannedWork;
  /** With the version that does it. */
  readonly kid: string;
}

/** The subjects of a call that names one key. */
export const namedKey = ({ kid }: { readonly kid: string }): readonly string[] => [kid];

/** How an engine is asked, once the key is known. */
export interface KeyItem {
  readonly inputs: readonly [Uint8Array, ...Uint8Array[]];
  /** Of the longest input. */
  readonly pricedBytes: number;
  readonly op?: BatchOp;
  /** Bytes that came and are no secret, for the record; none where they are. */
  readonly recorded?: readonly Uint8Array[];
}

interface OneItem {
  kind(handle: KeyHandle): PlannedKind;
  /** Refuses what the key does not take. */
  item(handle: KeyHandle): Result<KeyItem>;
  /** Puts further facts into the work. */
  ready(work: PlannedWork, handle: KeyHandle): void;
}

/** Plans one item by the key that `kid` names. */
export function planWithKey(
  parts: OperationParts,
  caller: Caller,
  kid: string,
  { kind, item, ready }: OneItem,
): Step<OneKeyPlan> {
  return withKeys(parts.keyring, caller, [kid], (handles) => {
    const [found] = handles as [Result<KeyHandle>];
    if (!found.ok) return found;
    const handle = found.value;
    const work = planWork(kind(handle));
    const refused = addKey(parts, work, handle) ?? refusalOfVersion(work, handle);
    if (refused !== undefined) return refused;
    const asked = item(handle);
    if (!asked.ok) return asked;
    ready(work, handle);
    return ok(planItem(parts, work, handle.version, asked.value));
  });
}

export function planItem(
  parts: OperationParts,
  work: PlannedWork,
  version: LoadedVersion,
  { inputs, recorded, ...more }: KeyItem,
): OneKeyPlan {
  if (recorded !== undefined) work.inputDigest = digestOf(recorded);
  // Keys that encrypt and wrap have one part.
  const [part] = version.parts as [(typeof version.parts)[0]];
  addItem(parts, work, part, part.component.schemes[0], inputs, more);
  return { work, kid: version.kid };
}

function digestOf(recorded: readonly Uint8Array[]): string {
  const digest = createHash('sha256');
  for (const bytes of recorded) digest.update(bytes);
  return `sha256:${digest.digest('hex')}`;
}

/** This version encrypts once more, where that is counted. */
export function countEncryption(work: PlannedWork, { algorithm, version }: KeyHandle): void {
  const { maxEncryptions } = algorithm;
  if (maxEncryptions !== undefined) work.encryption = { kid: version.kid, most: maxEncryptions };
}

/** One text for all that does not open, whatever it is that does not fit. */
export const doesNotOpen = refuse('BadRequest', 'this does not open with this key and aad');

/** The refusal of what does not open. A length that no ciphertext can have is told in no other way. */
export function notOpened(results: readonly BatchResult[]): Refused | undefined {
  const { status } = results[0] as BatchResult;
  if (status === batchStatuses.ok) return undefined;
  return status === batchStatuses.rejected || status === batchStatuses.badInput
    ? doesNotOpen
    : refuse('Internal');
}

/** What is bound into wraps: tenant, purpose and version, so that a wrap of one version opens as no other. */
export function wrapInfo({ head, version }: KeyHandle): Uint8Array {
  const { tenant, purpose, id } = head;
  const uuid = id.slice(id.lastIndexOf('/') + 1);
  return Buffer.from(`ron-kms::${tenant}::${purpose}::wrap::${uuid}#v${version.version}`);
}
