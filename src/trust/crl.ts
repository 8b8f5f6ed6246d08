import { verify } from 'node:crypto';
import { AsnConvert } from '@peculiar/asn1-schema';
import { CertificateList, CRLNumber, id_ce_cRLNumber, id_ce_cRLReasons } from '@peculiar/asn1-x509';
import { type Certificate, hexOf } from './certificate.ts';
import { type ComparedName, comparedName } from './names.ts';

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
  readonly signatureAlgorithm: string;
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

function factsOf(der: Uint8Array): RevocationList | undefined {
  const { tbsCertList: tbs, signatureAlgorithm, signature } = AsnConvert.parse(der, CertificateList);
  const outer = elementAt(der, 0);
  if (outer === undefined || outer.end !== der.length) return undefined;
  const inner = elementAt(der, outer.content);
  if (inner === undefined || tbs.nextUpdate === undefined) return undefined;
  const entries = [...(tbs.revokedCertificates ?? [])];
  const extensions = [...(tbs.crlExtensions ?? [])];
  const critical = [
    ...extensions,
    ...entries.flatMap(({ crlEntryExtensions }) => [...(crlEntryExtensions ?? [])]),
  ].some((each) => each.critical === true && each.extnID !== id_ce_cRLReasons);
  if (critical || new Set(extensions.map(({ extnID }) => extnID)).size < extensions.length) return undefined;
  const numbered = extensions.find(({ extnID }) => extnID === id_ce_cRLNumber);
  return {
    der,
    issuer: comparedName(tbs.issuer),
    thisUpdateMs: tbs.thisUpdate.getTime().getTime(),
    nextUpdateMs: tbs.nextUpdate.getTime().getTime(),
    number:
      numbered === undefined ? undefined : BigInt(AsnConvert.parse(numbered.extnValue, CRLNumber).value),
    serials: new Set(entries.map(({ userCertificate }) => hexOf(userCertificate))),
    signed: der.subarray(outer.content, inner.end),
    signature: new Uint8Array(signature),
    signatureAlgorithm: signatureAlgorithm.algorithm,
  };
}

/** The place of a DER element: where its content begins and where it ends. */
function elementAt(
  der: Uint8Array,
  start: number,
): { readonly content: number; readonly end: number } | undefined {
  const first = der[start + 1];
  if (first === undefined) return undefined;
  if (first < 0x80) return { content: start + 2, end: start + 2 + first };
  const count = first & 0x7f;
  if (count === 0 || count > 4 || start + 2 + count > der.length) return undefined;
  const length = Buffer.from(der).readUIntBE(start + 2, count);
  return { content: start + 2 + count, end: start + 2 + count + length };
}

/** The digest that goes with a signature algorithm; null where the algorithm has its own. */
const digests: ReadonlyMap<string, string | null> = new Map([
  ['1.2.840.113549.1.1.11', 'sha256'],
  ['1.2.840.113549.1.1.12', 'sha384'],
  ['1.2.840.113549.1.1.13', 'sha512'],
  ['1.2.840.10045.4.3.2', 'sha256'],
  ['1.2.840.10045.4.3.3', 'sha384'],
  ['1.2.840.10045.4.3.4', 'sha512'],
  ['1.3.101.112', null],
  ['2.16.840.1.101.3.4.3.17', null],
  ['2.16.840.1.101.3.4.3.18', null],
  ['2.16.840.1.101.3.4.3.19', null],
]);

/** True if this authority, which may sign lists, has signed the list. */
export function isSignedBy(list: RevocationList, authority: Certificate): boolean {
  const digest = digests.get(list.signatureAlgorithm);
  if (digest === undefined || list.issuer.compared !== authority.subject.compared) return false;
  if (authority.keyUsage?.crlSign === false) return false;
  try {
    return verify(digest, list.signed, authority.library.publicKey, list.signature);
  } catch {
    return false;
  }
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
