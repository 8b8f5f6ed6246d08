import { ok, type Result, refuse } from '../../../core/result.ts';
import type { WireRequest } from '../../dialect.ts';

const twice = refuse('BadRequest', 'give the approval once: in X-Approval-Token, or as approval_token');

/** The agreement that comes with a request: in its header, or as a member of its body. */
export function approvalOf(
  body: { readonly approval_token?: string },
  { headers }: WireRequest,
): Result<string | undefined> {
  const inHeader = headers?.approval;
  const inBody = body.approval_token;
  if (inHeader !== undefined && inBody !== undefined && inHeader !== inBody) return twice;
  return ok(inHeader ?? inBody);
}
