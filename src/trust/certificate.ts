import { createHash, X509Certificate } from 'node:crypto';
import { AsnConvert } from '@peculiar/asn1-schema';
import {
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate as CertificateSyntax,
  ExtendedKeyUsage,
  type Extension,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_certificatePolicies,
  id_ce_cRLDistributionPoints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_nameConstraints,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  NameConstraints,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
} from '@peculiar/asn1-x509';
import {
  type ComparedName,
  comparedName,
  type GivenName,
  namesOf,
  type Subtrees,
  subtreesOf,
} from './names.ts';

/** A certificate of version 3 or 1 (RFC 5280), read once; plain data but for the library's object that checks signatures. */
export interface Certificate {
  readonly der: Uint8Array;
  /** SHA-256 of the DER, lowercase hex. */
  readonly sha256: string;
  readonly version: 1 | 2 | 3;
  /** Lowercase hex, without leading zeros but in whole bytes. */
  readonly serial: string;
  readonly subject: ComparedName;
  readonly issuer: ComparedName;
  /** Subject and issuer are the same name. */
  readonly selfIssued: boolean;
  /** UTC, milliseconds since 1970; both ends belong to the validity. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Absent: the extension is not there. */
  readonly basic?: { readonly ca: boolean; readonly pathLength?: number; readonly critical: boolean };
  readonly keyUsage?: {
    readonly keyCertSign: boolean;
    readonly crlSign: boolean;
    readonly digitalSignature: boolean;
    readonly nonRepudiation: boolean;
    readonly keyEncipherment: boolean;
    readonly keyAgreement: boolean;
  };
  /** Object identifiers; absent: for whatever the key is good for. */
  readonly extendedKeyUsage?: readonly string[];
  /** SHA-256 of SubjectPublicKeyInfo, in hex. */
  readonly spkiSha256: string;
  /** Lowercase hex. */
  readonly subjectKeyId?: { readonly id: string; readonly critical: boolean };
  readonly authorityKeyId?: {
    readonly id?: string;
    readonly issuer?: ComparedName;
    readonly serial?: string;
    readonly critical: boolean;
  };
  readonly alternativeNames?: { readonly names: readonly GivenName[]; readonly critical: boolean };
  readonly constraints?: Subtrees;
  /** Object identifiers of critical extensions that this reader does not process. */
  readonly unknownCritical: readonly string[];
  readonly hasExtensions: boolean;
  readonly duplicateExtension: boolean;
  /** The algorithm inside and that outside are the same. */
  readonly sameAlgorithm: boolean;
  readonly signatureAlgorithm: string;
  readonly library: X509Certificate;
}

/** More is no certificate: a chain of ML-DSA-87 with many names has 20 KiB. */
export const maxCertificateBytes = 64 * 1024;
/** Base64 of it, in lines, with what tools write before and after. */
const maxPemBytes = 2 * maxCertificateBytes;

