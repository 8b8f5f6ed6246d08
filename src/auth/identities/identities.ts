import type { Identity, IdentityCondition, PolicyFile } from '../../config/policy-file.ts';
import { matchesAny } from '../../core/pattern.ts';
import type { PeerCertificate } from '../../core/peer.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { TokenClaims, TokenVerifier } from './jwt.ts';

/** The facts of a client certificate that tell workloads apart. */
type CertificateFacts = Pick<PeerCertificate, 'spiffe' | 'dns' | 'sha256'>;

/** The proof of identity that a workload shows in place of a capability. */
export interface Evidence {
  readonly certificate?: CertificateFacts | undefined;
  readonly jwt?: string | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

export interface Identities {
  /**
   * The first identity that fits the evidence. Refuses with Unauthenticated where there is none or it does not hold,
   * with NoCapability where it fits no identity.
   */
  identify(evidence: Evidence): Promise<Result<Identity>>;
}

const noEvidence = refuse(
  'Unauthenticated',
  'show a client certificate, a JSON Web Token, or come over the Unix socket',
);
const nobody = refuse('NoCapability', 'no identity of the policy file fits');

/** The one component that turns certificates, tokens and peers into identities; every dialect asks it. */
export function createIdentities(
  { identities }: Pick<PolicyFile, 'identities'>,
  tokens: TokenVerifier,
): Identities {
  return {
    async identify(evidence) {
      const { jwt, certificate, uid } = evidence;
      if (jwt === undefined && certificate === undefined && uid === undefined) return noEvidence;
      let claims: TokenClaims | undefined;
      if (jwt !== undefined) {
        const verified = await tokens.verify(jwt);
        // A token that does not hold is not passed over for a weaker proof.
        if (!verified.ok) return verified;
        claims = verified.value;
      }
      const found = identities.find(({ when }) => fits(when, evidence, claims));
      return found === undefined ? nobody : ok(found);
    },
  };
}

function fits(when: IdentityCondition, evidence: Evidence, claims: TokenClaims | undefined): boolean {
  switch (when.kind) {
    case 'certificate':
      return certificateNames(evidence.certificate, when.member).some((name) =>
        matchesAny(when.patterns, name),
      );
    case 'jwt':
      return claims !== undefined && claimsFit(when, claims);
    case 'peer':
      return evidence[when.member] === when.id;
  }
}

function certificateNames(
  certificate: CertificateFacts | undefined,
  member: 'spiffe' | 'dns' | 'sha256',
): readonly string[] {
  const value = certificate?.[member];
  if (value === undefined) return [];
  return typeof value === 'string' ? [value] : value;
}

function claimsFit(
  when: IdentityCondition & { kind: 'jwt' },
  { issuer, subject, all }: TokenClaims,
): boolean {
  if (when.issuer !== issuer || !matchesAny(when.subject, subject)) return false;
  return Object.entries(when.claims).every(([name, patterns]) =>
    claimTexts(Object.hasOwn(all, name) ? all[name] : undefined).some((text) => matchesAny(patterns, text)),
  );
}

/** Texts, numbers and truth values, alone or in a list. */
function claimTexts(value: unknown): readonly string[] {
  return (Array.isArray(value) ? value : [value])
    .filter((each) => ['string', 'number', 'boolean'].includes(typeof each))
    .map(String);
}
