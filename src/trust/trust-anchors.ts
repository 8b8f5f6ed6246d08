import { createHash, randomUUID } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import { isName } from '../core/name.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../keys/authenticity.ts';
import type { Change, Store, StoreEntry } from '../store/store.ts';
import { type Certificate, readCertificate } from './certificate.ts';
import { isSignedBy, type RevocationList, readRevocationList, revocationIn } from './crl.ts';
import { type PathVerdict, validatePath } from './path.ts';

export const anchorTypes = ['internal_ca', 'external_ca', 'root'] as const;
export type AnchorType = (typeof anchorTypes)[number];

/** Its anchors hold for every tenant. No tenant can have this name, which has capitals. */
export const globalTenant = 'GLOBAL';

export interface TrustAnchor {
  /** UUID. */
  readonly id: string;
  readonly tenant: string;
  readonly type: AnchorType;
  /** The planes on which it is trusted; empty: all. */
  readonly planes: readonly string[];
  /** UTC, milliseconds since 1970. */
  readonly addedAtMs: number;
  readonly certificate: Certificate;
  /** Facts of the newest list of what the authority has revoked; absent where none was given. */
  readonly list?: RevocationFacts;
}

export interface RevocationFacts {
  /** Decimal: a list with a smaller number is older. */
  readonly number?: string;
  readonly thisUpdateMs: number;
  readonly nextUpdateMs: number;
  readonly entries: number;
  /** Of its DER, in hex. */
  readonly sha256: string;
}

export interface AddAnchor {
  readonly tenant: string;
  /** DER or PEM. */
  readonly certificate: Uint8Array;
  readonly type: AnchorType;
  readonly planes: readonly string[];
}

export interface AnchorPage {
  readonly anchors: readonly TrustAnchor[];
  /** The last id of the page, where there may be more. */
  readonly nextCursor?: string;
}

export interface CheckedChain {
  readonly tenant: string;
  readonly plane: string | undefined;
  readonly certificate: Certificate;
  /** Authorities between, in any order. */
  readonly given: readonly Certificate[];
}

/** The trust anchors of all tenants, in the store. */
export interface TrustAnchors {
  /** The same certificate again is the anchor that is there. Refuses with BadRequest, Conflict or TooLarge. */
  add(wish: AddAnchor): Promise<Result<TrustAnchor>>;
  /** Of the tenant or of all; NotFound where there is none. */
  get(tenant: string, id: string): Promise<Result<TrustAnchor>>;
  list(
    tenant: string,
    page: { readonly after?: string; readonly limit: number },
  ): Promise<Result<AnchorPage>>;
  remove(tenant: string, id: string): Promise<Result<void>>;
  /** Takes a list of what the anchor has revoked: signed by it, in force, and no older than the one before. */
  setRevocationList(tenant: string, id: string, bytes: Uint8Array): Promise<Result<TrustAnchor>>;
  /** The verdict about a chain under the anchors of this tenant and of all. */
  check(chain: CheckedChain): Promise<Result<PathVerdict>>;
}

export interface TrustAnchorParts {
  readonly store: Store;
  readonly mac: RecordMac;
  readonly clock: Clock;
  /** For the operator's log: the name of a record that is not authentic. Must not throw. */
  readonly onCorruptRecord: (storeKey: string) => void;
}

/** 30 MB of records; companies have a few dozen. */
const maxAnchorsPerTenant = 10_000;
/** Authorities of one name: each is tried, and each costs a signature. */
const maxSameName = 32;
/** Bits; NIST SP 800-131A refuses less. */
const minRsaBits = 2048;

const anchorKey = (tenant: string, id: string) => `trust/anchor/${tenant}/${id}`;
const listKey = (tenant: string, id: string) => `trust/list/${tenant}/${id}`;
const digestKey = (tenant: string, sha256: string) => `trust/digest/${tenant}/${sha256}`;
const subjectPrefix = (tenant: string, { subject }: { subject: { compared: string } }) =>
  `trust/subject/${tenant}/${sha256Hex(Buffer.from(subject.compared)).slice(0, 32)}/`;

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

const notThere = refuse('NotFound', 'there is no such trust anchor');
const notReadable = refuse('BadRequest', 'this is no X.509 certificate in DER or PEM');
const changedMeanwhile = refuse('Conflict', 'another change came between: try again');
const tooMany = refuse('TooLarge', `a tenant has at most ${maxAnchorsPerTenant} trust anchors`);

