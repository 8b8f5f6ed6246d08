import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import { type Caller, isOfPlace, namesOne, placesOfCaller } from '../../core/scope.ts';
import type { AnchorPlace, TrustAnchor } from '../../trust/anchor-records.ts';
import type { BeginAnchorChange } from '../../trust/trust-anchors.ts';
import type { KeyOperation, OperationParts } from '../operation.ts';
import { certifyingKey, refusalOfCertifying, spkiSha256Of } from './certifying-key.ts';
import { agreementOf, factsOfChange, receiptOfTrust, refusalOfTrustPlace, type TrustParts } from './parts.ts';
import type {
  AddAnchorRequest,
  AddedAnchor,
  ListAnchorsRequest,
  ListedAnchors,
  ReadAnchorRequest,
  RemoveAnchorRequest,
  RevocationListRequest,
  TrustChange,
} from './requests.ts';

export type AnchorParts = TrustParts & OperationParts;

const usualLimit = 100;
const ofAll = 'GLOBAL';
const noPlanes = refuse('BadRequest', 'planes: at least one');
const otherPlanes = refuse('NoCapability', 'the caller is of other planes');
const notThere = refuse('NoCapability', 'the trust anchor is of another environment or plane');
const keyOfAll = refuse('BadRequest', 'an anchor of all tenants is joined to no key');
const doesNotSign = refuse('Unsupported', 'this key signs no certificates');

/** A certificate that is trusted from now on. */
export function addAnchorOperation(parts: AnchorParts): KeyOperation<AddAnchorRequest, AddedAnchor> {
  return {
    kind: 'keys',
    name: 'trust_anchor_add',
    scope: 'kms:admin',
    facts: factsOfChange,
    receipt: (request, _, answer) => receiptOfTrust(request, answer?.anchor.id),
    async run(request, caller) {
      const refused = refusalOfTrustPlace(caller, request, true);
      if (refused !== undefined) return refused;
      const places = placesOf(request, caller);
      if (!places.ok) return places;
      const { tenant, certificate, type } = request;
      const ca = await joinedKey(parts, request, caller);
      if (!ca.ok) return ca;
      const { anchors } = await parts.trust();
      const joined = ca.value === undefined ? {} : { ca: ca.value };
      return anchors.add(
        { ...{ tenant, certificate, type, places: places.value }, ...joined },
        beginning(parts, 'trust_anchor_add', request, caller),
      );
    },
  };
}

/** Nobody trusts it any more in the caller's own places. Where it has no others, it is gone with its revocation list. */
export function removeAnchorOperation(parts: TrustParts): KeyOperation<RemoveAnchorRequest, TrustAnchor> {
  return {
    kind: 'keys',
    name: 'trust_anchor_remove',
    scope: 'kms:admin',
    facts: factsOfChange,
    receipt: (request) => receiptOfTrust(request, request?.id.toLowerCase()),
    async run(request, caller) {
      const found = await anchorOf(parts, request, caller, true);
      if (!found.ok) return found;
      const [{ anchors }, { holdsAt }] = await Promise.all([
        parts.trust(),
        import('../../trust/anchor-records.ts'),
      ]);
      const { id } = found.value;
      const begin = beginning(parts, 'trust_anchor_remove', request, caller, id);
      return anchors.remove(request.tenant, id, begin, (places) => {
        const left = placesLeft(places, caller);
        return holdsAt(left, request) ? otherPlanes : ok(left);
      });
    },
  };
}

/** The newest list of what the anchor's authority has revoked. */
export function setRevocationListOperation(
  parts: TrustParts,
): KeyOperation<RevocationListRequest, TrustAnchor> {
  return {
    kind: 'keys',
    name: 'trust_anchor_crl',
    scope: 'kms:admin',
    facts: factsOfChange,
    receipt: (request) => receiptOfTrust(request, request?.id.toLowerCase()),
    async run(request, caller) {
      const found = await anchorOf(parts, request, caller, true);
      if (!found.ok) return found;
      const { anchors } = await parts.trust();
      const { id } = found.value;
      const begin = beginning(parts, 'trust_anchor_crl', request, caller, id);
      return anchors.setRevocationList(request.tenant, id, request.list, begin);
    },
  };
}

