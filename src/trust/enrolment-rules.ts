import { type Refused, refuse } from '../core/result.ts';
import { type Certificate, readCertificate } from './certificate.ts';
import type { CertificationRequest } from './certification-request.ts';
import { liesWithin } from './names.ts';
import { problemOfIssuer, validatePath } from './path.ts';

export { holdsAt } from './anchor-records.ts';
export { readCertificate } from './certificate.ts';

/** The reason why no certificate by this authority would be valid now. */
export function refusalOfIssuer(authority: Certificate, nowMs: number): Refused | undefined {
  const problem = problemOfIssuer(authority, nowMs);
  if (problem === undefined) return undefined;
  return problem === 'expired'
    ? refuse('Conflict', 'the certificate of the authority has expired')
    : refuse('Conflict', 'the certificate of the authority is not one by which others are valid');
}

/** True if the authority's name constraints hold of what the request asks for. */
export function mayCertify({ constraints }: Certificate, request: CertificationRequest): boolean {
  return constraints === undefined || liesWithin(constraints, request.comparedSubject, request.names, true);
}

/** The certificate that was made, if it is one: as anybody validates it under its authority. */
export function checkedCertificate(
  der: Uint8Array,
  authority: Certificate,
  atMs: number,
): Certificate | undefined {
  const made = readCertificate(der);
  if (made === undefined) return undefined;
  return validatePath(made, [], [authority], { atMs }).valid ? made : undefined;
}
