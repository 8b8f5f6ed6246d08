import { hash } from 'node:crypto';
import { type Static, Type } from '@sinclair/typebox';
import type { WorkKind } from '../algorithms/work-kinds.ts';
import { decodeBase64, encodeBase64 } from '../core/bytes.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import type { WorkItem } from '../dispatch/work.ts';
import { type BatchOp, type BatchResult, batchOps, batchStatuses } from '../engine/batch.ts';
import type { KeyHandle } from '../keys/keyring.ts';
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
import { base64Length, closed, kidText } from './schemas.ts';

/** Longer ones are hashed by their caller: a worker takes 0.2 ms for as much. */
const maxMessageBytes = 64 * 1024;
/** Tags have 32 bytes; what is longer is no tag, and is read to be told so. */
const maxTagBytes = 256;

const messageText = Type.String({ maxLength: base64Length(maxMessageBytes) });
const macRequest = closed({ kid: kidText, message_b64: messageText });
const macVerifyRequest = closed({
  kid: kidText,
  message_b64: messageText,
  mac_b64: Type.String({ maxLength: base64Length(maxTagBytes) }),
});

type MacRequest = Static<typeof macRequest>;
type MacVerifyRequest = Static<typeof macVerifyRequest>;

const macShape = shapeOf(macRequest);
const macVerifyShape = shapeOf(macVerifyRequest);

interface MacPlan {
  readonly work: CryptoWork;
  readonly kid: string;
}

/** POST /mac: the tag of a message by the current version of a key (HMAC-SHA-256, RFC 2104). */
export function macOperation(parts: OperationParts): CryptoOperation<MacRequest> {
  return {
    kind: 'crypto',
    batch: false,
    name: 'mac',
    scope: 'kms:sign',
    parse: (request) => macShape.parse(request),
    subjects: ({ kid }) => [kid],
    plan: (request, caller) => singlePlan(planMac(parts, request, caller), finishMac),
  };
}

/** POST /mac/verify: whether a tag is that of a message, by any version that is not destroyed. */
export function macVerifyOperation(parts: OperationParts): CryptoOperation<MacVerifyRequest> {
  return {
    kind: 'crypto',
    batch: false,
    name: 'mac_verify',
    scope: 'kms:verify',
    parse: (request) => macVerifyShape.parse(request),
    subjects: ({ kid }) => [kid],
    plan: (request, caller) => singlePlan(planMacVerify(parts, request, caller), finishMacVerify),
  };
}

function planMac(parts: OperationParts, request: MacRequest, caller: Caller): Step<MacPlan> {
  const message = decodeBase64(request.message_b64, maxMessageBytes);
  if (message === undefined) return badMessage;
  return withKey(parts, request.kid, caller, (handle) => {
    const refused = mayNotUse(parts, handle);
    if (refused !== undefined) return refused;
    if (!handle.current) return refuse('Conflict', 'only the current version makes tags');
    return ok(planOf(parts, handle, 'mac', batchOps.mac, [message]));
  });
}

function planMacVerify(parts: OperationParts, request: MacVerifyRequest, caller: Caller): Step<MacPlan> {
  const message = decodeBase64(request.message_b64, maxMessageBytes);
  if (message === undefined) return badMessage;
  const tag = decodeBase64(request.mac_b64, maxTagBytes);
  if (tag === undefined) return refuse('BadRequest', 'mac_b64 is not base64');
  return withKey(parts, request.kid, caller, (handle) => {
    const refused = mayNotUse(parts, handle);
    if (refused !== undefined) return refused;
    return ok(planOf(parts, handle, 'verify_mac', batchOps.verifyMac, [message, tag]));
  });
}

const badMessage = refuse('BadRequest', `message_b64 is not base64 of at most ${maxMessageBytes} bytes`);

function withKey(
  parts: OperationParts,
  kid: string,
  caller: Caller,
  plan: (handle: KeyHandle) => Result<MacPlan>,
): Step<MacPlan> {
  const planFound = (found: Result<KeyHandle>) => (found.ok ? plan(found.value) : found);
  const found = parts.keyring.find(caller.tenant, kid);
  return found instanceof Promise ? found.then(planFound) : planFound(found);
}

function mayNotUse(parts: OperationParts, { algorithm, version }: KeyHandle): Refused | undefined {
  if (algorithm.kind !== 'mac') return refuse('Unsupported', 'this key makes no tags');
  if (!parts.allowedAlgorithms.has(algorithm.name)) {
    return refuse('PolicyViolation', 'this algorithm is not allowed here');
  }
  return version.state === 'destroyed' ? refuse('Conflict', 'the key is destroyed') : undefined;
}

function planOf(
  parts: OperationParts,
  handle: KeyHandle,
  kind: WorkKind,
  op: BatchOp,
  inputs: readonly [message: Uint8Array, tag?: Uint8Array],
): MacPlan {
  const [part] = handle.version.parts as [(typeof handle.version.parts)[0]];
  const [scheme] = part.component.schemes;
  const [message] = inputs;
  const home = homeOf(kind, handle);
  const item: WorkItem = {
    op,
    scheme: scheme.scheme,
    keyNumber: part.keyNumber,
    key: part.keyReference,
    inputs: inputs as readonly Uint8Array[],
    home,
  };
  return {
    work: {
      alg: handle.algorithm.name,
      kind,
      items: [item],
      meters: [parts.costs.meterOf(scheme, kind, message.length, home)],
      uses: [useOf(handle)],
      inputDigest: `sha256:${hash('sha256', message)}`,
      opId: undefined,
      receipts: false,
      ...(kind === 'verify_mac' ? { verdict: verdictOf } : undefined),
    },
    kid: handle.version.kid,
  };
}

function finishMac(plan: MacPlan, outcome: WorkOutcome): Result<{ kid: string; mac_b64: string }> {
  if (!outcome.ok) return outcome;
  const [tag] = (outcome.value.results[0] as BatchResult).outputs as [Uint8Array];
  return ok({ kid: plan.kid, mac_b64: encodeBase64(tag) });
}

function verdictOf(_use: KeyUse, results: readonly BatchResult[]): Verdict {
  const status = results[0]?.status;
  if (status === batchStatuses.ok) return 'ok';
  return status === batchStatuses.signatureInvalid ? 'invalid' : 'error:Internal';
}

function finishMacVerify(_plan: MacPlan, outcome: WorkOutcome): Result<{ ok: boolean }> {
  if (!outcome.ok) return outcome;
  const { status } = outcome.value.results[0] as BatchResult;
  if (status !== batchStatuses.ok && status !== batchStatuses.signatureInvalid) return refuse('Internal');
  return ok({ ok: status === batchStatuses.ok });
}
