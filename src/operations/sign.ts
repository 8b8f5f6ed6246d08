import type { SchemeEntry } from '../algorithms/descriptor.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import type { BatchResult } from '../engine/batch.ts';
import type { KeyHandle } from '../keys/keyring.ts';
import { refuseByPqPolicy } from '../policy/bundle.ts';
import type { HybridMode } from '../policy/hybrid.ts';
import { type BundleSignature, refusalOfSigning, signsUnasked } from '../policy/migration.ts';
import { addItem, addKey, type PlannedWork, planWork, refusalOfVersion, withKeys } from './key-work.ts';
import {
  type CryptoOperation,
  type OperationParts,
  type Particulars,
  type Step,
  singlePlan,
  type UseReceipt,
  type WorkOutcome,
} from './operation.ts';

export interface SignRequest {
  /** Keys that sign the payload together, at least one. */
  readonly kids: readonly string[];
  /** BLAKE3-256 of the payload: 64 lowercase hexadecimal digits, as records name it. Its 32 bytes are signed. */
  readonly payloadBlake3: string;
  /** The key's own algorithm, or one of its schemes; the key's first scheme when not given. */
  readonly alg: string | undefined;
  readonly mode: HybridMode | undefined;
  /** The client's own name for the call. */
  readonly opId: string | undefined;
  readonly receipts: boolean;
}

export interface SignAnswer {
  /** Of the first signature. */
  readonly kid: string;
  readonly signatures: readonly MadeSignature[];
  /** Only where they were asked for. */
  readonly receipts: readonly UseReceipt[] | undefined;
}

export interface MadeSignature extends Signer {
  /** A view of the workers' response, not a copy. */
  readonly signature: Uint8Array;
}

interface Signer {
  readonly kid: string;
  /** Name of the signature scheme. */
  readonly alg: string;
}

/** The work of one sign request, and who signs at which place of it. */
export interface SignPlan {
  readonly work: PlannedWork;
  readonly signers: readonly Signer[];
}

/** Signs the 32 bytes of a BLAKE3 digest with the current version of one key or of several. */
export function signOperation(parts: OperationParts): CryptoOperation<SignRequest, SignAnswer> {
  return {
    kind: 'crypto',
    batch: false,
    name: 'sign',
    scope: 'kms:sign',
    subjects: signSubjects,
    facts: signFacts,
    plan: (request, caller) => singlePlan(planSign(parts, request, caller), finishSign),
  };
}

export function signSubjects({ kids }: SignRequest): readonly string[] {
  return kids;
}

export function signFacts({ payloadBlake3, opId }: SignRequest): Particulars {
  return { payloadB3: payloadBlake3, opId };
}

export function planSign(parts: OperationParts, request: SignRequest, caller: Caller): Step<SignPlan> {
  return withKeys(parts.keyring, caller, request.kids, (found) => planWith(parts, request, found));
}

function planWith(
  parts: OperationParts,
  { payloadBlake3, alg, mode, opId, receipts }: SignRequest,
  handles: readonly Result<KeyHandle>[],
): Result<SignPlan> {
  const message = Buffer.from(payloadBlake3, 'hex');
  const work = planWork('sign');
  work.inputDigest = payloadBlake3;
  work.opId = opId;
  work.receipts = receipts;
  const signers: Signer[] = [];
  const signed: BundleSignature[] = [];
  for (const found of handles) {
    if (!found.ok) return found;
    const handle = found.value;
    const refused = addKey(parts, work, handle) ?? refusalOfVersion(work, handle);
    if (refused !== undefined) return refused;
    const before = signers.length;
    for (const part of handle.version.parts) {
      if (mode === 'pq_only' && !part.component.postQuantum) continue;
      if (mode === undefined && alg === undefined && !signsUnasked(parts, handle, part.component)) continue;
      const scheme = schemeFor(handle, part.component.schemes, alg);
      if (scheme === undefined) continue;
      addItem(parts, work, part, scheme, [message]);
      signers.push({ kid: handle.version.kid, alg: scheme.alg });
      signed.push({ handle, component: part.component });
    }
    if (signers.length === before) {
      return mode === 'pq_only'
        ? noPostQuantum
        : refuse('Unsupported', 'the key does not sign with this alg');
    }
  }
  return refusalOfSigning(parts, signed, mode) ?? ok({ work, signers });
}

const noPostQuantum = refuseByPqPolicy('no post-quantum signature can be made with this key');

/** The default way of the key, or the one that `alg` names: the key's own algorithm, or one of its schemes. */
function schemeFor(
  handle: KeyHandle,
  schemes: readonly [SchemeEntry, ...SchemeEntry[]],
  alg: string | undefined,
): SchemeEntry | undefined {
  if (alg === undefined || alg === handle.algorithm.name || handle.algorithm.aliases.includes(alg))
    return schemes[0];
  return schemes.find((scheme) => scheme.alg === alg);
}

export function finishSign({ work, signers }: SignPlan, outcome: WorkOutcome): Result<SignAnswer> {
  if (!outcome.ok) return outcome;
  const { results, receipts } = outcome.value;
  const signatures = signers.map(({ kid, alg }, index) => {
    const [signature] = (results[index] as BatchResult).outputs as [Uint8Array];
    return { kid, alg, signature };
  });
  const { kid } = signers[0] as Signer;
  return ok({ kid, signatures, receipts: work.receipts ? receipts : undefined });
}
