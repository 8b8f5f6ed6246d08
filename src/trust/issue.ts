import { createHash, randomBytes } from 'node:crypto';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate as CertificateSyntax,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_ce_subjectKeyIdentifier,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  SubjectKeyIdentifier,
  TBSCertificate,
  Validity,
  Version,
} from '@peculiar/asn1-x509';
import type { Certificate } from './certificate.ts';
import type { CertificationRequest } from './certification-request.ts';

export interface CertificateTerms {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** DER of AlgorithmIdentifier in hex; `asKey`: that of the authority's public key. */
  readonly signatureAlgorithm: string;
}

export interface BegunCertificate {
  /** DER of TBSCertificate: the bytes that are signed. */
  readonly message: Uint8Array;
  /** DER of the whole certificate. */
  finish(signature: Uint8Array): Uint8Array;
}

/** A certificate of version 3 (RFC 5280) for who asks, by this authority; its serial number has 128 random bits. */
export function beginCertificate(
  authority: Certificate,
  request: CertificationRequest,
  { notBeforeMs, notAfterMs, signatureAlgorithm }: CertificateTerms,
): BegunCertificate {
  const { tbsCertificate: issuer } = AsnConvert.parse(authority.der, CertificateSyntax);
  const algorithm =
    signatureAlgorithm === 'asKey'
      ? issuer.subjectPublicKeyInfo.algorithm
      : AsnConvert.parse(Buffer.from(signatureAlgorithm, 'hex'), AlgorithmIdentifier);
  const tbsCertificate = new TBSCertificate({
    version: Version.v3,
    serialNumber: newSerialNumber(),
    signature: algorithm,
    issuer: issuer.subject,
    validity: new Validity({ notBefore: new Date(notBeforeMs), notAfter: new Date(notAfterMs) }),
    subject: request.subject,
    subjectPublicKeyInfo: request.publicKeyInfo,
    extensions: new Extensions(extensionsOf(authority, request)),
  });
  return {
    message: new Uint8Array(AsnConvert.serialize(tbsCertificate)),
    finish(signature) {
      const whole = new CertificateSyntax({
        tbsCertificate,
        signatureAlgorithm: algorithm,
        signatureValue: Uint8Array.from(signature).buffer,
      });
      return new Uint8Array(AsnConvert.serialize(whole));
    },
  };
}

/** Content of a positive INTEGER: one that begins with a zero byte, which happens once in 256 times, is drawn again. */
function newSerialNumber(): ArrayBuffer {
  for (;;) {
    const bytes = randomBytes(16);
    const [first = 0] = bytes;
    if (first === 0) continue;
    return Uint8Array.from(first < 0x80 ? bytes : [0, ...bytes]).buffer;
  }
}

/** For servers and clients of TLS, as whoever asks for nothing else wants it. */
const usualExtendedUsages = ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'];

function extensionsOf(authority: Certificate, request: CertificationRequest): Extension[] {
  const { publicKeyInfo, publicKey, subject, alternativeNames, extendedUsages } = request;
  const isRsa = publicKey.asymmetricKeyType === 'rsa';
  const usual = KeyUsageFlags.digitalSignature | (isRsa ? KeyUsageFlags.keyEncipherment : 0);
  const usage = request.usage ?? usual;
  const issuerKeyId = authority.subjectKeyId?.id;
  const made = [
    extension(id_ce_basicConstraints, true, new BasicConstraints({ cA: false })),
    extension(id_ce_keyUsage, true, new KeyUsage(usage)),
    extension(id_ce_extKeyUsage, false, new ExtendedKeyUsage([...(extendedUsages ?? usualExtendedUsages)])),
    extension(
      id_ce_subjectKeyIdentifier,
      false,
      new SubjectKeyIdentifier(keyIdOf(publicKeyInfo.subjectPublicKey)),
    ),
  ];
  if (issuerKeyId !== undefined) {
    const keyIdentifier = new KeyIdentifier(Buffer.from(issuerKeyId, 'hex'));
    made.push(extension(id_ce_authorityKeyIdentifier, false, new AuthorityKeyIdentifier({ keyIdentifier })));
  }
  // A certificate without a subject is known by these alone (section 4.2.1.6).
  if (alternativeNames !== undefined)
    made.push(extension(id_ce_subjectAltName, subject.length === 0, alternativeNames));
  return made;
}

/** RFC 7093 section 2, method 1. */
function keyIdOf(subjectPublicKey: ArrayBuffer): Buffer {
  return createHash('sha256').update(Buffer.from(subjectPublicKey)).digest().subarray(0, 20);
}

function extension(extnID: string, critical: boolean, value: object): Extension {
  return new Extension({ extnID, critical, extnValue: new OctetString(AsnConvert.serialize(value)) });
}
