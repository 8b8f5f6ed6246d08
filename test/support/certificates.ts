import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';

export interface TestCertificate {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
  readonly der: Uint8Array;
  /** 64 lowercase hexadecimal digits. */
  readonly sha256: string;
  readonly privateKey: KeyObject;
  readonly subject: readonly Name[];
}

type Name = readonly [kind: 'C' | 'O' | 'CN', text: string];
type KeyKind = 'ed25519' | 'p256' | 'ml-dsa-65';

export interface CertificateWish {
  /** In the order of the certificate. */
  readonly subject: readonly Name[];
  /** Signs it; itself when not given. */
  readonly issuer?: TestCertificate;
  readonly isCa?: boolean;
  readonly dns?: readonly string[];
  readonly uris?: readonly string[];
  readonly ip?: readonly [number, number, number, number];
  readonly kind?: KeyKind;
  readonly notAfterMs?: number;
  /** In place of new ones: for many certificates that differ in their names alone. */
  readonly keys?: KeyPair;
}

interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

/** A certificate of X.509 v3 (RFC 5280) with a new key: enough of DER for tests, because the tools of the machine lack ML-DSA. */
export function makeCertificate(wish: CertificateWish): TestCertificate {
  const { subject, issuer, kind = 'p256', notAfterMs = Date.now() + 90 * 86_400_000 } = wish;
  const { publicKey, privateKey } = wish.keys ?? makeKeys(kind);
  const signer = issuer?.privateKey ?? privateKey;
  const algorithm = sequence(oid(signatureOids[signer.asymmetricKeyType as keyof typeof signatureOids]));
  const body = sequence(
    tagged(0xa0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    algorithm,
    distinguishedName(issuer?.subject ?? subject),
    sequence(time(Math.min(Date.now(), notAfterMs) - 3_600_000), time(notAfterMs)),
    distinguishedName(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    tagged(0xa3, sequence(...extensions(wish))),
  );
  const digest = signer.asymmetricKeyType === 'ec' ? 'sha256' : null;
  const signature = sign(digest, body, signer);
  const der = sequence(body, algorithm, tagged(0x03, Buffer.from([0]), signature));
  const lines = der.toString('base64').replace(/.{64}/g, '$&\n').trim();
  return {
    ...{
      der,
      subject,
      privateKey,
      cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    },
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    sha256: createHash('sha256').update(der).digest('hex'),
  };
}

export function makeKeys(kind: KeyKind): KeyPair {
  if (kind === 'p256') return generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return kind === 'ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('ml-dsa-65');
}

/** RFC 5758, RFC 8410, RFC 9881. */
const signatureOids = {
  ec: '1.2.840.10045.4.3.2',
  ed25519: '1.3.101.112',
  'ml-dsa-65': '2.16.840.1.101.3.4.3.18',
} as const;

const nameOids = { C: '2.5.4.6', O: '2.5.4.10', CN: '2.5.4.3' } as const;

function extensions({ isCa = false, dns = [], uris = [], ip }: CertificateWish): Buffer[] {
  const names = [
    ...dns.map((name) => tagged(0x82, Buffer.from(name))),
    ...uris.map((uri) => tagged(0x86, Buffer.from(uri))),
    ...(ip === undefined ? [] : [tagged(0x87, Buffer.from(ip))]),
  ];
  const critical = tagged(0x01, Buffer.from([0xff]));
  const constraints = isCa ? sequence(critical) : sequence();
  return [
    sequence(oid('2.5.29.19'), critical, tagged(0x04, constraints)),
    ...(names.length === 0 ? [] : [sequence(oid('2.5.29.17'), tagged(0x04, sequence(...names)))]),
  ];
}

function distinguishedName(names: readonly Name[]): Buffer {
  return sequence(
    ...names.map(([kind, text]) =>
      tagged(0x31, sequence(oid(nameOids[kind]), tagged(kind === 'C' ? 0x13 : 0x0c, Buffer.from(text)))),
    ),
  );
}

/** UTCTime, which ends with 2049. */
function time(utcMs: number): Buffer {
  const text = new Date(utcMs).toISOString().replace(/[-:T]|\.\d+/g, '');
  return tagged(0x17, Buffer.from(text.slice(2)));
}

function integer(bytes: Buffer): Buffer {
  return tagged(0x02, bytes);
}

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const digits = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) digits.unshift((left & 0x7f) | 0x80);
    return digits;
  });
  return tagged(0x06, Buffer.from(bytes));
}

function sequence(...parts: readonly Uint8Array[]): Buffer {
  return tagged(0x30, ...parts);
}

function tagged(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content]);
  const digits = Buffer.from(
    length.toString(16).padStart(Math.ceil(length.toString(16).length / 2) * 2, '0'),
    'hex',
  );
  return Buffer.concat([Buffer.from([tag, 0x80 | digits.length]), digits, content]);
}

/** An authority, and what it has signed: for https listeners of tests. */
export function makeTestPki(kind: KeyKind = 'p256') {
  const authority = makeCertificate({ subject: [['CN', 'test authority']], isCa: true, kind });
  const server = makeCertificate({
    ...{ subject: [['CN', 'localhost']], issuer: authority, dns: ['localhost'], ip: [127, 0, 0, 1], kind },
  });
  const client = makeCertificate({
    ...{ issuer: authority, kind, dns: ['app.test', 'app2.test'], uris: ['spiffe://acme.test/app'] },
    subject: [
      ['C', 'DE'],
      ['O', 'Acme, Inc'],
      ['CN', 'app'],
    ],
  });
  return { authority, server, client };
}
