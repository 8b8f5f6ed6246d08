import { createHash } from 'node:crypto';
import { isName } from '../core/name.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../keys/authenticity.ts';
import type { StoreEntry } from '../store/store.ts';
import type { Certificate } from './certificate.ts';
import type { RevocationList } from './crl.ts';

export const anchorTypes = ['internal_ca', 'external_ca', 'root'] as const;
export type AnchorType = (typeof anchorTypes)[number];

/** Its anchors hold for every tenant. No tenant can have this name, which has capitals. */
export const globalTenant = 'GLOBAL';

export interface TrustAnchor {
  /** UUID. */
  readonly id: string;
  readonly tenant: string;
  readonly type: AnchorType;
  /** Where it is trusted; at least one. */
  readonly places: readonly AnchorPlace[];
  /** UTC, milliseconds since 1970. */
  readonly addedAtMs: number;
  readonly certificate: CertificateFacts;
  readonly der: Uint8Array;
  /** The version of a managed key whose public key the certificate has: named when it was added. */
  readonly caKid?: string;
  /** Facts of the newest list of what the authority has revoked; absent where none was given. */
  readonly list?: RevocationFacts;
}

/** An environment and a plane of it; `*`: each of them. */
export interface AnchorPlace {
  readonly environment: string;
  readonly plane: string;
}

/** True if one of these places is, or holds, this one. */
export function holdsAt(places: readonly AnchorPlace[], { environment, plane }: AnchorPlace): boolean {
  return places.some(
    (place) =>
      (place.environment === '*' || place.environment === environment) &&
      (place.plane === '*' || place.plane === plane),
  );
}

/** The members of a certificate that a listing shows, so that it parses none. */
export interface CertificateFacts {
  /** Of the DER, in hex. */
  readonly sha256: string;
  readonly spkiSha256: string;
  /** Hex. */
  readonly serial: string;
  /** Distinguished names as RFC 4514 escapes them, in the order of the certificate. */
  readonly subject: string;
  readonly issuer: string;
  /** UTC, milliseconds since 1970. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
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

export const anchorRecordKey = (tenant: string, id: string) => `trust/anchor/${tenant}/${id}`;
/** DER as it came: the anchor's record has its digest. */
export const listRecordKey = (tenant: string, id: string) => `trust/list/${tenant}/${id}`;
/** Indexes, which nothing authenticates: only the record says what is trusted. */
export const anchorDigestKey = (tenant: string, sha256: string) => `trust/digest/${tenant}/${sha256}`;
export const anchorSubjectPrefix = (tenant: string, comparedSubject: string) =>
  `trust/subject/${tenant}/${sha256Hex(Buffer.from(comparedSubject)).slice(0, 32)}/`;

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export const isAnchorId = (text: string): boolean => uuid.test(text);
export const isOwnerOfAnchors = (tenant: string): boolean => tenant === globalTenant || isName(tenant);

interface StoredAnchor {
  readonly v: 1;
  readonly type: AnchorType;
  readonly places: readonly AnchorPlace[];
  readonly added_at_ms: number;
  readonly der: string;
  readonly facts: Omit<CertificateFacts, 'sha256'>;
  readonly ca_kid?: string;
  readonly list?: RevocationFacts;
}

export function sealAnchor(anchor: TrustAnchor, mac: RecordMac): Uint8Array {
  const { tenant, id, type, places, addedAtMs, certificate, der, caKid, list } = anchor;
  const { sha256: _, ...facts } = certificate;
  const stored: StoredAnchor = {
    ...{ v: 1, type, places, added_at_ms: addedAtMs, facts },
    der: Buffer.from(der).toString('base64'),
    ...(caKid === undefined ? {} : { ca_kid: caKid }),
    ...(list === undefined ? {} : { list }),
  };
  return authenticated(anchorRecordKey(tenant, id), JSON.stringify(stored), mac);
}

/** Undefined where the record is not authentic. */
export function openAnchor(
  tenant: string,
  id: string,
  { key, value }: Pick<StoreEntry, 'key' | 'value'>,
  mac: RecordMac,
): TrustAnchor | undefined {
  const opened = openAuthenticated(key, value, mac);
  if (opened === undefined) return undefined;
  const stored = JSON.parse(Buffer.from(opened.text).toString()) as StoredAnchor;
  const { type, places, added_at_ms: addedAtMs, facts, ca_kid: caKid, list } = stored;
  const der = Uint8Array.from(Buffer.from(stored.der, 'base64'));
  return {
    ...{ id, tenant, type, places, addedAtMs, der },
    certificate: { sha256: sha256Hex(der), ...facts },
    ...(caKid === undefined ? {} : { caKid }),
    ...(list === undefined ? {} : { list }),
  };
}

export function certificateFacts(certificate: Certificate): CertificateFacts {
  const { sha256, spkiSha256, serial, notBeforeMs, notAfterMs, library } = certificate;
  return {
    ...{ sha256, spkiSha256, serial, subject: nameText(library.subject), issuer: nameText(library.issuer) },
    ...{ notBeforeMs, notAfterMs },
  };
}

/** Node writes a line for each part, with commas and line feeds of values escaped. */
function nameText(lines: string | undefined): string {
  return (lines ?? '').replaceAll('\n', ',');
}

export function revocationFacts(list: RevocationList): RevocationFacts {
  const { number, thisUpdateMs, nextUpdateMs, serials, der } = list;
  return {
    ...(number === undefined ? {} : { number: number.toString() }),
    ...{ thisUpdateMs, nextUpdateMs, entries: serials.size, sha256: sha256Hex(der) },
  };
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