export function listAnchorsOperation(parts: TrustParts): KeyOperation<ListAnchorsRequest, ListedAnchors> {
  return {
    kind: 'keys',
    name: 'trust_anchor_list',
    scope: 'kms:read',
    receipt: (request) => receiptOfTrust(request),
    async run(request, caller) {
      const refused = refusalOfTrustPlace(caller, request, false);
      if (refused !== undefined) return refused;
      const { anchors } = await parts.trust();
      const { tenant, environment, plane, cursor, limit = usualLimit } = request;
      const after = cursor === undefined ? {} : { after: cursor };
      return anchors.list(tenant, { place: { environment, plane }, limit, ...after });
    },
  };
}

export function readAnchorOperation(parts: TrustParts): KeyOperation<ReadAnchorRequest, TrustAnchor> {
  return {
    kind: 'keys',
    name: 'trust_anchor_read',
    scope: 'kms:read',
    receipt: (request) => receiptOfTrust(request, request?.id.toLowerCase()),
    run: (request, caller) => anchorOf(parts, request, caller, false),
  };
}

/** The anchor that a call names, for callers who may ask about it there. */
async function anchorOf(
  { trust }: TrustParts,
  request: ReadAnchorRequest,
  caller: Caller,
  changes: boolean,
): Promise<Result<TrustAnchor>> {
  const refused = refusalOfTrustPlace(caller, request, changes);
  if (refused !== undefined) return refused;
  const [{ anchors }, { holdsAt }] = await Promise.all([trust(), import('../../trust/anchor-records.ts')]);
  const found = await anchors.get(request.tenant, request.id.toLowerCase());
  if (!found.ok) return found;
  // One of all is changed under their name alone.
  if (changes && found.value.tenant !== request.tenant) return refuse('NotFound');
  return holdsAt(found.value.places, request) ? found : notThere;
}

/** Whoever may not ask in a place makes nothing distrusted there. */
function placesLeft(places: readonly AnchorPlace[], caller: Caller): readonly AnchorPlace[] {
  return places.filter((place) => !isOfPlace(caller, place));
}

/** Whoever may not ask on a plane makes nothing trusted there. */
function placesOf(
  { tenant, environment, plane, planes: named }: AddAnchorRequest,
  caller: Caller,
): Result<readonly AnchorPlace[]> {
  const own = placesOfCaller(caller).planes;
  const [everywhere, usual] = tenant === ofAll ? ['*', own] : [environment, [plane]];
  const planes = named ?? usual;
  if (planes !== 'all' && planes.length === 0) return noPlanes;
  const among = planes === 'all' ? own === 'all' : planes.every((each) => namesOne(own, each));
  if (!among) return otherPlanes;
  const wished = planes === 'all' ? ['*'] : [...new Set(planes)];
  return ok(wished.map((each) => ({ environment: everywhere, plane: each })));
}

async function joinedKey(
  parts: AnchorParts,
  request: AddAnchorRequest,
  caller: Caller,
): Promise<Result<{ readonly kid: string; readonly spkiSha256: string } | undefined>> {
  if (request.caKid === undefined) return ok(undefined);
  if (request.tenant === ofAll) return keyOfAll;
  const found = await certifyingKey(parts.keyring, caller, request.caKid);
  if (!found.ok) return found;
  const refused = refusalOfCertifying(parts, found.value, request, caller);
  if (refused !== undefined) return refused;
  const spkiSha256 = spkiSha256Of(found.value);
  return spkiSha256 === undefined ? doesNotSign : ok({ kid: found.value.version.kid, spkiSha256 });
}

/** The agreement to a change, and its record, once nothing else stands against it. */
function beginning(
  parts: TrustParts,
  operation: string,
  request: TrustChange,
  caller: Caller,
  anchorId?: string,
): BeginAnchorChange {
  return async (change) => {
    const approval = await agreementOf(parts, operation, request, caller, anchorId);
    if (!approval.ok) return approval as Refused;
    if (change.kind === 'known') return nothingChanges;
    return parts.journal.changing({
      ...{ operation, change, caller, approval: approval.value, opId: request.opId, place: request },
    });
  };
}

const nothingChanges = ok({ end: () => {} });
