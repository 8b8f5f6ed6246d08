import { createPublicKey, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { type Attributes, CertificationRequest as RequestSyntax } from '@peculiar/asn1-csr';
import { AsnConvert } from '@peculiar/asn1-schema';
import {
  BasicConstraints,
  ExtendedKeyUsage,
  type Extension,
  Extensions,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  type Name,
  SubjectAlternativeName,
  type SubjectPublicKeyInfo,
} from '@peculiar/asn1-x509';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import { signedPartsOf } from './der.ts';
import { type ComparedName, comparedName, type GivenName, namesOf } from './names.ts';
import { isX509SignatureBy } from './signatures.ts';

/** What a certification request (PKCS #10, RFC 2986) asks for, once its signature shows that the key is the requester's. */
export interface CertificationRequest {
  readonly subject: Name;
  readonly comparedSubject: ComparedName;
  readonly publicKeyInfo: SubjectPublicKeyInfo;
  readonly publicKey: KeyObject;
  readonly alternativeNames: SubjectAlternativeName | undefined;
  readonly names: readonly GivenName[];
  /** Bits of KeyUsageFlags; undefined: the usual ones. */
  readonly usage: number | undefined;
  /** Object identifiers, in its order; undefined: the usual ones. */
  readonly extendedUsages: readonly string[] | undefined;
}

/** One of an ML-DSA-87 key with a hundred names has 15 KiB. */
const maxCsrBytes = 32 * 1024;
/** As public authorities have it; a certificate with more is read by few. */
const maxNames = 100;
/** Of DNS (RFC 1035); other names are no longer. */
const maxNameLength = 253;
/** Relative names; in use are some five. */
const maxSubjectParts = 16;
/** The upper bounds of RFC 5280 appendix A: 64 for names of persons, hosts and organizations, 255 of mailboxes. */
const maxTextLength = 255;

const unreadable = refuse('BadRequest', 'csr: this is no certification request (PKCS #10) in DER or PEM');
const notOwned = refuse(
  'BadRequest',
  'csr: its signature is not that of its key, or by an algorithm that is not taken',
);
const badKey = refuse(
  'BadRequest',
  'csr: its key is RSA of 2048 to 8192 bits, P-256, P-384, P-521, Ed25519 or ML-DSA',
);
const badSubject = refuse('BadRequest', 'csr: its subject has names that are not issued');
const noName = refuse('BadRequest', 'csr: it has neither a subject nor another name');
const badNames = refuse(
  'BadRequest',
  `csr: at most ${maxNames} alternative names, each a host, mailbox, URI or address`,
);
const noAuthority = refuse('BadRequest', 'csr: no certificates for authorities are issued');
const badUsage = refuse('BadRequest', 'csr: it asks for a usage that is not issued');
const badExtension = refuse('BadRequest', 'csr: it asks for an extension that is not issued');

const pemBlock =
  /-----BEGIN (NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END \1CERTIFICATE REQUEST-----/;

/** Reads DER or PEM. BadRequest says which part of it is not taken. */
export function readCertificationRequest(bytes: Uint8Array): Result<CertificationRequest> {
  if (bytes.length > 2 * maxCsrBytes) return unreadable;
  const der = derOf(bytes);
  if (der === undefined || der.length > maxCsrBytes) return unreadable;
  try {
    return requestIn(der);
  } catch {
    return unreadable;
  }
}

function derOf(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes[0] === 0x30) return Uint8Array.from(bytes);
  const [, , text] = pemBlock.exec(Buffer.from(bytes).toString('latin1')) ?? [];
  return text === undefined ? undefined : Uint8Array.from(Buffer.from(text, 'base64'));
}

function requestIn(der: Uint8Array): Result<CertificationRequest> {
  const parts = signedPartsOf(der);
  if (parts === undefined) return unreadable;
  const { certificationRequestInfo: info } = AsnConvert.parse(der, RequestSyntax);
  const { subject, subjectPKInfo: publicKeyInfo } = info;
  const key = Buffer.from(AsnConvert.serialize(publicKeyInfo));
  const publicKey = createPublicKey({ key, format: 'der', type: 'spki' });
  if (!isTaken(publicKey)) return badKey;
  if (!isX509SignatureBy(publicKey, parts.algorithm, parts.signed, parts.signature)) return notOwned;
  const asked = extensionsIn(info.attributes);
  if (asked === undefined) return badExtension;
  const wished = wishesOf(asked);
  if (!wished.ok) return wished;
  const comparedSubject = comparedName(subject);
  const refused = refusalOfSubject(subject) ?? refusalOfNames(comparedSubject, wished.value.names);
  return refused ?? ok({ subject, comparedSubject, publicKeyInfo, publicKey, ...wished.value });
}

const curves = new Set(['prime256v1', 'secp384r1', 'secp521r1']);
const otherTypes = new Set<string>(['ed25519', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87']);

function isTaken({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): boolean {
  if (type === 'ec') return curves.has(details?.namedCurve ?? '');
  if (type !== 'rsa') return otherTypes.has(type ?? '');
  const { modulusLength = 0, publicExponent = 0n } = details ?? {};
  return modulusLength >= 2048 && modulusLength <= 8192 && publicExponent >= 65_537n;
}

const extensionRequest = '1.2.840.113549.1.9.14';
/** Challenge password and unstructured name (RFC 2985), which some tools always add. */
const ignoredAttributes = new Set(['1.2.840.113549.1.9.7', '1.2.840.113549.1.9.2']);

/** Undefined where it has attributes that mean something else, or extensions twice. */
function extensionsIn(attributes: Attributes): readonly Extension[] | undefined {
  const others = [...attributes].filter(({ type }) => !ignoredAttributes.has(type));
  if (others.length === 0) return [];
  const [attribute] = others;
  const [value, ...more] = attribute?.values ?? [];
  if (others.length > 1 || attribute?.type !== extensionRequest || value === undefined || more.length > 0)
    return undefined;
  const asked = [...AsnConvert.parse(value, Extensions)];
  return new Set(asked.map(({ extnID }) => extnID)).size < asked.length ? undefined : asked;
}

type Wishes = Pick<CertificationRequest, 'alternativeNames' | 'names' | 'usage' | 'extendedUsages'>;

function wishesOf(asked: readonly Extension[]): Result<Wishes> {
  let alternativeNames: SubjectAlternativeName | undefined;
  let usage: number | undefined;
  let extendedUsages: readonly string[] | undefined;
  for (const { extnID, extnValue } of asked) {
    if (extnID === id_ce_subjectAltName)
      alternativeNames = AsnConvert.parse(extnValue, SubjectAlternativeName);
    else if (extnID === id_ce_keyUsage) usage = AsnConvert.parse(extnValue, KeyUsage).toNumber();
    else if (extnID === id_ce_extKeyUsage)
      extendedUsages = [...AsnConvert.parse(extnValue, ExtendedKeyUsage)];
    else if (extnID === id_ce_basicConstraints) {
      if (AsnConvert.parse(extnValue, BasicConstraints).cA === true) return noAuthority;
    } else if (extnID !== id_ce_subjectKeyIdentifier) return badExtension;
  }
  if (usage !== undefined && (usage & KeyUsageFlags.keyCertSign) !== 0) return noAuthority;
  if (usage !== undefined && (usage === 0 || (usage & ~issuedUsages) !== 0)) return badUsage;
  if (extendedUsages?.length === 0 || extendedUsages?.some((each) => !issuedExtendedUsages.has(each)))
    return badUsage;
  const names = alternativeNames === undefined ? [] : namesOf(alternativeNames);
  return ok({ alternativeNames, names, usage, extendedUsages });
}

const issuedUsages =
  KeyUsageFlags.digitalSignature |
  KeyUsageFlags.nonRepudiation |
  KeyUsageFlags.keyEncipherment |
  KeyUsageFlags.keyAgreement;

/** Servers, clients, code, mail. None by which a certificate would speak for an authority, as OCSP and time stamps do. */
const issuedExtendedUsages = new Set([
  '1.3.6.1.5.5.7.3.1',
  '1.3.6.1.5.5.7.3.2',
  '1.3.6.1.5.5.7.3.3',
  '1.3.6.1.5.5.7.3.4',
]);

/** Country, state, place, street, organization, unit, name, serial number, title, given name, surname, mailbox, domain, user. */
const issuedAttributes = new Set([
  ...['2.5.4.6', '2.5.4.8', '2.5.4.7', '2.5.4.9', '2.5.4.10', '2.5.4.11', '2.5.4.3', '2.5.4.5', '2.5.4.12'],
  ...['2.5.4.42', '2.5.4.4', '1.2.840.113549.1.9.1'],
  ...['0.9.2342.19200300.100.1.25', '0.9.2342.19200300.100.1.1'],
]);

function refusalOfSubject(subject: Name): Refused | undefined {
  const attributes = [...subject].flatMap((relative) => [...relative]);
  const bad =
    attributes.length > maxSubjectParts ||
    attributes.some(({ type, value }) => {
      if (!issuedAttributes.has(type) || value.anyValue !== undefined) return true;
      const text = value.toString();
      return text.trim() === '' || text.length > maxTextLength || hasControls(text);
    });
  return bad ? badSubject : undefined;
}

function hasControls(text: string): boolean {
  return /\p{Cc}/u.test(text);
}

function refusalOfNames({ parts }: ComparedName, names: readonly GivenName[]): Refused | undefined {
  if (parts.length === 0 && names.length === 0) return noName;
  return names.length <= maxNames && names.every(isIssued) ? undefined : badNames;
}

const label = '[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?';
const hostForm = new RegExp(`^(?:\\*\\.)?${label}(?:\\.${label})*$`, 'i');
const uriForm = /^[a-z][a-z0-9+.-]*:[!-~]+$/i;
const mailForm = /^[!-?A-~]+@[!-?A-~]+$/;

function isIssued(name: GivenName): boolean {
  if (!('text' in name) || name.text.length > maxNameLength) return false;
  switch (name.kind) {
    case 'dns':
      return hostForm.test(name.text);
    case 'uri':
      return uriForm.test(name.text);
    case 'email':
      return mailForm.test(name.text);
    case 'address':
      return isIP(name.text) !== 0;
  }
}
