import { type Static, Type } from '@sinclair/typebox';
import { decodeBase64, encodeBase64 } from '../../../core/bytes.ts';
import { parseRfc3339 } from '../../../core/clock.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';
import type { Operations } from '../../../operations/operations.ts';
import type { SignAnswer, SignRequest } from '../../../operations/sign.ts';
import type { GivenSignature, VerifyAnswer, VerifyRequest } from '../../../operations/verify.ts';
import type { Endpoint } from '../../dialect.ts';
import { closed, type Shape, shapeOf, typed } from '../../json-requests.ts';
import { batchEndpoint, withHeaders } from './batches.ts';
import { presentEvidence, presentReceipt } from './present.ts';
import {
  algorithmText,
  hybridPolicy,
  kidText,
  maxSignatureBase64,
  operationId,
  publishedBase64,
  signedMembers,
  verifyPolicy,
} from './schemas.ts';
import { signedInputOf } from './signed-members.ts';

/** Keys that sign together; each is a signature to wait for and to send. */
const maxKidSet = 8;

const kidSet = Type.Array(kidText, { minItems: 1, maxItems: maxKidSet });

export const signShape = shapeOf(
  closed({
    kid: Type.Optional(kidText),
    kid_set: Type.Optional(kidSet),
    kid_or_set: Type.Optional(Type.Union([kidText, kidSet])),
    ...signedMembers,
    alg: Type.Optional(algorithmText),
    policy: Type.Optional(hybridPolicy),
    op_id: Type.Optional(operationId),
    receipt: Type.Optional(Type.Boolean()),
  }),
);
type SignBody = typeof signShape extends Shape<infer Body> ? Body : never;

function signRequestOf(body: SignBody): Result<SignRequest> {
  const kids = kidsOf(body);
  if (kids === undefined) return notOneOfKids;
  const input = signedInputOf(body);
  if (!input.ok) return input;
  return ok({
    kids,
    input: input.value,
    alg: body.alg,
    mode: body.policy?.mode,
    opId: body.op_id,
    receipts: body.receipt ?? false,
  });
}

function kidsOf({ kid, kid_set, kid_or_set }: SignBody): readonly string[] | undefined {
  const given = kid ?? kid_set ?? kid_or_set;
  const members = (kid === undefined ? 0 : 1) + (kid_set === undefined ? 0 : 1);
  if (given === undefined || members + (kid_or_set === undefined ? 0 : 1) > 1) return undefined;
  return typeof given === 'string' ? [given] : given;
}

const notOneOfKids = refuse('BadRequest', 'give exactly one of kid, kid_set and kid_or_set');

function presentSign({ kid, signatures, receipts, evidence }: SignAnswer) {
  const sigs = signatures.map((made) => ({
    kid: made.kid,
    alg: made.alg,
    signature_b64: encodeBase64(made.signature),
    ...(made.signedIn === undefined ? undefined : { backend: made.signedIn }),
  }));
  const answer =
    receipts === undefined ? { kid, sigs } : { kid, sigs, receipts: receipts.map(presentReceipt) };
  return evidence.length === 0 ? answer : { ...answer, attestation: evidence.map(presentEvidence) };
}

/** POST /sign */
export function signEndpoint({ sign }: Operations): Endpoint<SignRequest, SignAnswer> {
  return {
    operation: sign,
    parse: typed(signShape, signRequestOf),
    present: (answer) => ({ status: 200, body: presentSign(answer) }),
  };
}

/** Signatures of one input: eight keys that sign together, each with a hybrid pair. */
const maxSignatures = 16;

const givenSignature = closed({
  kid: kidText,
  alg: Type.Optional(algorithmText),
  signature_b64: Type.String({ minLength: 1, maxLength: maxSignatureBase64, ...publishedBase64 }),
});