interface StoredAnchor {
  readonly v: 1;
  readonly type: AnchorType;
  readonly planes: readonly string[];
  readonly added_at_ms: number;
  readonly der: string;
  readonly list?: RevocationFacts;
}

export function openTrustAnchors(parts: TrustAnchorParts): TrustAnchors {
  return new StoredAnchors(parts);
}

class StoredAnchors implements TrustAnchors {
  readonly #parts: TrustAnchorParts;
  /** Anchors by tenant, counted once. */
  readonly #counts = new Map<string, number>();

  constructor(parts: TrustAnchorParts) {
    this.#parts = parts;
  }

  async add({ tenant, certificate: bytes, type, planes }: AddAnchor): Promise<Result<TrustAnchor>> {
    const { store, clock } = this.#parts;
    const certificate = readCertificate(bytes);
    if (certificate === undefined) return notReadable;
    const refused = refusalOf(certificate, type, clock.utcMs());
    if (refused !== undefined) return refused;
    const known = await store.get(digestKey(tenant, certificate.sha256));
    if (!known.ok) return known;
    if (known.value !== undefined)
      return this.#known(tenant, Buffer.from(known.value.value).toString(), type);
    const count = await this.#countOf(tenant);
    if (!count.ok) return count;
    if (count.value >= maxAnchorsPerTenant) return tooMany;
    const anchor: TrustAnchor = {
      ...{
        id: randomUUID(),
        tenant,
        type,
        planes: [...planes].sort(),
        addedAtMs: clock.utcMs(),
        certificate,
      },
    };
    const { id } = anchor;
    const committed = await this.#commit([
      { key: anchorKey(tenant, id), value: this.#sealed(anchor), expectedRevision: 0 },
      { key: digestKey(tenant, certificate.sha256), value: Buffer.from(id), expectedRevision: 0 },
      { key: `${subjectPrefix(tenant, certificate)}${id}`, value: Buffer.from(id), expectedRevision: 0 },
    ]);
    if (committed !== undefined) return committed;
    this.#counts.set(tenant, (this.#counts.get(tenant) ?? count.value) + 1);
    return ok(anchor);
  }

  async get(tenant: string, id: string): Promise<Result<TrustAnchor>> {
    const own = await this.#read(tenant, id);
    if (own.ok || own.failure.code !== 'NotFound') return pick(own);
    return pick(await this.#read(globalTenant, id));
  }

  async list(
    tenant: string,
    { after, limit }: { readonly after?: string; readonly limit: number },
  ): Promise<Result<AnchorPage>> {
    if (after !== undefined && !uuid.test(after)) return refuse('BadRequest', 'cursor is not one of ours');
    const prefix = anchorKey(tenant, '');
    const found = await this.#parts.store.list({
      ...{ prefix, limit },
      ...(after === undefined ? {} : { after: `${prefix}${after}` }),
    });
    if (!found.ok) return found;
    const anchors = found.value
      .map((entry) => this.#opened(tenant, entry.key.slice(prefix.length), entry))
      .filter((anchor) => anchor !== undefined);
    const last = found.value.length < limit ? undefined : found.value.at(-1)?.key.slice(prefix.length);
    return ok({ anchors, ...(last === undefined ? {} : { nextCursor: last }) });
  }

  async remove(tenant: string, id: string): Promise<Result<void>> {
    const found = await this.#read(tenant, id);
    if (!found.ok) return found;
    const { anchor, revision } = found.value;
    const refused = await this.#commit([
      { key: anchorKey(tenant, id), value: undefined, expectedRevision: revision },
      { key: digestKey(tenant, anchor.certificate.sha256), value: undefined },
      { key: `${subjectPrefix(tenant, anchor.certificate)}${id}`, value: undefined },
      { key: listKey(tenant, id), value: undefined },
    ]);
    if (refused !== undefined) return refused;
    const count = this.#counts.get(tenant);
    if (count !== undefined) this.#counts.set(tenant, count - 1);
    return ok(undefined);
  }

  async setRevocationList(tenant: string, id: string, bytes: Uint8Array): Promise<Result<TrustAnchor>> {
    const found = await this.#read(tenant, id);
    if (!found.ok) return found;
    const { anchor, revision } = found.value;
    const list = readRevocationList(bytes);
    if (list === undefined)
      return refuse('BadRequest', 'this is no complete revocation list in DER or PEM, or it has no end');
    const refused = refusalOfList(list, anchor, this.#parts.clock.utcMs());
    if (refused !== undefined) return refused;
    const changed: TrustAnchor = { ...anchor, list: factsOf(list) };
    const committed = await this.#commit([
      { key: anchorKey(tenant, id), value: this.#sealed(changed), expectedRevision: revision },
      { key: listKey(tenant, id), value: list.der },
    ]);
    return committed ?? ok(changed);
  }

  async check({ tenant, plane, certificate, given }: CheckedChain): Promise<Result<PathVerdict>> {
    const anchors: TrustAnchor[] = [];
    const names = new Set<string>();
    for (const each of [certificate, ...given]) {
      for (const subject of [each.subject, each.issuer]) {
        if (names.has(subject.compared)) continue;
        names.add(subject.compared);
        for (const owner of [tenant, globalTenant]) {
          const named = await this.#named(owner, { subject });
          if (!named.ok) return named;
          anchors.push(...named.value);
        }
      }
    }
    const trusted = anchors.filter(
      ({ planes }) => planes.length === 0 || (plane !== undefined && planes.includes(plane)),
    );
    const lists = new Map<string, RevocationList | 'unknown'>();
    for (const anchor of trusted) {
      const list = await this.#listOf(anchor);
      if (!list.ok) return list;
      if (list.value !== undefined) lists.set(anchor.certificate.sha256, list.value);
    }
    const atMs = this.#parts.clock.utcMs();
    return ok(
      validatePath(
        certificate,
        given,
        trusted.map((anchor) => anchor.certificate),
        {
          atMs,
          revocation(each, issuer) {
            const list = lists.get(issuer.sha256);
            return list === 'unknown' ? 'revocation_unknown' : revocationIn(list, each, atMs);
          },
        },
      ),
    );
  }

  async #known(tenant: string, id: string, type: AnchorType): Promise<Result<TrustAnchor>> {
    const found = await this.#read(tenant, id);
    if (!found.ok) return found;
    return found.value.anchor.type === type
      ? ok(found.value.anchor)
      : refuse('Conflict', 'this certificate is an anchor of another type');
  }

  async #countOf(tenant: string): Promise<Result<number>> {
    const known = this.#counts.get(tenant);
    if (known !== undefined) return ok(known);
    const prefix = anchorKey(tenant, '');
    let count = 0;
    for (let after: string | undefined; ; ) {
      const page = await this.#parts.store.list({
        prefix,
        limit: 1_000,
        ...(after === undefined ? {} : { after }),
      });
      if (!page.ok) return page;
      count += page.value.length;
      after = page.value.at(-1)?.key;
      if (page.value.length < 1_000) break;
    }
    this.#counts.set(tenant, count);
    return ok(count);
  }

  async #named(
    tenant: string,
    name: { readonly subject: { readonly compared: string } },
  ): Promise<Result<readonly TrustAnchor[]>> {
    const found = await this.#parts.store.list({ prefix: subjectPrefix(tenant, name), limit: maxSameName });
    if (!found.ok) return found;
    const anchors: TrustAnchor[] = [];
    for (const { value } of found.value) {
      const anchor = await this.#read(tenant, Buffer.from(value).toString());
      // The index is not authenticated, so that only the record says what is trusted.
      if (anchor.ok) anchors.push(anchor.value.anchor);
      else if (anchor.failure.code === 'StoreUnavailable') return anchor;
    }
    return ok(anchors);
  }

  /** `unknown`: there was a list, and what is stored is not it. */
  async #listOf({ tenant, id, list }: TrustAnchor): Promise<Result<RevocationList | 'unknown' | undefined>> {
    if (list === undefined) return ok(undefined);
    const found = await this.#parts.store.get(listKey(tenant, id));
    if (!found.ok) return found;
    const bytes = found.value?.value;
    if (bytes === undefined || sha256Hex(bytes) !== list.sha256) return ok('unknown');
    return ok(readRevocationList(bytes) ?? 'unknown');
  }

  async #read(
    tenant: string,
    id: string,
  ): Promise<Result<{ readonly anchor: TrustAnchor; readonly revision: number }>> {
    if (!uuid.test(id) || !(tenant === globalTenant || isName(tenant))) return notThere;
    const found = await this.#parts.store.get(anchorKey(tenant, id));
    if (!found.ok) return found;
    if (found.value === undefined) return notThere;
    const anchor = this.#opened(tenant, id, found.value);
    return anchor === undefined ? refuse('Internal') : ok({ anchor, revision: found.value.revision });
  }

  #opened(tenant: string, id: string, { key, value }: StoreEntry): TrustAnchor | undefined {
    const opened = openAuthenticated(key, value, this.#parts.mac);
    const stored =
      opened === undefined ? undefined : (JSON.parse(Buffer.from(opened.text).toString()) as StoredAnchor);
    const certificate = stored === undefined ? undefined : readCertificate(Buffer.from(stored.der, 'base64'));
    if (stored === undefined || certificate === undefined) {
      this.#parts.onCorruptRecord(key);
      return undefined;
    }
    const { type, planes, added_at_ms: addedAtMs, list } = stored;
    return { id, tenant, type, planes, addedAtMs, certificate, ...(list === undefined ? {} : { list }) };
  }

  #sealed({ tenant, id, type, planes, addedAtMs, certificate, list }: TrustAnchor): Uint8Array {
    const stored: StoredAnchor = {
      ...{ v: 1, type, planes, added_at_ms: addedAtMs },
      der: Buffer.from(certificate.der).toString('base64'),
      ...(list === undefined ? {} : { list }),
    };
    return authenticated(anchorKey(tenant, id), JSON.stringify(stored), this.#parts.mac);
  }

  async #commit(changes: readonly Change[]): Promise<Refused | undefined> {
    const outcome = await this.#parts.store.commit(changes);
    if (!outcome.ok) return outcome;
    return outcome.value.committed ? undefined : changedMeanwhile;
  }
}

