import type { SchemeEntry } from '../algorithms/descriptor.ts';
import {
  bytesOf,
  type GivenInput,
  givenOf,
  inputDigestOf,
  payloadB3Of,
  refusalOfEngine,
  refusalOfInput,
  type SignedInput,
  takes,
  unsuitedKey,
} from '../algorithms/signed-input.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import type { CacheAge } from '../custody/backends.ts';
import { type BatchResult, type BatchStatus, batchStatuses } from '../engine/batch.ts';
import type { KeyHandle, LoadedPart } from '../keys/keyring.ts';
import { softwareBackend } from '../keys/record.ts';
import type { Consultation } from '../policy/consult.ts';
import {
  type CheckedSignature,
  type HybridMode,
  type Judgement,
  judge,
  modeFor,
  satisfies,
} from '../policy/hybrid.ts';
import { judgedMode } from '../policy/migration.ts';
import { refusalOfWindow, type ValidityWindow } from '../policy/validity.ts';
import { addGiven, addItem, addKey, type PlannedWork, planWork, withKeys } from './key-work.ts';
import {
  type CryptoOperation,
  type KeyUse,
  type OperationParts,
  type Particulars,
  type Step,
  singlePlan,
  type Verdict,
  type WorkOutcome,
} from './operation.ts';

export interface VerifyRequest {
  readonly input: SignedInput;
  /** At least one. */
  readonly signatures: readonly GivenSignature[];
  /** The rule by which they count together; `and` when not given. */
  readonly mode: HybridMode | undefined;
  /** When the signatures are valid, in UTC milliseconds; outside of it they are not looked at. */
  readonly window: ValidityWindow | undefined;
  /** Signatures by revoked versions count too, unless they were compromised. */
  readonly revokedToo?: true;
}

export interface GivenSignature {
  readonly kid: string;
  /** The key's own algorithm, or one of its schemes; by the signature's length, and what is given, when not given. */
  readonly alg: string | undefined;
  readonly signature: Uint8Array;
}

export interface VerifyAnswer {
  /** The signatures satisfy the mode. */
  readonly ok: boolean;
  /** The strictest mode that these signatures satisfy. */
  readonly satisfiedMode: HybridMode | 'none';
  /** The reason for which signatures that are all valid do not satisfy the mode. */
  readonly fault: Judgement['fault'];
  /** One for each signature of the request, in its order. */
  readonly checked: readonly SignatureCheck[];
  /** The oldest knowledge that it rests on; undefined where all of the keys have a backend that cannot be away. */
  readonly cache: CacheAge | undefined;
}

export interface SignatureCheck {
  readonly kid: string;
  readonly alg: string;
  readonly ok: boolean;
  /** Undefined where the signature is valid. */
  readonly reason: InvalidReason | undefined;
}

export type InvalidReason = 'destroyed' | 'alg_mismatch' | 'signature_invalid' | 'key_unusable';

/** One signature of the request: what to check it with, or why it cannot be checked. */
interface Candidate {
  readonly handle: KeyHandle;
  readonly alg: string;
  readonly component: LoadedPart['component'] | undefined;
  /** Place in the work's items; undefined when `reason` says why there is nothing to compute. */
  readonly item: number | undefined;
  readonly reason: InvalidReason | undefined;
  /** Its key is in its time of grace, and the call asks for no mode. */
  excused?: boolean;
}

export interface VerifyPlan {
  readonly work: PlannedWork;
  readonly candidates: readonly Candidate[];
  readonly mode: HybridMode;
  readonly cache: CacheAge | undefined;
}

/** Checks signatures by any version that is not destroyed. */
export function verifyOperation(parts: OperationParts): CryptoOperation<VerifyRequest, VerifyAnswer> {
  return {
    kind: 'crypto',
    batch: false,
    name: 'verify',
    scope: 'kms:verify',
    subjects: verifySubjects,
    facts: verifyFacts,
    plan: (request, caller, ruled) => singlePlan(planVerify(parts, request, caller, ruled), finishVerify),
  };
}

export function verifySubjects({ signatures }: VerifyRequest): readonly string[] {
  return signatures.map(({ kid }) => kid);
}

export function verifyFacts({ input }: VerifyRequest): Particulars {
  return { payloadB3: payloadB3Of(input) };
}

export function planVerify(
  parts: OperationParts,
  request: VerifyRequest,
  caller: Caller,
  consulted?: Consultation,
): Step<VerifyPlan> {
  const early = refusalOfWindow(request.window, parts);
  if (early !== undefined) return early;
  const kids = verifySubjects(request);
  const refused = refusalOfInput(request.input, kids);
  if (refused !== undefined) return refused;
  const ruled = consulted?.modeOf(kids);
  return withKeys(parts.keyring, caller, kids, (found) => planWith(parts, request, ruled, found));
}

