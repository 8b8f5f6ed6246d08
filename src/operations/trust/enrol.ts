import { spkiOf } from '../../algorithms/public-formats.ts';
import { x509Signatures } from '../../algorithms/standard-names.ts';
import type { Approval } from '../../core/approvals.ts';
import { BoundedCache } from '../../core/bounded-cache.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { KeyHandle } from '../../keys/keyring.ts';
import type { TrustAnchor } from '../../trust/anchor-records.ts';
import type { Certificate } from '../../trust/certificate.ts';
import type { CertificationRequest } from '../../trust/certification-request.ts';
import type { EnrolledCertificate, EnrolledPage } from '../../trust/enrolled.ts';
import { planDocument, type SignedDocument } from '../formats/signed-document.ts';
import type { CryptoOperation, CryptoPlan, CryptoWork, KeyOperation, OperationParts } from '../operation.ts';
import {
  certifyingKey,
  dailyOfCertifying,
  refusalOfCertifying,
  sha256OfSpki,
  spkiSha256Of,
} from './certifying-key.ts';
import { agreementOf, factsOfChange, receiptOfTrust, refusalOfTrustPlace, type TrustParts } from './parts.ts';
import type { EnrolAnswer, EnrolRequest, ListEnrolledRequest } from './requests.ts';

export type EnrolParts = TrustParts & OperationParts;

const dayMs = 86_400_000;
const usualDays = 90;
/** The longest that browsers and most others take. */
export const maxValidDays = 397;
/** Clocks of those who read it may be behind. */
const backdatedMs = 60_000;
const usualLimit = 100;
/** Keys that were found by their public keys, of so many anchors. */
const maxFoundKeys = 1_024;
/** As many versions as are looked through for one. */
const maxSearched = 20_000;

const operation = 'certificate_enrol';
const notThere = refuse('NotFound', 'there is no such trust anchor');
const otherPlace = refuse('NoCapability', 'the trust anchor is of another environment or plane');
const ofOthers = refuse('NoCapability', 'certificates are enrolled by anchors of the caller’s own tenant');
const noSuchKey = refuse(
  'Unsupported',
  'no key of this tenant that is found by itself has the public key of this anchor: name one',
);
const otherKey = refuse('BadRequest', 'the anchor has another public key than this key');
const doesNotSign = refuse('Unsupported', 'this key signs no certificates');
const badDays = refuse('BadRequest', `a certificate is valid for 1 to ${maxValidDays} days`);
const outlives = refuse('BadRequest', 'a certificate does not outlive the one of its authority');
const outside = refuse('BadRequest', 'csr: the authority may not certify these names');

/** A certificate for who asks, signed by the managed key of an anchor as it signs a message. */
export function enrolOperation(parts: EnrolParts): CryptoOperation<EnrolRequest, EnrolAnswer> {
  const foundKeys = new BoundedCache<string, string>(maxFoundKeys);
  return {
    kind: 'crypto',
    batch: false,
    name: operation,
    scope: 'kms:admin',
    receipt: (request) => receiptOfTrust(request, request?.anchorId.toLowerCase()),
    subjects: ({ caKid }) => (caKid === undefined ? { alg: 'none' } : [caKid]),
    facts: factsOfChange,
    async plan(request, caller) {
      const refused = refusalOfTrustPlace(caller, request, false);
      if (refused !== undefined) return refused;
      if (request.tenant !== caller.tenant) return ofOthers;
      const begun = await beginEnrolment(parts, request, caller);
      if (!begun.ok) return begun;
      const name = await nameOfKey(parts, request, begun.value.anchor, caller, foundKeys);
      if (!name.ok) return name;
      const key = await certifyingKey(parts.keyring, caller, name.value);
      if (!key.ok) return key;
      const of = { kid: key.value.version.kid, opId: request.opId };
      const planned = await planDocument(parts, of, caller, (handle) =>
        documentOf(parts, request, caller, begun.value, handle),
      );
      if (!planned.ok) return planned;
      const limited = withDaily(planned.value, dailyOfCertifying(parts, key.value));
      return ok(keeping(parts, request, caller, begun.value, limited));
    },
  };
}