const pemBlocks = /-----BEGIN (X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END \1CERTIFICATE-----/g;

/**
 * Reads DER, or the only certificate of a PEM text (RFC 7468). Undefined where it is neither, has bytes behind its end, or
 * holds an extension that cannot be read.
 */
export function readCertificate(bytes: Uint8Array): Certificate | undefined {
  if (bytes.length > maxPemBytes) return undefined;
  const [der, ...others] = dersOf(bytes);
  return der === undefined || others.length > 0 ? undefined : readDer(der);
}

/** Reads DER, or all certificates of a PEM text, at most `most`; undefined where there is none, or one cannot be read. */
export function readCertificates(bytes: Uint8Array, most: number): readonly Certificate[] | undefined {
  if (bytes.length > most * maxPemBytes) return undefined;
  const ders = dersOf(bytes);
  if (ders.length === 0 || ders.length > most) return undefined;
  const read = ders.map(readDer);
  return read.every((certificate) => certificate !== undefined) ? read : undefined;
}

function readDer(der: Uint8Array): Certificate | undefined {
  if (der.length > maxCertificateBytes) return undefined;
  try {
    const library = new X509Certificate(der);
    // What follows the certificate is nobody's.
    if (library.raw.length !== der.length) return undefined;
    return factsOf(der, library);
  } catch {
    return undefined;
  }
}

function dersOf(bytes: Uint8Array): readonly Uint8Array[] {
  // A SEQUENCE begins every certificate.
  if (bytes[0] === 0x30) return [Uint8Array.from(bytes)];
  const text = Buffer.from(bytes).toString('latin1');
  return [...text.matchAll(pemBlocks)].map(([, , base64 = '']) =>
    Uint8Array.from(Buffer.from(base64, 'base64')),
  );
}

/** Processed below, or without meaning for a path here: usages of the leaf, and places of lists that are given to us. */
const known = new Set([
  ...[id_ce_basicConstraints, id_ce_keyUsage, id_ce_extKeyUsage, id_ce_subjectAltName, id_ce_nameConstraints],
  ...[id_ce_subjectKeyIdentifier, id_ce_authorityKeyIdentifier, id_ce_cRLDistributionPoints],
  // Without constraints on policies they are labels.
  id_ce_certificatePolicies,
]);

function factsOf(der: Uint8Array, library: X509Certificate): Certificate {
  const { tbsCertificate: tbs, signatureAlgorithm } = AsnConvert.parse(der, CertificateSyntax);
  const extensions = [...(tbs.extensions ?? [])];
  const find = (id: string) => extensions.find(({ extnID }) => extnID === id);
  const subject = comparedName(tbs.subject);
  const issuer = comparedName(tbs.issuer);
  return {
    ...{ der, sha256: library.fingerprint256.replaceAll(':', '').toLowerCase() },
    version: ((tbs.version ?? 0) + 1) as 1 | 2 | 3,
    serial: hexOf(tbs.serialNumber),
    ...{ subject, issuer, selfIssued: subject.compared === issuer.compared },
    notBeforeMs: tbs.validity.notBefore.getTime().getTime(),
    notAfterMs: tbs.validity.notAfter.getTime().getTime(),
    ...present('basic', find(id_ce_basicConstraints), (each) => {
      const { cA, pathLenConstraint } = AsnConvert.parse(each.extnValue, BasicConstraints);
      const pathLength = pathLenConstraint === undefined ? {} : { pathLength: pathLenConstraint };
      return { ca: cA === true, critical: each.critical === true, ...pathLength };
    }),
    ...present('keyUsage', find(id_ce_keyUsage), (each) => {
      const flags = AsnConvert.parse(each.extnValue, KeyUsage).toNumber();
      const has = (flag: number) => (flags & flag) !== 0;
      return {
        ...{ keyCertSign: has(KeyUsageFlags.keyCertSign), crlSign: has(KeyUsageFlags.cRLSign) },
        digitalSignature: has(KeyUsageFlags.digitalSignature),
        nonRepudiation: has(KeyUsageFlags.nonRepudiation),
        keyEncipherment: has(KeyUsageFlags.keyEncipherment),
        keyAgreement: has(KeyUsageFlags.keyAgreement),
      };
    }),
    ...present('extendedKeyUsage', find(id_ce_extKeyUsage), (each) => [
      ...AsnConvert.parse(each.extnValue, ExtendedKeyUsage),
    ]),
    spkiSha256: createHash('sha256')
      .update(library.publicKey.export({ type: 'spki', format: 'der' }))
      .digest('hex'),
    ...present('subjectKeyId', find(id_ce_subjectKeyIdentifier), (each) => ({
      id: hexOf(AsnConvert.parse(each.extnValue, SubjectKeyIdentifier).buffer),
      critical: each.critical === true,
    })),
    ...present('authorityKeyId', find(id_ce_authorityKeyIdentifier), authorityOf),
    ...present('alternativeNames', find(id_ce_subjectAltName), (each) => ({
      names: namesOf(AsnConvert.parse(each.extnValue, SubjectAlternativeName)),
      critical: each.critical === true,
    })),
    ...present('constraints', find(id_ce_nameConstraints), (each) =>
      subtreesOf(AsnConvert.parse(each.extnValue, NameConstraints)),
    ),
    unknownCritical: extensions
      .filter(({ critical, extnID }) => critical === true && !known.has(extnID))
      .map(({ extnID }) => extnID),
    hasExtensions: extensions.length > 0,
    duplicateExtension: new Set(extensions.map(({ extnID }) => extnID)).size < extensions.length,
    sameAlgorithm:
      Buffer.compare(
        Buffer.from(AsnConvert.serialize(tbs.signature)),
        Buffer.from(AsnConvert.serialize(signatureAlgorithm)),
      ) === 0,
    signatureAlgorithm: signatureAlgorithm.algorithm,
    library,
  };
}

function authorityOf({ extnValue, critical }: Extension): NonNullable<Certificate['authorityKeyId']> {
  const { keyIdentifier, authorityCertIssuer, authorityCertSerialNumber } = AsnConvert.parse(
    extnValue,
    AuthorityKeyIdentifier,
  );
  const directory = authorityCertIssuer?.find(
    ({ directoryName }) => directoryName !== undefined,
  )?.directoryName;
  return {
    critical: critical === true,
    ...(keyIdentifier === undefined ? {} : { id: hexOf(keyIdentifier.buffer) }),
    ...(directory === undefined ? {} : { issuer: comparedName(directory) }),
    ...(authorityCertSerialNumber === undefined ? {} : { serial: hexOf(authorityCertSerialNumber) }),
  };
}

function present<Name extends string, Value>(
  name: Name,
  extension: Extension | undefined,
  read: (extension: Extension) => Value,
): { readonly [Each in Name]?: Value } {
  if (extension === undefined) return {};
  return { [name]: read(extension) } as { readonly [Each in Name]: Value };
}

/** Of an INTEGER's or an OCTET STRING's content. */
export function hexOf(bytes: ArrayBuffer | ArrayBufferView): string {
  const view = ArrayBuffer.isView(bytes)
    ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    : Buffer.from(bytes);
  return view.toString('hex');
}
