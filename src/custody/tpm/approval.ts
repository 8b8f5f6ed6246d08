import { type KeyObject, sign, verify } from 'node:crypto';
import { type Static, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { StartError } from '../../core/start-error.ts';
import { operatorKeyOf, pcrPolicy, pcrsOf, signedBytes } from './policy.ts';
import type { ApprovedValues, TpmSealPlace } from './root-sealing.ts';

/**
 * Messages between a machine whose root key its TPM keeps, and the operator, whose key is elsewhere. A request has values of
 * PCRs, and an approval the operator's signature of them. Both are JSON without secrets.
 */
const closed = { additionalProperties: false } as const;
/** SHA-256 in hex by the numbers of PCRs. */
const pcrValues = Type.Record(
  Type.String({ pattern: '^([0-9]|1[0-9]|2[0-3])$' }),
  Type.String({ pattern: '^[0-9a-f]{64}$' }),
  { ...closed, minProperties: 1 },
);
const asked = {
  v: Type.Literal(1),
  /** Id of the source in the list, which the operator's terminal shows. */
  source: Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,31}$' }),
  /** Hex, 16 bytes. */
  reference: Type.String({ pattern: '^[0-9a-f]{32}$' }),
  bank: Type.Literal('sha256'),
  values: pcrValues,
};
const request = Type.Object({ kind: Type.Literal('tpm-approval-request'), ...asked }, closed);
const approval = Type.Object(
  {
    kind: Type.Literal('tpm-approval'),
    ...asked,
    /** Base64 of r and s: ECDSA with SHA-256 over the digest of the PolicyPCR and the reference. */
    signature: Type.String({ pattern: '^[A-Za-z0-9+/]{86}==$' }),
  },
  closed,
);
const compiledRequest = TypeCompiler.Compile(request);
const compiledApproval = TypeCompiler.Compile(approval);

export type PcrApprovalRequest = Static<typeof request>;
export type PcrApproval = Static<typeof approval>;

/** The part of a source that approvals are about. */
export interface ApprovableSource extends TpmSealPlace {
  readonly id: string;
  readonly approved: readonly (ApprovedValues & { readonly approvedAtMs: number })[];
}

/** Kernels and firmware that one source may wait for. */
const maxApprovals = 64;

/**
 * Asks for approval of a source's PCRs; `foreseen` values replace those of now. Throws a StartError: one is of no PCR of the
 * source.
 */
export function requestFor(
  { id, reference, pcrs }: ApprovableSource,
  now: Readonly<Record<string, string>>,
  foreseen: Readonly<Record<string, string>>,
): PcrApprovalRequest {
  for (const pcr of pcrsOf(foreseen))
    if (!pcrs.includes(pcr))
      throw new StartError(`${id} is not bound to PCR ${pcr}: it is bound to ${pcrs.join(', ')}`);
  return {
    kind: 'tpm-approval-request',
    v: 1,
    source: id,
    reference,
    bank: 'sha256',
    values: { ...now, ...foreseen },
  };
}

/** Signs a request, on the operator's machine. Throws a StartError: these bytes are no request. */
export function approve(bytes: Uint8Array, key: KeyObject): PcrApproval {
  const found = jsonIn(bytes);
  if (!compiledRequest.Check(found))
    throw new StartError('this is no request for approval: intaglio root tpm request makes one');
  const signed = signedBytes(pcrPolicy(found.values), Buffer.from(found.reference, 'hex'));
  const signature = sign('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }).toString('base64');
  return { ...found, kind: 'tpm-approval', signature };
}

/**
 * The source's approvals with this one, without the oldest beyond `maxApprovals`. Throws a StartError: its operator has not
 * signed it for this source.
 */
export function accepted(
  source: ApprovableSource,
  bytes: Uint8Array,
  approvedAtMs: number,
): ApprovableSource['approved'] {
  const found = jsonIn(bytes);
  if (!compiledApproval.Check(found))
    throw new StartError('this is no approval: intaglio root tpm authorize makes one');
  const { values, signature, reference } = found;
  if (reference !== source.reference)
    throw new StartError(`this approval is for another source than ${source.id}`);
  if (pcrsOf(values).join() !== [...source.pcrs].sort((one, other) => one - other).join())
    throw new StartError(`this approval is of other PCRs than those of ${source.id}`);
  const signed = signedBytes(pcrPolicy(values), Buffer.from(reference, 'hex'));
  const key = operatorKeyOf(Buffer.from(source.operatorKey, 'base64'));
  if (!verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64')))
    throw new StartError(`this approval is not signed by the operator's key of ${source.id}`);
  const policy = pcrPolicy(values).toString('hex');
  const others = source.approved.filter((one) => pcrPolicy(one.values).toString('hex') !== policy);
  return [...others, { values, signature, approvedAtMs }].slice(-maxApprovals);
}

function jsonIn(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString());
  } catch {
    return undefined;
  }
}