function withDaily<Answer>(plan: CryptoPlan<Answer>, daily: CryptoWork['daily']): CryptoPlan<Answer> {
  if (daily === undefined) return plan;
  return { ...plan, works: plan.works.map((work) => ('code' in work ? work : { ...work, daily })) };
}

/** What is known before a key is looked up. */
interface Enrolment {
  readonly anchor: TrustAnchor;
  readonly authority: Certificate;
  readonly csr: CertificationRequest;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

async function beginEnrolment(
  { trust, clock }: EnrolParts,
  request: EnrolRequest,
  { tenant }: Caller,
): Promise<Result<Enrolment>> {
  const [{ anchors, enrolled }, { readCertificationRequest }, x509] = await Promise.all([
    trust(),
    import('../../trust/certification-request.ts'),
    import('../../trust/enrolment-rules.ts'),
  ]);
  const found = await anchors.get(tenant, request.anchorId.toLowerCase());
  if (!found.ok) return found;
  const anchor = found.value;
  if (anchor.tenant !== tenant) return notThere;
  if (!x509.holdsAt(anchor.places, request)) return otherPlace;
  const csr = readCertificationRequest(request.csr);
  if (!csr.ok) return csr;
  const authority = x509.readCertificate(anchor.der);
  if (authority === undefined) return refuse('Internal');
  const nowMs = clock.utcMs();
  const validity = validityOf(request.validDays, authority, nowMs);
  if (!validity.ok) return validity;
  const refused = x509.refusalOfIssuer(authority, nowMs) ?? (await enrolled.refusal(tenant));
  if (refused !== undefined) return refused;
  if (!x509.mayCertify(authority, csr.value)) return outside;
  return ok({ anchor, authority, csr: csr.value, ...validity.value });
}

/** In whole seconds, as certificates have them. */
function validityOf(
  validDays: number | undefined,
  { notBeforeMs: from, notAfterMs: to }: Certificate,
  nowMs: number,
): Result<Pick<Enrolment, 'notBeforeMs' | 'notAfterMs'>> {
  const days = validDays ?? usualDays;
  if (!Number.isInteger(days) || days < 1 || days > maxValidDays) return badDays;
  const inSeconds = (ms: number) => Math.floor(ms / 1_000) * 1_000;
  const notAfterMs = inSeconds(nowMs + days * dayMs);
  if (notAfterMs > to && validDays !== undefined) return outlives;
  return ok({
    notBeforeMs: Math.max(inSeconds(nowMs - backdatedMs), from),
    notAfterMs: Math.min(notAfterMs, to),
  });
}

/** The key that the call or the anchor names, or else the one of this tenant that has the anchor's public key. */
async function nameOfKey(
  { keyring }: EnrolParts,
  { caKid }: EnrolRequest,
  { id, caKid: joined, certificate: { spkiSha256 } }: TrustAnchor,
  { tenant }: Caller,
  foundKeys: BoundedCache<string, string>,
): Promise<Result<string>> {
  const known = caKid ?? joined ?? foundKeys.get(id);
  if (known !== undefined) return ok(known);
  const versions = await keyring.publicVersions({ tenant, limit: maxSearched });
  if (!versions.ok) return versions.failure.code === 'BadRequest' ? noSuchKey : versions;
  for (const version of versions.value) {
    const spki = spkiOf(version);
    if (spki === undefined || sha256OfSpki(spki) !== spkiSha256) continue;
    foundKeys.set(id, version.kid);
    return ok(version.kid);
  }
  return noSuchKey;
}

/** The certificate without its signature, once another has agreed. */
async function documentOf(
  parts: EnrolParts,
  request: EnrolRequest,
  caller: Caller,
  enrolment: Enrolment,
  handle: KeyHandle,
): Promise<Result<SignedDocument<Signed>>> {
  const { authority, csr, notBeforeMs, notAfterMs, anchor } = enrolment;
  const spkiSha256 = spkiSha256Of(handle);
  const scheme = handle.algorithm.components[0].schemes.find((way) => x509Signatures.has(way.scheme));
  if (spkiSha256 === undefined || scheme === undefined) return doesNotSign;
  if (spkiSha256 !== anchor.certificate.spkiSha256) return otherKey;
  // An agreement serves once: what would be refused anyhow does not use it up.
  const refused = refusalOfCertifying(parts, handle, request, caller);
  if (refused !== undefined) return refused;
  const approval = await agreementOf(parts, operation, request, caller);
  if (!approval.ok) return approval;
  const { beginCertificate } = await import('../../trust/issue.ts');
  const signatureAlgorithm = x509Signatures.get(scheme.scheme) as string;
  const begun = beginCertificate(authority, csr, { notBeforeMs, notAfterMs, signatureAlgorithm });
  const { kid } = handle.version;
  return ok({
    scheme,
    message: begun.message,
    finish: (signature) => ({ der: begun.finish(signature), kid, approval: approval.value }),
  });
}

interface Signed {
  readonly der: Uint8Array;
  /** Versioned. */
  readonly kid: string;
  readonly approval: Approval;
}

/** The certificate leaves once it is checked as everybody will check it, its record is on the disk, and it is kept. */
function keeping(
  parts: EnrolParts,
  request: EnrolRequest,
  caller: Caller,
  enrolment: Enrolment,
  plan: CryptoPlan<Signed>,
): CryptoPlan<EnrolAnswer> {
  return {
    works: plan.works,
    async finish(outcomes) {
      const signed = await plan.finish(outcomes);
      return signed.ok ? keep(parts, request, caller, enrolment, signed.value) : signed;
    },
  };
}

async function keep(
  { trust, journal, clock }: EnrolParts,
  request: EnrolRequest,
  caller: Caller,
  { anchor, authority, notBeforeMs, notAfterMs }: Enrolment,
  { der, kid, approval }: Signed,
): Promise<Result<EnrolAnswer>> {
  const [{ enrolled }, { checkedCertificate }] = await Promise.all([
    trust(),
    import('../../trust/enrolment-rules.ts'),
  ]);
  const made = checkedCertificate(der, authority, clock.utcMs());
  if (made === undefined) return refuse('Internal');
  const { serial, sha256 } = made;
  const certificate: EnrolledCertificate = {
    ...{ id: serial, anchorId: anchor.id, kid, der, sha256, notBeforeMs, notAfterMs },
  };
  const unrecorded = await journal.issued({
    ...{
      operation,
      caller,
      approval,
      opId: request.opId,
      place: request,
      anchorId: anchor.id,
      kid,
      serial,
      sha256,
      notAfterMs,
    },
  });
  if (unrecorded !== undefined) return unrecorded;
  const kept = await enrolled.add(caller.tenant, certificate);
  return kept.ok ? ok({ certificate, issuerDer: anchor.der }) : kept;
}

/** The certificates of a tenant that its managed keys have signed. */
export function listEnrolledOperation(parts: TrustParts): KeyOperation<ListEnrolledRequest, EnrolledPage> {
  return {
    kind: 'keys',
    name: 'certificate_list',
    scope: 'kms:read',
    receipt: (request) => receiptOfTrust(request),
    async run(request, caller) {
      const refused = refusalOfTrustPlace(caller, request, false);
      if (refused !== undefined) return refused;
      if (request.tenant !== caller.tenant) return ofOthers;
      const { enrolled } = await parts.trust();
      const { cursor, limit = usualLimit } = request;
      return enrolled.list(caller.tenant, { limit, ...(cursor === undefined ? {} : { after: cursor }) });
    },
  };
}
