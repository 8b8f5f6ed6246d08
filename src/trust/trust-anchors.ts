import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { BoundedCache } from '../core/bounded-cache.ts';
import type { Clock } from '../core/clock.ts';
import type { FailureCode } from '../core/failure.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import type { RecordMac } from '../keys/authenticity.ts';
import type { RoomForKeys } from '../keys/keyring.ts';
import { Serial } from '../keys/serial.ts';
import type { Change, Store, StoreEntry } from '../store/store.ts';
import {
  type AnchorPlace,
  type AnchorType,
  anchorDigestKey,
  anchorRecordKey,
  anchorSubjectPrefix,
  certificateFacts,
  globalTenant,
  holdsAt,
  isAnchorId,
  isOwnerOfAnchors,
  listRecordKey,
  openAnchor,
  revocationFacts,
  sealAnchor,
  type TrustAnchor,
} from './anchor-records.ts';
import { refusalOfAnchor, refusalOfList } from './anchor-rules.ts';
import { type Certificate, readCertificate } from './certificate.ts';
import { type CheckedChain, type CheckedPath, checkChain } from './chain-check.ts';
import { readRevocationList } from './crl.ts';

export interface AddAnchor {
  readonly tenant: string;
  /** DER or PEM. */
  readonly certificate: Uint8Array;
  readonly type: AnchorType;
  /** At least one. */
  readonly places: readonly AnchorPlace[];
  /** The version whose public key this is, SHA-256 of its SubjectPublicKeyInfo in hex. BadRequest where it is another. */
  readonly ca?: { readonly kid: string; readonly spkiSha256: string };
}

/**
 * `known`: nothing changes. `extended`: it is trusted in more places, or joined to a key, from then on. `narrowed`: in fewer, and
 * still in some.
 */
export interface AnchorChange {
  readonly kind: 'added' | 'extended' | 'narrowed' | 'known' | 'removed' | 'list_set';
  /** As it is afterwards, or was before it is removed. */
  readonly anchor: TrustAnchor;
}

/**
 * Called once nothing stands against a change, before it is committed: for the agreement of another, and for its record. A refusal
 * stops the change. `end` is told how it went.
 */
export type BeginAnchorChange = (
  change: AnchorChange,
) => Promise<Result<{ end(failure?: FailureCode): void }>>;

/** The places where an anchor stays trusted, of those where it is. */
export type PlacesLeft = (places: readonly AnchorPlace[]) => Result<readonly AnchorPlace[]>;

const nowhere: PlacesLeft = () => ok([]);

export interface AnchorPage {
  readonly anchors: readonly TrustAnchor[];
  /** Where there may be more. */
  readonly nextCursor?: string;
}

export interface AnchorRange {
  /** Only those that are trusted there. */
  readonly place?: AnchorPlace;
  readonly after?: string;
  /** 1 to 1,000. */
  readonly limit: number;
}

/** The trust anchors of all tenants, in the store. */
export interface TrustAnchors {
  /** The same certificate again is the anchor that is there. Refuses with BadRequest, Conflict or TooLarge. */
  add(wish: AddAnchor, begin: BeginAnchorChange): Promise<Result<{ anchor: TrustAnchor; known: boolean }>>;
  /** Of the tenant or of all; NotFound where there is none. */
  get(tenant: string, id: string): Promise<Result<TrustAnchor>>;
  /** The tenant's own, then those of all. */
  list(tenant: string, range: AnchorRange): Promise<Result<AnchorPage>>;
  /** Of the tenant alone. It goes where `left` leaves it no place. */
  remove(
    ...of: [tenant: string, id: string, begin: BeginAnchorChange, left?: PlacesLeft]
  ): Promise<Result<TrustAnchor>>;
  /**
   * Takes a list of what the anchor has revoked: signed by it, in force, and newer than the one before. The same list again
   * changes nothing.
   */
  setRevocationList(
    ...of: [tenant: string, id: string, bytes: Uint8Array, begin: BeginAnchorChange]
  ): Promise<Result<TrustAnchor>>;
  /** The verdict about a chain under the anchors of this tenant and of all. */
  check(chain: CheckedChain): Promise<Result<CheckedPath>>;
  /** Refused where anchors cannot be read now. */
  probe(): Promise<Result<void>>;
}

export interface TrustAnchorParts {
  readonly store: Store;
  readonly mac: RecordMac;
  readonly clock: Pick<Clock, 'utcMs'>;
  readonly room?: RoomForKeys | undefined;
  /** For the operator's log: the name of a record that is not authentic. Must not throw. */
  readonly onCorruptRecord: (storeKey: string) => void;
}

