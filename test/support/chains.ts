// The x509 library's container wants it.
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { Extension as ExtensionSyntax } from '@peculiar/asn1-x509';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  type X509Certificate,
  X509CertificateGenerator,
  X509CrlGenerator,
} from '@peculiar/x509';

export { ExtensionSyntax };

/** One certificate of a chain that a test makes. */
export interface Wanted {
  readonly subject: string;
  /** Signed by itself where there is none. */
  readonly by?: Made;
  readonly ca?: boolean;
  readonly basic?: { readonly pathLength?: number; readonly critical?: boolean } | 'absent';
  /** Bits of keyUsage; 'absent' leaves it out. */
  readonly usage?: number | 'absent';
  readonly names?: readonly { readonly type: 'dns' | 'email' | 'ip' | 'url'; readonly value: string }[];
  readonly namesCritical?: boolean;
  readonly from?: Date;
  readonly to?: Date;
  readonly extensions?: readonly Extension[];
  readonly without?: readonly ('subjectKeyId' | 'authorityKeyId')[];
  readonly keys?: CryptoKeyPair;
  readonly serial?: string;
  readonly algorithm?: keyof typeof algorithms;
  /** Sign with another's key. */
  readonly signedWith?: CryptoKeyPair;
  readonly hash?: string;
}

export type CryptoKeyPair = webcrypto.CryptoKeyPair;

export interface Made {
  readonly der: Uint8Array;
  readonly certificate: X509Certificate;
  readonly keys: CryptoKeyPair;
}

export const chainTimes = {
  from: new Date('2026-01-01T00:00:00Z'),
  at: new Date('2026-06-01T00:00:00Z'),
  to: new Date('2027-01-01T00:00:00Z'),
};

const rsa = {
  name: 'RSASSA-PKCS1-v1_5',
  modulusLength: 2048,
  publicExponent: Uint8Array.of(1, 0, 1),
};

const algorithms = {
  ec: { name: 'ECDSA', namedCurve: 'P-256' },
  ed25519: { name: 'Ed25519' },
  rsa: { ...rsa, hash: 'SHA-256' },
  /** Signs with SHA-1. */
  rsa1: { ...rsa, hash: 'SHA-1' },
};

export async function makeKeys(algorithm: keyof typeof algorithms = 'ec'): Promise<CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(algorithms[algorithm], true, [
    'sign',
    'verify',
  ])) as CryptoKeyPair;
}

let serials = 1000;

export async function makeCertificate(wanted: Wanted): Promise<Made> {
  const keys = wanted.keys ?? (await makeKeys(wanted.algorithm));
  const { by, ca = false, basic, usage } = wanted;
  const signer = wanted.signedWith ?? by?.keys ?? keys;
  const extensions: Extension[] = [...(wanted.extensions ?? [])];
  if (basic !== 'absent')
    extensions.push(new BasicConstraintsExtension(ca, basic?.pathLength, basic?.critical ?? true));
  if (usage !== 'absent') {
    const usual = ca ? KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign : KeyUsageFlags.digitalSignature;
    extensions.push(new KeyUsagesExtension(usage ?? usual, true));
  }
  if (!wanted.without?.includes('subjectKeyId'))
    extensions.push(await SubjectKeyIdentifierExtension.create(keys.publicKey));
  if (!wanted.without?.includes('authorityKeyId'))
    extensions.push(await AuthorityKeyIdentifierExtension.create((by?.keys ?? keys).publicKey));
  if (wanted.names !== undefined)
    extensions.push(new SubjectAlternativeNameExtension([...wanted.names], wanted.namesCritical ?? false));
  const name = signer.privateKey.algorithm.name;
  const certificate = await X509CertificateGenerator.create({
    serialNumber: wanted.serial ?? (serials++).toString(16).padStart(4, '0'),
    subject: wanted.subject,
    issuer: by?.certificate.subject ?? wanted.subject,
    notBefore: wanted.from ?? chainTimes.from,
    notAfter: wanted.to ?? chainTimes.to,
    publicKey: keys.publicKey,
    signingKey: signer.privateKey,
    signingAlgorithm: { name, hash: wanted.hash ?? 'SHA-256' },
    extensions,
  });
  return { der: new Uint8Array(certificate.rawData), certificate, keys };
}

export async function makeList(
  by: Made,
  serialNumbers: readonly string[],
  { from = chainTimes.from, to = chainTimes.to, extensions = [] as readonly Extension[] } = {},
): Promise<Uint8Array> {
  const list = await X509CrlGenerator.create({
    issuer: by.certificate.subject,
    thisUpdate: from,
    nextUpdate: to,
    entries: serialNumbers.map((serialNumber) => ({ serialNumber, revocationDate: from })),
    signingKey: by.keys.privateKey,
    signingAlgorithm: { name: by.keys.privateKey.algorithm.name, hash: 'SHA-256' },
    extensions: [...extensions],
  });
  return new Uint8Array(list.rawData);
}
