import { type Static, Type } from '@sinclair/typebox';
import type { SchemeEntry } from '../algorithms/descriptor.ts';
import { decodeBase64 } from '../core/bytes.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import type { WorkItem } from '../dispatch/work.ts';
import { type BatchResult, type BatchStatus, batchOps, batchStatuses } from '../engine/batch.ts';
import type { KeyHandle, LoadedPart } from '../keys/keyring.ts';
import { type CheckedSignature, type HybridMode, judge, satisfies } from '../policy/hybrid.ts';
import {
  type CryptoOperation,
  type CryptoWork,
  homeOf,
  type KeyUse,
  type OperationParts,
  type Step,
  singlePlan,
  useOf,
  type Verdict,
  type WorkOutcome,
} from './operation.ts';
import { shapeOf } from './parse.ts';
import { algorithmText, closed, hybridPolicy, kidText, maxSignatureBase64, payloadB3 } from './schemas.ts';

/** Signatures over one payload: eight keys that sign together, each with a hybrid pair. */
const maxSignatures = 16;

const verifyRequest = closed({
  payload_b3: payloadB3,
  sigs: Type.Array(
    closed({
      kid: kidText,
      alg: Type.Optional(algorithmText),
      signature_b64: Type.String({ minLength: 1, maxLength: maxSignatureBase64 }),
    }),
    { minItems: 1, maxItems: maxSignatures },
  ),
  policy: Type.Optional(hybridPolicy),
});

export type VerifyRequest = Static<typeof verifyRequest>;
export const verifyShape = shapeOf(verifyRequest);

/** One signature of the request: what to check it with, or why it cannot be checked. */
interface Candidate {
  readonly handle: KeyHandle;
  readonly alg: string;
  readonly component: LoadedPart['component'] | undefined;
  /** Place in the work's items; undefined when `reason` says why there is nothing to compute. */
  readonly item: number | undefined;
  readonly reason: string | undefined;
}

export interface VerifyPlan {
  readonly work: CryptoWork;
  readonly candidates: readonly Candidate[];
  readonly mode: HybridMode;
}

/** POST /verify: checks signatures by any version that is not destroyed. */
export function verifyOperation(parts: OperationParts): CryptoOperation<VerifyRequest> {
  return {
    kind: 'crypto',
    batch: false,
    name: 'verify',
    scope: 'kms:verify',
    parse: (request) => verifyShape.parse(request),
    subjects: verifySubjects,
    plan: (request, caller) => singlePlan(planVerify(parts, request, caller), finishVerify),
  };
}

export function verifySubjects({ sigs }: VerifyRequest): readonly string[] {
  return sigs.map(({ kid }) => kid);
}

export function planVerify(parts: OperationParts, request: VerifyRequest, caller: Caller): Step<VerifyPlan> {
  const found = request.sigs.map((sig) => parts.keyring.find(caller.tenant, sig.kid));
  if (found.some((handle) => handle instanceof Promise)) {
    return Promise.all(found).then((handles) => planFor(parts, request, handles));
  }
  return planFor(parts, request, found as Result<KeyHandle>[]);
}

function planFor(
  parts: OperationParts,
  request: VerifyRequest,
  handles: readonly Result<KeyHandle>[],
): Result<VerifyPlan> {
  const message = Buffer.from(request.payload_b3, 'hex');
  const items: WorkItem[] = [];
  const meters = [];
  const candidates: Candidate[] = [];
  for (const [index, sig] of request.sigs.entries()) {
    const found = handles[index] as Result<KeyHandle>;
    if (!found.ok) return found;
    const handle = found.value;
    if (!parts.allowedAlgorithms.has(handle.algorithm.name)) {
      return refuse('PolicyViolation', 'this algorithm is not allowed here');
    }
    if (handle.algorithm.kind !== 'signature')
      return refuse('Unsupported', 'this key verifies no signatures');
    const signature = decodeBase64(sig.signature_b64, maxSignatureBase64);
    if (signature === undefined) return refuse('BadRequest', `sigs.${index}.signature_b64 is not base64`);
    const way = wayFor(handle, sig.alg, signature.length);
    if (handle.version.state === 'destroyed') {
      candidates.push({
        handle,
        alg: way?.scheme.alg ?? handle.algorithm.name,
        component: way?.part.component,
        item: undefined,
        reason: 'destroyed',
      });
    } else if (way === undefined) {
      candidates.push({
        handle,
        alg: handle.algorithm.name,
        component: undefined,
        item: undefined,
        reason: 'alg_mismatch',
      });
    } else {
      const home = homeOf('verify', handle);
      candidates.push({
        handle,
        alg: way.scheme.alg,
        component: way.part.component,
        item: items.length,
        reason: undefined,
      });
      items.push({
        op: batchOps.verify,
        scheme: way.scheme.scheme,
        keyNumber: way.part.keyNumber,
        key: way.part.publicKey,
        inputs: [message, signature],
        home,
      });
      meters.push(parts.costs.meterOf(way.scheme, 'verify', message.length, home));
    }
  }
  const mode = request.policy?.mode ?? 'and';
  const alg = handles.length === 1 ? (candidates[0] as Candidate).handle.algorithm.name : 'several';
  return ok({
    work: {
      alg,
      kind: 'verify',
      items,
      meters,
      uses: usesOf(candidates),
      inputDigest: request.payload_b3,
      opId: undefined,
      receipts: false,
      verdict: (use, results) => verdictOn(candidates, mode, use, results),
    },
    candidates,
    mode,
  });
}