/** What the service promises to hold. They cost a start and a call nothing, and some 150 MB of the disk. */
export const maxAnchorsPerTenant = 50_000;
/** Authorities of one name: each is tried, and each costs a signature. */
export const maxAnchorsOfName = 32;
/** A page of records is read in one go on the main thread: about 2 ms. */
const recordsPerPage = 64;
/** Records that one call looks at where a place passes few of them. */
const maxScanned = 4_096;
const maxLimit = 1_000;
/** Changes of one tenant that wait for each other. */
const maxWaiting = 64;
/** Tenants whose anchors are counted. */
const maxCounted = 4_096;

const notThere = refuse('NotFound', 'there is no such trust anchor');
const notReadable = refuse('BadRequest', 'this is no X.509 certificate in DER or PEM');
const noList = refuse('BadRequest', 'this is no complete revocation list in DER or PEM, or it has no end');
const changedMeanwhile = refuse('Conflict', 'another change came between: try again');
const tooMany = refuse('TooLarge', `a tenant has at most ${maxAnchorsPerTenant} trust anchors`);
const tooManyOfName = refuse('TooLarge', `at most ${maxAnchorsOfName} trust anchors have one name`);
const otherType = refuse('Conflict', 'this certificate is an anchor of another type');
const otherKey = refuse('BadRequest', 'the certificate has another public key than this key');
const badCursor = refuse('BadRequest', 'cursor is not one of ours');
const badLimit = refuse('BadRequest', `limit is 1 to ${maxLimit}`);

/** Before the id in a cursor among the anchors of all. */
const globalMark = `${globalTenant}:`;

export function openTrustAnchors(parts: TrustAnchorParts): TrustAnchors {
  return new StoredAnchors(parts);
}

interface Found {
  readonly anchor: TrustAnchor;
  readonly revision: number;
}

class StoredAnchors implements TrustAnchors {
  readonly #parts: TrustAnchorParts;
  readonly #changes = new Serial(maxWaiting);
  readonly #counts = new BoundedCache<string, number>(maxCounted);

  constructor(parts: TrustAnchorParts) {
    this.#parts = parts;
  }