function planWith(
  parts: OperationParts,
  { input, signatures, mode: asked, revokedToo }: VerifyRequest,
  ruled: HybridMode | undefined,
  handles: readonly Result<KeyHandle>[],
): Result<VerifyPlan> {
  const given = givenOf(input);
  const bytes = bytesOf(input);
  const work = planWork('verify');
  work.inputDigest = inputDigestOf(input);
  const candidates: Candidate[] = [];
  let cache: CacheAge | undefined;
  for (const [index, signed] of signatures.entries()) {
    const found = handles[index] as Result<KeyHandle>;
    if (!found.ok) return found;
    const handle = found.value;
    const refused = addKey(parts, work, handle);
    if (refused !== undefined) return refused;
    const { backend } = handle.head;
    if (backend !== softwareBackend) cache = older(cache, parts.backends.cacheAge(backend));
    const way = wayFor(handle, signed.alg, signed.signature.length, given);
    const lacks = way === undefined ? undefined : refusalOfWay(parts, way.scheme, given);
    if (lacks !== undefined) return lacks;
    const gone = handle.version.state === 'destroyed' && !(revokedToo === true && isTrusted(handle));
    const reason = gone ? 'destroyed' : way === undefined ? 'alg_mismatch' : undefined;
    candidates.push({
      handle,
      alg: way?.scheme.alg ?? handle.algorithm.name,
      component: way?.part.component,
      item:
        way === undefined || reason !== undefined
          ? undefined
          : given === undefined
            ? addItem(parts, work, way.part, way.scheme, [bytes, signed.signature])
            : addGiven(parts, work, way.part, way.scheme, given, signed.signature),
      reason,
    });
  }
  const tooOld = cache && parts.backends.staleRefusal(cache);
  if (tooOld !== undefined) return tooOld;
  const judged = judgedMode(parts, candidates, asked, ruled);
  if (!judged.ok) return judged;
  const { mode, excused } = judged.value;
  for (const n of excused) (candidates[n] as Candidate).excused = true;
  work.verdict = (use, results) => verdictOn(candidates, mode, use, results);
  return ok({ work, candidates, mode, cache });
}

/** Whoever has the private part of a compromised key signs by it. */
function isTrusted({ version: { revoked } }: KeyHandle): boolean {
  return revoked !== undefined && revoked.reason !== 'compromised';
}

function older(one: CacheAge | undefined, other: CacheAge | undefined): CacheAge | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return { ageMs: Math.max(one.ageMs, other.ageMs), stale: one.stale || other.stale };
}

interface Way {
  readonly part: LoadedPart;
  readonly scheme: SchemeEntry;
}

/**
 * The part and scheme that `alg` names. Without `alg`: of those that take what is given the one of that signature length, so
 * that the halves of a hybrid signature find their keys, or else the key's first.
 */
function wayFor(
  handle: KeyHandle,
  alg: string | undefined,
  signatureBytes: number,
  given: GivenInput | undefined,
): Way | undefined {
  const { parts } = handle.version;
  if (alg !== undefined) {
    for (const part of parts)
      for (const scheme of part.component.schemes) if (scheme.alg === alg) return { part, scheme };
    if (alg !== handle.algorithm.name && !handle.algorithm.aliases.includes(alg)) return undefined;
  }
  let first: Way | undefined;
  for (const part of parts) {
    for (const scheme of part.component.schemes) {
      if (!takes(scheme, given)) continue;
      if (scheme.maxOutputBytes === signatureBytes) return { part, scheme };
      first ??= { part, scheme };
    }
  }
  const [part] = parts as [LoadedPart];
  return first ?? { part, scheme: part.component.schemes[0] };
}

/** The scheme does not take what is given, or not with this engine. */
function refusalOfWay(
  { lacking }: OperationParts,
  scheme: SchemeEntry,
  given: GivenInput | undefined,
): Refused | undefined {
  if (given !== undefined && !takes(scheme, given)) return unsuitedKey(given, scheme);
  return refusalOfEngine(lacking, scheme, given);
}

export function finishVerify(plan: VerifyPlan, outcome: WorkOutcome): Result<VerifyAnswer> {
  if (!outcome.ok) return outcome;
  const { results } = outcome.value;
  const signatures = checkedBy(plan.candidates, results);
  if (signatures === undefined) return refuse('Internal');
  const checked = plan.candidates.map(({ handle, alg, item, reason }, index) => {
    const { valid } = signatures[index] as CheckedSignature;
    return { kid: handle.version.kid, alg, ok: valid, reason: reason ?? reasonOf(statusOf(item, results)) };
  });
  return ok({ ...judge(signatures, plan.mode), checked, cache: plan.cache });
}

/** The verdict on the signatures by the key of one use: what its record says. */
function verdictOn(
  candidates: readonly Candidate[],
  mode: HybridMode,
  { keyId, version }: KeyUse,
  results: readonly BatchResult[],
): Verdict {
  const own = candidates.filter(
    ({ handle }) => handle.head.id === keyId && handle.version.version === version,
  );
  const signatures = checkedBy(own, results);
  if (signatures === undefined) return 'error:Internal';
  return satisfies(signatures, modeFor(signatures, mode)) ? 'ok' : 'invalid';
}

/** One for each candidate; undefined where one could not be checked, which is a bug. */
function checkedBy(
  candidates: readonly Candidate[],
  results: readonly BatchResult[],
): CheckedSignature[] | undefined {
  const signatures: CheckedSignature[] = [];
  for (const { handle, component, item, excused = false } of candidates) {
    const status = statusOf(item, results);
    if (status === batchStatuses.badInput || status === batchStatuses.internal) return undefined;
    const valid = status === batchStatuses.ok;
    signatures.push({
      kid: handle.version.kid,
      components: handle.algorithm.components,
      component,
      valid,
      excused,
    });
  }
  return signatures;
}

function statusOf(item: number | undefined, results: readonly BatchResult[]): BatchStatus | undefined {
  return item === undefined ? undefined : results[item]?.status;
}

function reasonOf(status: BatchStatus | undefined): InvalidReason | undefined {
  switch (status) {
    case batchStatuses.rejected:
      return 'signature_invalid';
    case batchStatuses.keyUnusable:
      return 'key_unusable';
    default:
      return undefined;
  }
}
