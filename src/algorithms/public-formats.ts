import { createPublicKey } from 'node:crypto';
import type { Algorithm, Component } from './descriptor.ts';
import { jwkNames, sshNames } from './standard-names.ts';

export const publicFormats = ['pem', 'der', 'jwk', 'ssh'] as const;
export type PublicFormat = (typeof publicFormats)[number];

/** A public key as its one part: of a hybrid key, and of one without a public part, there is no standard form. */
export interface PublicKeyNamed {
  /** Versioned. */
  readonly kid: string;
  readonly algorithm: Algorithm;
  readonly publicKeys: readonly Uint8Array[];
}

export interface Jwk {
  readonly kty: string;
  readonly kid: string;
  readonly [member: string]: string;
}

/** SubjectPublicKeyInfo (RFC 5280) in DER; undefined where the key has no single one. */
export function spkiOf({ algorithm, publicKeys }: PublicKeyNamed): Uint8Array | undefined {
  const { components } = algorithm;
  const [{ spkiPrefix }] = components;
  const [publicKey] = publicKeys;
  if (components.length > 1 || spkiPrefix === undefined || publicKey === undefined) return undefined;
  return Buffer.concat([spkiPrefix, publicKey]);
}

/** RFC 7468. */
export function pemOf(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/** A JSON Web Key (RFC 7517); undefined where its type has no registered one. */
export function jwkOf(named: PublicKeyNamed): Jwk | undefined {
  const { algorithm, kid, publicKeys } = named;
  const [component] = algorithm.components;
  const name = jwkNames.get(component.keyType);
  const [publicKey] = publicKeys;
  if (name === undefined || publicKey === undefined || algorithm.components.length > 1) return undefined;
  const use = algorithm.kind === 'signature' ? 'sig' : 'enc';
  const { kty } = name;
  switch (kty) {
    case 'RSA': {
      const { n, e } = rsaNumbers(publicKey);
      return { kty, n, e, kid, use };
    }
    case 'AKP':
      return { kty, alg: name.alg, pub: base64url(publicKey), kid, use };
    case 'OKP':
      return { kty, crv: name.crv, ...algOf(name), x: base64url(publicKey), kid, use };
    case 'EC': {
      // SEC1, uncompressed: 04, x, y.
      const half = (publicKey.length - 1) / 2;
      const [x, y] = [publicKey.subarray(1, 1 + half), publicKey.subarray(1 + half)].map(base64url) as [
        string,
        string,
      ];
      return { kty, crv: name.crv, ...algOf(name), x, y, kid, use };
    }
  }
}

function algOf({ alg }: { readonly alg?: string }): { readonly alg?: string } & Record<string, string> {
  return alg === undefined ? {} : { alg };
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}

/** The bytes of an RSA key are SubjectPublicKeyInfo. */
function rsaNumbers(spki: Uint8Array): { readonly n: string; readonly e: string } {
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  return key.export({ format: 'jwk' }) as { n: string; e: string };
}

/** A line of `authorized_keys`, with the kid as its comment; undefined where SSH has no such key. */
export function sshLineOf({ algorithm, kid, publicKeys }: PublicKeyNamed): string | undefined {
  const [component] = algorithm.components as readonly [Component];
  const name = sshNames.get(component.keyType);
  const [publicKey] = publicKeys;
  if (name === undefined || publicKey === undefined || algorithm.components.length > 1) return undefined;
  const fields: Uint8Array[] = [Buffer.from(name.type)];
  if (name.type === 'ssh-rsa') {
    const { n, e } = rsaNumbers(publicKey);
    fields.push(...[e, n].map((number) => positive(Buffer.from(number, 'base64url'))));
  } else {
    if (name.curve !== undefined) fields.push(Buffer.from(name.curve));
    fields.push(publicKey);
  }
  const blob = Buffer.concat(fields.flatMap((field) => [lengthOf(field), field]));
  return `${name.type} ${blob.toString('base64')} ${kid}\n`;
}

/** RFC 4251, section 5: the length of a string, and the bytes of a positive mpint. */
function lengthOf(field: Uint8Array): Uint8Array {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(field.length);
  return length;
}

function positive(bytes: Uint8Array): Uint8Array {
  return ((bytes[0] ?? 0) & 0x80) === 0 ? bytes : Buffer.concat([Buffer.of(0), bytes]);
}

/** Media types of a public key in each format. */
export const publicFormatTypes = {
  pem: 'application/x-pem-file',
  der: 'application/octet-stream',
  jwk: 'application/jwk+json',
  ssh: 'text/plain; charset=utf-8',
} as const;

export interface EncodedPublicKey {
  readonly contentType: string;
  readonly bytes: Uint8Array;
}

/** A key in this format; undefined where no standard says how. */
export function encodePublicKey(named: PublicKeyNamed, format: PublicFormat): EncodedPublicKey | undefined {
  if (format === 'jwk') return encoded(publicFormatTypes.jwk, JSON.stringify(jwkOf(named)));
  if (format === 'ssh') return encoded(publicFormatTypes.ssh, sshLineOf(named));
  const spki = spkiOf(named);
  if (spki === undefined) return undefined;
  return format === 'der'
    ? { contentType: publicFormatTypes.der, bytes: spki }
    : encoded(publicFormatTypes.pem, pemOf('PUBLIC KEY', spki));
}

function encoded(contentType: string, text: string | undefined): EncodedPublicKey | undefined {
  return text === undefined ? undefined : { contentType, bytes: Buffer.from(text) };
}