  async add(wish: AddAnchor, begin: BeginAnchorChange) {
    const certificate = readCertificate(wish.certificate);
    if (certificate === undefined) return notReadable;
    const refused = refusalOfAnchor(certificate, wish.type, this.#parts.clock.utcMs());
    if (refused !== undefined) return refused;
    if (wish.ca !== undefined && wish.ca.spkiSha256 !== certificate.spkiSha256) return otherKey;
    return this.#changes.run(wish.tenant, async () => {
      const known = await this.#parts.store.get(anchorDigestKey(wish.tenant, certificate.sha256));
      if (!known.ok) return known;
      return known.value === undefined
        ? this.#addNew(wish, certificate, begin)
        : this.#extend(wish, Buffer.from(known.value.value).toString(), begin);
    });
  }

  async get(tenant: string, id: string): Promise<Result<TrustAnchor>> {
    const own = await this.#read(tenant, id);
    if (own.ok || own.failure.code !== 'NotFound') return pick(own);
    return pick(await this.#read(globalTenant, id));
  }

  async list(tenant: string, { place, after, limit }: AnchorRange): Promise<Result<AnchorPage>> {
    if (!Number.isInteger(limit) || limit < 1 || limit > maxLimit) return badLimit;
    const ofAll = after?.startsWith(globalMark) === true;
    let owner = ofAll ? globalTenant : tenant;
    let id = ofAll ? after.slice(globalMark.length) : (after ?? '');
    if (id !== '' && !isAnchorId(id)) return badCursor;
    const anchors: TrustAnchor[] = [];
    for (let scanned = 0; scanned < maxScanned; scanned += recordsPerPage) {
      const prefix = anchorRecordKey(owner, '');
      const most = Math.min(recordsPerPage, limit - anchors.length);
      const page = await this.#parts.store.list({
        ...{ prefix, limit: most },
        ...(id === '' ? {} : { after: `${prefix}${id}` }),
      });
      if (!page.ok) return page;
      for (const entry of page.value) {
        id = entry.key.slice(prefix.length);
        const anchor = this.#opened(owner, id, entry);
        if (anchor !== undefined && (place === undefined || holdsAt(anchor.places, place)))
          anchors.push(anchor);
      }
      const end = page.value.length < most;
      if (end && owner === globalTenant) return ok({ anchors });
      if (end) [owner, id] = [globalTenant, ''];
      if (anchors.length === limit) break;
      await setImmediate();
    }
    return ok({ anchors, nextCursor: owner === tenant ? id : `${globalMark}${id}` });
  }

  remove(
    ...[tenant, id, begin, left = nowhere]: Parameters<TrustAnchors['remove']>
  ): Promise<Result<TrustAnchor>> {
    return this.#changes.run(tenant, async () => {
      const found = await this.#read(tenant, id);
      if (!found.ok) return found;
      const { anchor, revision } = found.value;
      const places = left(anchor.places);
      if (!places.ok) return places;
      if (places.value.length > 0) {
        const narrowed: TrustAnchor = { ...anchor, places: places.value };
        return this.#commit({ kind: 'narrowed', anchor: narrowed }, begin, [
          { key: anchorRecordKey(tenant, id), value: this.#sealed(narrowed), expectedRevision: revision },
        ]);
      }
      const certificate = readCertificate(anchor.der);
      const named =
        certificate === undefined
          ? []
          : [`${anchorSubjectPrefix(tenant, certificate.subject.compared)}${id}`];
      const removed = await this.#commit({ kind: 'removed', anchor }, begin, [
        { key: anchorRecordKey(tenant, id), value: undefined, expectedRevision: revision },
        { key: anchorDigestKey(tenant, anchor.certificate.sha256), value: undefined },
        ...named.map((key) => ({ key, value: undefined })),
        { key: listRecordKey(tenant, id), value: undefined },
      ]);
      const count = this.#counts.get(tenant);
      if (removed.ok && count !== undefined) this.#counts.set(tenant, count - 1);
      return removed;
    });
  }

  async setRevocationList(
    ...[tenant, id, bytes, begin]: Parameters<TrustAnchors['setRevocationList']>
  ): Promise<Result<TrustAnchor>> {
    const list = readRevocationList(bytes);
    return this.#changes.run(tenant, async () => {
      const found = await this.#read(tenant, id);
      if (!found.ok) return found;
      const { anchor, revision } = found.value;
      const authority = readCertificate(anchor.der);
      if (authority === undefined) return refuse('Internal');
      if (list === undefined) return noList;
      const facts = revocationFacts(list);
      if (facts.sha256 === anchor.list?.sha256) return this.#commit({ kind: 'known', anchor }, begin, []);
      const refused = refusalOfList(list, authority, anchor.list, this.#parts.clock.utcMs());
      if (refused !== undefined) return refused;
      const changed: TrustAnchor = { ...anchor, list: facts };
      return this.#commit({ kind: 'list_set', anchor: changed }, begin, [
        { key: anchorRecordKey(tenant, id), value: this.#sealed(changed), expectedRevision: revision },
        { key: listRecordKey(tenant, id), value: list.der },
      ]);
    });
  }

  check(chain: CheckedChain): Promise<Result<CheckedPath>> {
    return checkChain(chain, {
      named: (tenant, subject) => this.#named(tenant, subject),
      listOf: ({ tenant, id }) => this.#parts.store.get(listRecordKey(tenant, id)),
    });
  }

  async probe(): Promise<Result<void>> {
    const found = await this.#parts.store.list({ prefix: anchorRecordKey(globalTenant, ''), limit: 1 });
    return found.ok ? ok(undefined) : found;
  }

  async #addNew(
    { tenant, type, places, ca }: AddAnchor,
    certificate: Certificate,
    begin: BeginAnchorChange,
  ): Promise<Result<{ anchor: TrustAnchor; known: boolean }>> {
    const { clock, room } = this.#parts;
    const refused = room?.refusal(tenant) ?? (await this.#refusalOfMore(tenant, certificate));
    if (refused !== undefined) return refused;
    const id = randomUUID();
    const anchor: TrustAnchor = {
      ...{ id, tenant, type, places, addedAtMs: clock.utcMs() },
      ...{ certificate: certificateFacts(certificate), der: certificate.der },
      ...(ca === undefined ? {} : { caKid: ca.kid }),
    };
    const named = `${anchorSubjectPrefix(tenant, certificate.subject.compared)}${id}`;
    const added = await this.#commit({ kind: 'added', anchor }, begin, [
      { key: anchorRecordKey(tenant, id), value: this.#sealed(anchor), expectedRevision: 0 },
      { key: anchorDigestKey(tenant, certificate.sha256), value: Buffer.from(id), expectedRevision: 0 },
      { key: named, value: Buffer.from(id), expectedRevision: 0 },
    ]);
    if (!added.ok) return added;
    room?.made(tenant);
    this.#counts.set(tenant, (this.#counts.get(tenant) ?? 0) + 1);
    return ok({ anchor, known: false });
  }

  /** The same certificate again: in further places, or with its key. */
  async #extend(
    { tenant, type, places, ca }: AddAnchor,
    id: string,
    begin: BeginAnchorChange,
  ): Promise<Result<{ anchor: TrustAnchor; known: boolean }>> {
    const found = await this.#read(tenant, id);
    if (!found.ok) return found;
    const { anchor, revision } = found.value;
    if (anchor.type !== type) return otherType;
    const more = places.filter((place) => !holdsAt(anchor.places, place));
    const caKid = ca?.kid ?? anchor.caKid;
    const changes = more.length > 0 || caKid !== anchor.caKid;
    const extended: TrustAnchor = {
      ...{ ...anchor, places: [...anchor.places, ...more] },
      ...(caKid === undefined ? {} : { caKid }),
    };
    const outcome = changes
      ? await this.#commit({ kind: 'extended', anchor: extended }, begin, [
          { key: anchorRecordKey(tenant, id), value: this.#sealed(extended), expectedRevision: revision },
        ])
      : await this.#commit({ kind: 'known', anchor }, begin, []);
    return outcome.ok ? ok({ anchor: outcome.value, known: true }) : outcome;
  }

  async #refusalOfMore(tenant: string, { subject }: Certificate): Promise<Refused | undefined> {
    const prefix = anchorSubjectPrefix(tenant, subject.compared);
    const named = await this.#parts.store.list({ prefix, limit: maxAnchorsOfName });
    if (!named.ok) return named;
    if (named.value.length >= maxAnchorsOfName) return tooManyOfName;
    const count = await this.#countOf(tenant);
    if (!count.ok) return count;
    return count.value >= maxAnchorsPerTenant ? tooMany : undefined;
  }

  /** Counted once, by the index, whose entries are small. */
  async #countOf(tenant: string): Promise<Result<number>> {
    const known = this.#counts.get(tenant);
    if (known !== undefined) return ok(known);
    const [prefix, limit] = [anchorDigestKey(tenant, ''), 1_000];
    let count = 0;
    for (let after: string | undefined; ; ) {
      const page = await this.#parts.store.list({ prefix, limit, ...(after === undefined ? {} : { after }) });
      if (!page.ok) return page;
      count += page.value.length;
      after = page.value.at(-1)?.key;
      if (page.value.length < limit) break;
      await setImmediate();
    }
    this.#counts.set(tenant, count);
    return ok(count);
  }

  async #named(tenant: string, comparedSubject: string): Promise<Result<readonly TrustAnchor[]>> {
    const prefix = anchorSubjectPrefix(tenant, comparedSubject);
    const found = await this.#parts.store.list({ prefix, limit: maxAnchorsOfName });
    if (!found.ok) return found;
    const anchors: TrustAnchor[] = [];
    for (const { value } of found.value) {
      const anchor = await this.#read(tenant, Buffer.from(value).toString());
      // A record that is not authentic trusts nobody, and hides no other.
      if (anchor.ok) anchors.push(anchor.value.anchor);
      else if (anchor.failure.code === 'StoreUnavailable') return anchor;
    }
    return ok(anchors);
  }

  async #read(tenant: string, id: string): Promise<Result<Found>> {
    if (!isAnchorId(id) || !isOwnerOfAnchors(tenant)) return notThere;
    const found = await this.#parts.store.get(anchorRecordKey(tenant, id));
    if (!found.ok) return found;
    if (found.value === undefined) return notThere;
    const anchor = this.#opened(tenant, id, found.value);
    return anchor === undefined ? refuse('Internal') : ok({ anchor, revision: found.value.revision });
  }

  #opened(tenant: string, id: string, entry: StoreEntry): TrustAnchor | undefined {
    const anchor = openAnchor(tenant, id, entry, this.#parts.mac);
    if (anchor === undefined) this.#parts.onCorruptRecord(entry.key);
    return anchor;
  }

  #sealed(anchor: TrustAnchor): Uint8Array {
    return sealAnchor(anchor, this.#parts.mac);
  }

  /** Of no changes, the agreement alone. */
  async #commit(
    change: AnchorChange,
    begin: BeginAnchorChange,
    changes: readonly Change[],
  ): Promise<Result<TrustAnchor>> {
    const begun = await begin(change);
    if (!begun.ok) return begun;
    const outcome = changes.length === 0 ? undefined : await this.#parts.store.commit(changes);
    const refused =
      outcome === undefined || (outcome.ok && outcome.value.committed)
        ? undefined
        : outcome.ok
          ? changedMeanwhile
          : outcome;
    begun.value.end(refused?.failure.code);
    return refused ?? ok(change.anchor);
  }
}

function pick(found: Result<Found>): Result<TrustAnchor> {
  return found.ok ? ok(found.value.anchor) : found;
}