/** One use for each key, however many of its signatures are checked. */
function usesOf(candidates: readonly Candidate[]): KeyUse[] {
  const handles = new Map(candidates.map(({ handle }) => [handle.version.kid, handle]));
  return [...handles.values()].map(useOf);
}

interface Way {
  readonly part: LoadedPart;
  readonly scheme: SchemeEntry;
}

/**
 * The part and scheme that `alg` names. Without `alg`: the scheme of that signature length, so that the halves of a
 * hybrid signature find their keys, or else the key's first scheme.
 */
function wayFor(handle: KeyHandle, alg: string | undefined, signatureBytes: number): Way | undefined {
  const ways = handle.version.parts.flatMap((part) =>
    part.component.schemes.map((scheme) => ({ part, scheme })),
  );
  if (alg !== undefined) {
    const named = ways.find((way) => way.scheme.alg === alg);
    if (named !== undefined) return named;
    if (alg !== handle.algorithm.name && !handle.algorithm.aliases.includes(alg)) return undefined;
  }
  return ways.find((way) => way.scheme.maxOutputBytes === signatureBytes) ?? ways[0];
}

export interface VerifyAnswer {
  readonly ok: boolean;
  readonly details: {
    readonly checked: readonly { kid: string; alg: string; ok: boolean; reason?: string }[];
    /** The strictest mode that these signatures satisfy. */
    readonly satisfied_mode: HybridMode | 'none';
  };
  readonly hints: { readonly kids: readonly string[]; readonly algs: readonly string[] };
}

export function finishVerify(plan: VerifyPlan, outcome: WorkOutcome): Result<VerifyAnswer> {
  if (!outcome.ok) return outcome;
  const { results } = outcome.value;
  const signatures = checkedBy(plan.candidates, results);
  if (signatures === undefined) return refuse('Internal');
  const checked = plan.candidates.map(({ handle, alg, item, reason }, index) => {
    const why = reason ?? reasonOf(statusOf(item, results));
    const { valid } = signatures[index] as CheckedSignature;
    return { kid: handle.version.kid, alg, ok: valid, ...(why === undefined ? undefined : { reason: why }) };
  });
  const judgement = judge(signatures, plan.mode);
  return ok({
    ok: judgement.ok,
    details: { checked, satisfied_mode: judgement.satisfiedMode },
    hints: {
      kids: [...new Set(checked.map(({ kid }) => kid))],
      algs: [...new Set(checked.map(({ alg }) => alg))],
    },
  });
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
  return satisfies(signatures, mode) ? 'ok' : 'invalid';
}

/** One for each candidate; undefined where one could not be checked, which is a bug. */
function checkedBy(
  candidates: readonly Candidate[],
  results: readonly BatchResult[],
): CheckedSignature[] | undefined {
  const signatures: CheckedSignature[] = [];
  for (const { handle, component, item } of candidates) {
    const status = statusOf(item, results);
    if (status === batchStatuses.badInput || status === batchStatuses.internal) return undefined;
    const valid = status === batchStatuses.ok;
    signatures.push({
      kid: handle.version.kid,
      components: handle.algorithm.components,
      component,
      valid,
    });
  }
  return signatures;
}

function statusOf(item: number | undefined, results: readonly BatchResult[]): BatchStatus | undefined {
  return item === undefined ? undefined : results[item]?.status;
}

function reasonOf(status: BatchStatus | undefined): string | undefined {
  switch (status) {
    case batchStatuses.signatureInvalid:
      return 'signature_invalid';
    case batchStatuses.keyUnusable:
      return 'key_unusable';
    default:
      return undefined;
  }
}