function pick(found: Result<{ readonly anchor: TrustAnchor }>): Result<TrustAnchor> {
  return found.ok ? ok(found.value.anchor) : found;
}

function refusalOf(certificate: Certificate, type: AnchorType, nowMs: number): Refused | undefined {
  const { basic, keyUsage, notBeforeMs, notAfterMs, selfIssued, library, unknownCritical } = certificate;
  if (nowMs > notAfterMs) return refuse('BadRequest', 'the certificate has expired');
  if (nowMs < notBeforeMs) return refuse('BadRequest', 'the certificate is not valid yet');
  if (basic?.ca !== true || keyUsage?.keyCertSign === false)
    return refuse('BadRequest', 'the certificate is not that of an authority');
  if (unknownCritical.length > 0 || certificate.duplicateExtension)
    return refuse('BadRequest', 'the certificate has an extension that cannot be honoured');
  if (type === 'root' && !selfIssued)
    return refuse('BadRequest', 'the certificate of a root is signed by itself');
  const { publicKey } = library;
  if ((publicKey.asymmetricKeyDetails?.modulusLength ?? minRsaBits) < minRsaBits)
    return refuse('BadRequest', `an RSA key has at least ${minRsaBits} bits`);
  if (selfIssued && !signsItself(certificate))
    return refuse('BadRequest', 'the signature of the certificate is not valid');
  return undefined;
}

function signsItself({ library }: Certificate): boolean {
  try {
    return library.verify(library.publicKey);
  } catch {
    return false;
  }
}

function refusalOfList(
  list: RevocationList,
  { certificate, list: before }: TrustAnchor,
  nowMs: number,
): Refused | undefined {
  if (!isSignedBy(list, certificate))
    return refuse('BadRequest', 'the revocation list is not signed by this authority');
  if (nowMs < list.thisUpdateMs || nowMs > list.nextUpdateMs)
    return refuse('BadRequest', 'the revocation list is not in force now');
  if (before === undefined) return undefined;
  const older =
    before.number !== undefined && list.number !== undefined
      ? list.number < BigInt(before.number)
      : list.thisUpdateMs < before.thisUpdateMs;
  return older ? refuse('Conflict', 'a newer revocation list is there already') : undefined;
}

function factsOf({ number, thisUpdateMs, nextUpdateMs, serials, der }: RevocationList): RevocationFacts {
  return {
    ...(number === undefined ? {} : { number: number.toString() }),
    ...{ thisUpdateMs, nextUpdateMs, entries: serials.size, sha256: sha256Hex(der) },
  };
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