export const verifyShape = shapeOf(
  closed({
    ...signedMembers,
    sigs: Type.Array(givenSignature, { minItems: 1, maxItems: maxSignatures }),
    policy: Type.Optional(verifyPolicy),
  }),
);
type VerifyBody = typeof verifyShape extends Shape<infer Body> ? Body : never;

function verifyRequestOf(body: VerifyBody): Result<VerifyRequest> {
  const { sigs, policy } = body;
  const input = signedInputOf(body);
  if (!input.ok) return input;
  const signatures: GivenSignature[] = [];
  for (let n = 0; n < sigs.length; n++) {
    const { kid, alg, signature_b64 } = sigs[n] as Static<typeof givenSignature>;
    const signature = decodeBase64(signature_b64, maxSignatureBase64);
    if (signature === undefined) return refuse('BadRequest', `sigs.${n}.signature_b64 is not base64`);
    signatures.push({ kid, alg, signature });
  }
  const window = windowOf(policy);
  return window.ok
    ? ok({ input: input.value, signatures, mode: policy?.mode, window: window.value })
    : window;
}

function windowOf(policy: Static<typeof verifyPolicy> | undefined): Result<VerifyRequest['window']> {
  const { not_before: from, not_after: to } = policy ?? {};
  if (from === undefined && to === undefined) return ok(undefined);
  const notBeforeMs = from === undefined ? undefined : parseRfc3339(from);
  const notAfterMs = to === undefined ? undefined : parseRfc3339(to);
  if (from !== undefined && notBeforeMs === undefined) return notTimes;
  if (to !== undefined && notAfterMs === undefined) return notTimes;
  if (notBeforeMs !== undefined && notAfterMs !== undefined && notAfterMs < notBeforeMs) return notTimes;
  return ok({ notBeforeMs, notAfterMs });
}

const notTimes = refuse(
  'BadRequest',
  'policy.not_before and policy.not_after are times of RFC 3339, the one not after the other',
);

function presentVerify({ ok, satisfiedMode, fault, checked, cache }: VerifyAnswer) {
  return {
    ok,
    details: {
      checked: checked.map(({ kid, alg, ok, reason }) =>
        reason === undefined ? { kid, alg, ok } : { kid, alg, ok, reason },
      ),
      satisfied_mode: satisfiedMode,
      ...(fault === undefined ? undefined : { reason: fault }),
    },
    hints: {
      kids: [...new Set(checked.map(({ kid }) => kid))],
      algs: [...new Set(checked.map(({ alg }) => alg))],
    },
    ...(cache === undefined ? undefined : { cache_age_ms: cache.ageMs }),
    ...(cache?.stale ? { stale: true } : undefined),
  };
}

/** In milliseconds, as in the body; of a batch the oldest. */
function cacheHeaders(answers: readonly VerifyAnswer[]): readonly (readonly [string, string])[] | undefined {
  let oldestMs: number | undefined;
  for (const { cache } of answers) if (cache !== undefined) oldestMs = Math.max(oldestMs ?? 0, cache.ageMs);
  return oldestMs === undefined ? undefined : [['x-kms-cache-age', String(oldestMs)]];
}

/** POST /verify */
export function verifyEndpoint({ verify }: Operations): Endpoint<VerifyRequest, VerifyAnswer> {
  return {
    operation: verify,
    parse: typed(verifyShape, verifyRequestOf),
    present: (answer) => withHeaders({ status: 200, body: presentVerify(answer) }, cacheHeaders([answer])),
  };
}

/** POST /sign/batch: many sign requests in one, each with its own answer or error. */
export function signBatchEndpoint({ sign_batch }: Operations, maxItems: number) {
  return batchEndpoint(sign_batch, maxItems, signShape, signRequestOf, presentSign);
}

/** POST /verify/batch: many verify requests in one, each with its own answer or error. */
export function verifyBatchEndpoint({ verify_batch }: Operations, maxItems: number) {
  return batchEndpoint(verify_batch, maxItems, verifyShape, verifyRequestOf, presentVerify, cacheHeaders);
}
