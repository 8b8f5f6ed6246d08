import { type Static, Type } from '@sinclair/typebox';
import type { SchemeEntry } from '../algorithms/descriptor.ts';
import { encodeBase64 } from '../core/bytes.ts';
import { type Failure, failure } from '../core/failure.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import type { WorkItem } from '../dispatch/work.ts';
import { type BatchResult, batchOps } from '../engine/batch.ts';
import type { KeyHandle } from '../keys/keyring.ts';
import {
  type CryptoOperation,
  type CryptoWork,
  homeOf,
  type KeyUse,
  type OperationParts,
  type Step,
  singlePlan,
  type UseReceipt,
  useOf,
  type WorkOutcome,
} from './operation.ts';
import { shapeOf } from './parse.ts';
import { algorithmText, closed, hybridPolicy, kidText, operationId, payloadB3 } from './schemas.ts';

/** Keys that sign one payload together; each is a signature to wait for and to send. */
const maxKidSet = 8;

const kidSet = Type.Array(kidText, { minItems: 1, maxItems: maxKidSet });

const signRequest = closed({
  kid: Type.Optional(kidText),
  kid_set: Type.Optional(kidSet),
  kid_or_set: Type.Optional(Type.Union([kidText, kidSet])),
  payload_b3: payloadB3,
  alg: Type.Optional(algorithmText),
  policy: Type.Optional(hybridPolicy),
  op_id: Type.Optional(operationId),
  receipt: Type.Optional(Type.Boolean()),
});

export type SignRequest = Static<typeof signRequest>;
export const signShape = shapeOf(signRequest);

interface Signer {
  readonly kid: string;
  readonly alg: string;
}

/** The work of one sign request, and who signs at which place of it. */
export interface SignPlan {
  readonly work: CryptoWork;
  readonly signers: readonly Signer[];
}

/** POST /sign: signs the 32 bytes of a BLAKE3 digest with the current version of one key or of several. */
export function signOperation(parts: OperationParts): CryptoOperation<SignRequest> {
  return {
    kind: 'crypto',
    batch: false,
    name: 'sign',
    scope: 'kms:sign',
    parse: (request) => signShape.parse(request),
    subjects: signSubjects,
    plan: (request, caller) => singlePlan(planSign(parts, request, caller), finishSign),
  };
}

export function planSign(parts: OperationParts, request: SignRequest, caller: Caller): Step<SignPlan> {
  const kids = kidsOf(request);
  if (kids === undefined) return refuse('BadRequest', 'give exactly one of kid, kid_set and kid_or_set');
  if (typeof kids === 'string') {
    const handle = parts.keyring.find(caller.tenant, kids);
    return handle instanceof Promise
      ? handle.then((found) => planFor(parts, request, [found]))
      : planFor(parts, request, [handle]);
  }
  return Promise.all(kids.map((kid) => parts.keyring.find(caller.tenant, kid))).then((found) =>
    planFor(parts, request, found),
  );
}

export function signSubjects(request: SignRequest): readonly string[] {
  const kids = kidsOf(request);
  return kids === undefined ? [] : typeof kids === 'string' ? [kids] : kids;
}

function kidsOf({ kid, kid_set, kid_or_set }: SignRequest): string | readonly string[] | undefined {
  const given = [kid, kid_set, kid_or_set].filter((kids) => kids !== undefined);
  return given.length === 1 ? given[0] : undefined;
}

function planFor(
  parts: OperationParts,
  request: SignRequest,
  handles: readonly Result<KeyHandle>[],
): Result<SignPlan> {
  const message = Buffer.from(request.payload_b3, 'hex');
  const items: WorkItem[] = [];
  const meters = [];
  const signers: Signer[] = [];
  const uses: KeyUse[] = [];
  for (const found of handles) {
    if (!found.ok) return found;
    const handle = found.value;
    const refused = mayNotSign(parts, handle);
    if (refused !== undefined) return { ok: false, failure: refused };
    uses.push(useOf(handle));
    const before = items.length;
    const home = homeOf('sign', handle);
    for (const part of handle.version.parts) {
      if (request.policy?.mode === 'pq_only' && !part.component.postQuantum) continue;
      const scheme = schemeFor(handle, part.component.schemes, request.alg);
      if (scheme === undefined) continue;
      items.push({
        op: batchOps.sign,
        scheme: scheme.scheme,
        keyNumber: part.keyNumber,
        key: part.keyReference,
        inputs: [message],
        home,
      });
      meters.push(parts.costs.meterOf(scheme, 'sign', message.length, home));
      signers.push({ kid: handle.version.kid, alg: scheme.alg });
    }
    if (items.length === before) {
      return request.policy?.mode === 'pq_only'
        ? refuse('PolicyViolation', 'no post-quantum signature can be made with this key')
        : refuse('Unsupported', 'the key does not sign with this alg');
    }
  }
  const alg = handles.length === 1 && handles[0]?.ok ? handles[0].value.algorithm.name : 'several';
  const { payload_b3: inputDigest, op_id: opId, receipt: receipts = false } = request;
  return ok({ work: { alg, kind: 'sign', items, meters, uses, inputDigest, opId, receipts }, signers });
}

function mayNotSign(parts: OperationParts, handle: KeyHandle): Failure | undefined {
  if (handle.algorithm.kind !== 'signature') return failure('Unsupported', 'this key does not sign');
  if (!parts.allowedAlgorithms.has(handle.algorithm.name)) {
    return failure('PolicyViolation', 'this algorithm is not allowed here');
  }
  if (handle.head.state === 'destroyed') return failure('Conflict', 'the key is destroyed');
  if (!handle.current) return failure('Conflict', 'only the current version signs');
  return undefined;
}

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

export interface SignAnswer {
  readonly kid: string;
  readonly sigs: readonly { readonly kid: string; readonly alg: string; readonly signature_b64: string }[];
  readonly receipts?: readonly UseReceipt[];
}

export function finishSign(plan: SignPlan, outcome: WorkOutcome): Result<SignAnswer> {
  if (!outcome.ok) return outcome;
  const sigs = [];
  for (const [index, signer] of plan.signers.entries()) {
    const [signature] = (outcome.value.results[index] as BatchResult).outputs as [Uint8Array];
    sigs.push({ kid: signer.kid, alg: signer.alg, signature_b64: encodeBase64(signature) });
  }
  const { kid } = plan.signers[0] as Signer;
  return ok(plan.work.receipts ? { kid, sigs, receipts: outcome.value.receipts } : { kid, sigs });
}
