import type { Clock } from '../../core/clock.ts';
import { ok, refuse } from '../../core/result.ts';
import type { Certificate } from '../../trust/certificate.ts';
import type { KeyOperation } from '../operation.ts';
import { receiptOfTrust, refusalOfTrustPlace, type TrustParts } from './parts.ts';
import type { ChainVerdict, ValidateChainRequest } from './requests.ts';

/** Chains have two to five; what else a server sends with them is a few more. */
export const maxChainCertificates = 16;

const notReadable = refuse(
  'BadRequest',
  `chain: 1 to ${maxChainCertificates} X.509 certificates in DER or PEM`,
);

/** The verdict about a chain by what the caller's tenant and all trust there. A chain that is not valid is no refusal. */
export function validateChainOperation(
  parts: TrustParts & { readonly clock: Pick<Clock, 'utcMs'> },
): KeyOperation<ValidateChainRequest, ChainVerdict> {
  return {
    kind: 'keys',
    name: 'trust_validate',
    scope: 'kms:verify',
    receipt: (request, _, answer) => receiptOfTrust(request, answer?.anchorId),
    async run(request, caller) {
      const refused = refusalOfTrustPlace(caller, request, false);
      if (refused !== undefined) return refused;
      const [{ anchors }, { readCertificates }] = await Promise.all([
        parts.trust(),
        import('../../trust/certificate.ts'),
      ]);
      const { tenant, environment, plane, chain, purpose, atMs = parts.clock.utcMs() } = request;
      const read: Certificate[] = [];
      for (const bytes of chain) {
        const certificates = readCertificates(bytes, maxChainCertificates - read.length);
        if (certificates === undefined) return notReadable;
        read.push(...certificates);
      }
      const [certificate, ...given] = read;
      if (certificate === undefined) return notReadable;
      const place = { environment, plane };
      const checked = await anchors.check({ ...{ tenant, place, certificate, given, atMs }, purpose });
      if (!checked.ok) return checked;
      const { verdict, anchor, revocationChecked } = checked.value;
      return ok<ChainVerdict>({
        ...{ valid: verdict.valid, revocationChecked, atMs, anchorId: anchor?.id },
        problem: verdict.valid ? undefined : verdict.problem,
        depth: verdict.valid ? undefined : verdict.depth,
        path: verdict.valid ? verdict.path.map(({ sha256 }) => sha256) : [],
      });
    },
  };
}
