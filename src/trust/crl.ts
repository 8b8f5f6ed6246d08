import { AsnConvert } from '@peculiar/asn1-schema';
import { CRLNumber, Extensions, id_ce_cRLNumber, id_ce_cRLReasons, Name, Time } from '@peculiar/asn1-x509';
import { type Certificate, hexOf } from './certificate.ts';
import { type DerElement, derTags, elementAt, elementsIn, signedPartsOf } from './der.ts';
import { type ComparedName, comparedName } from './names.ts';
import { isX509SignatureBy } from './signatures.ts';

/** A complete list of revoked certificates of one authority (RFC 5280 section 5). */
export interface RevocationList {
  readonly der: Uint8Array;
  readonly issuer: ComparedName;
  /** UTC, milliseconds since 1970. */
  readonly thisUpdateMs: number;
  readonly nextUpdateMs: number;
  /** A newer list of an authority has a greater one; absent in lists of version 1. */
  readonly number: bigint | undefined;
  /** Serial numbers in hex. */
  readonly serials: ReadonlySet<string>;
  /** The part that is signed. */
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
  /** DER of AlgorithmIdentifier. */
  readonly signatureAlgorithm: Uint8Array;
}

/** Some 20,000 entries: a request has at most 1 MiB, in base64. */
export const maxListBytes = 768 * 1024;

const pemBlock = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]+)-----END X509 CRL-----/;

/**
 * Reads DER or PEM. Undefined where it is no list, has no end of its validity, or has a critical extension: lists that are
 * changes of others, of some reasons only or of several authorities are not taken.
 */
export function readRevocationList(bytes: Uint8Array): RevocationList | undefined {
  if (bytes.length === 0 || bytes.length > maxListBytes) return undefined;
  const [, text] = bytes[0] === 0x30 ? [] : (pemBlock.exec(Buffer.from(bytes).toString('latin1')) ?? []);
  if (bytes[0] !== 0x30 && text === undefined) return undefined;
  const der = text === undefined ? Uint8Array.from(bytes) : Uint8Array.from(Buffer.from(text, 'base64'));
  try {
    return factsOf(der);
  } catch {
    return undefined;
  }
}

const isTime = (element: DerElement | undefined): element is DerElement =>
  element?.tag === derTags.utcTime || element?.tag === derTags.generalizedTime;

/** The library reads the few parts of the head; it takes no list of more than some thousand entries. */
function factsOf(der: Uint8Array): RevocationList | undefined {
  const parts = signedPartsOf(der);
  const fields = parts === undefined ? undefined : [...(elementsIn(der, parts.inner) ?? [])];
  if (parts === undefined || fields === undefined) return undefined;
  const bytesOf = ({ start, end }: DerElement) => der.subarray(start, end);
  if (fields[0]?.tag === derTags.integer) fields.shift();
  const [algorithm, issuer, thisUpdate, nextUpdate] = fields.splice(0, 4);
  if (algorithm === undefined || issuer === undefined || !isTime(thisUpdate) || !isTime(nextUpdate))
    return undefined;
  // The algorithm inside and that outside are the same (section 5.1.1.2).
  if (Buffer.compare(bytesOf(algorithm), parts.algorithm) !== 0) return undefined;
  const entries = fields[0]?.tag === derTags.sequence ? fields.shift() : undefined;
  const serials = entries === undefined ? new Set<string>() : serialsIn(der, entries);
  const wrapped = fields.shift();
  if (serials === undefined || fields.length > 0) return undefined;
  if (wrapped !== undefined && (wrapped.tag !== 0xa0 || elementAt(der, wrapped.content)?.end !== wrapped.end))
    return undefined;
  const extensions = wrapped === undefined ? [] : extensionsOf(der.subarray(wrapped.content, wrapped.end));
  if (extensions.some(({ critical }) => critical === true) || hasTwins(extensions)) return undefined;
  const numbered = extensions.find(({ extnID }) => extnID === id_ce_cRLNumber);
  const timeOf = (element: DerElement) => AsnConvert.parse(bytesOf(element), Time).getTime().getTime();
  return {
    ...{ der, serials, signed: parts.signed, signature: parts.signature },
    signatureAlgorithm: parts.algorithm,
    issuer: comparedName(AsnConvert.parse(bytesOf(issuer), Name)),
    ...{ thisUpdateMs: timeOf(thisUpdate), nextUpdateMs: timeOf(nextUpdate) },
    number: numbered === undefined ? undefined : numberOf(numbered.extnValue),
  };
}

function extensionsOf(der: Uint8Array) {
  return [...AsnConvert.parse(der, Extensions)];
}

function hasTwins(extensions: readonly { readonly extnID: string }[]): boolean {
  return new Set(extensions.map(({ extnID }) => extnID)).size < extensions.length;
}

function numberOf(value: Parameters<typeof AsnConvert.parse>[0]): bigint {
  return BigInt(AsnConvert.parse(value, CRLNumber).value);
}

/** Of the entries; undefined where one of them cannot be read, or has a critical extension other than a reason. */
function serialsIn(der: Uint8Array, entries: DerElement): Set<string> | undefined {
  const serials = new Set<string>();
  for (let at = entries.content; at < entries.end; ) {
    const entry = elementAt(der, at, entries.end);
    const [serial, date, extensions, ...more] = entry === undefined ? [] : (elementsIn(der, entry) ?? []);
    if (entry?.tag !== derTags.sequence || serial?.tag !== derTags.integer) return undefined;
    if (!isTime(date) || more.length > 0 || serial.content === serial.end) return undefined;
    if (extensions !== undefined && !areReasons(der, extensions)) return undefined;
    serials.add(hexOf(der.subarray(serial.content, serial.end)));
    at = entry.end;
  }
  return serials;
}

/** Most entries have a reason, which is read without the library: it takes 4 microseconds of each. */
function areReasons(der: Uint8Array, { start, end, tag }: DerElement): boolean {
  if (tag !== derTags.sequence) return false;
  if (end - start === reason.length + 1 && reason.every((byte, n) => der[start + n] === byte)) return true;
  return extensionsOf(der.subarray(start, end)).every(
    ({ critical, extnID }) => critical !== true || extnID === id_ce_cRLReasons,
  );
}

/** DER of Extensions with a reason code, up to the reason itself. */
const reason = Buffer.from('300c300a0603551d1504030a01', 'hex');

/** True if this authority, which may sign lists, has signed the list. */
export function isListOf(list: RevocationList, authority: Certificate): boolean {
  if (list.issuer.compared !== authority.subject.compared) return false;
  if (authority.keyUsage?.crlSign === false) return false;
  const { signed, signature, signatureAlgorithm } = list;
  return isX509SignatureBy(authority.library.publicKey, signatureAlgorithm, signed, signature);
}

/** The verdict of an authority's list about one of its certificates. */
export function revocationIn(
  list: RevocationList | undefined,
  { serial }: Pick<Certificate, 'serial'>,
  atMs: number,
): 'revoked' | 'revocation_unknown' | undefined {
  if (list === undefined) return undefined;
  // Whoever was revoked stays so, however old the list is.
  if (list.serials.has(serial)) return 'revoked';
  return atMs < list.thisUpdateMs || atMs > list.nextUpdateMs ? 'revocation_unknown' : undefined;
}
