import { createHash, generateKeyPairSync } from 'node:crypto';
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { keyTypes } from '../../src/engine/engine.ts';
import type { SigningKeyTypeName } from '../support/batches.ts';

/** A private key that the test knows, and the byte strings by which a copy of it can be recognised. */
export interface KnownKey {
  readonly keyTypeName: SigningKeyTypeName;
  /** As importKey takes it. */
  readonly secret: Buffer;
  readonly marks: readonly Mark[];
}

export interface Mark {
  readonly what: string;
  readonly bytes: Buffer;
}

/** Any run of 32 bytes holds one of the pieces of this size that a secret is cut into. */
const pieceBytes = 16;

export function knownEd25519(): KnownKey {
  const secret = distinctBytes('ed25519 seed');
  // RFC 8032, section 5.1.5: the scalar, before and after clamping and reduced, and the prefix.
  const expanded = createHash('sha512').update(secret).digest();
  const clamped = Buffer.from(expanded.subarray(0, 32));
  clamped[0] = (clamped[0] as number) & 0xf8;
  clamped[31] = ((clamped[31] as number) & 0x7f) | 0x40;
  const marks = [
    ...pieces('Ed25519 seed', secret),
    ...pieces('Ed25519 scalar', clamped),
    ...pieces('Ed25519 scalar mod L', reduced(clamped)),
    ...pieces('Ed25519 prefix', expanded.subarray(32)),
  ];
  return { keyTypeName: 'ed25519', secret, marks };
}

/** Lengths of s1 and s2 as FIPS 204 packs them (table 1: k, l and eta). */
const mlDsaSets = {
  'ml-dsa-44': { keygen: ml_dsa44.keygen, s1Bytes: 4 * 96, s2Bytes: 4 * 96 },
  'ml-dsa-65': { keygen: ml_dsa65.keygen, s1Bytes: 5 * 128, s2Bytes: 6 * 128 },
  'ml-dsa-87': { keygen: ml_dsa87.keygen, s1Bytes: 7 * 96, s2Bytes: 8 * 96 },
} as const;

export function knownMlDsa(keyTypeName: keyof typeof mlDsaSets): KnownKey {
  const { keygen, s1Bytes, s2Bytes } = mlDsaSets[keyTypeName];
  const secret = distinctBytes(`${keyTypeName} seed`);
  const { secretKey } = keygen(Uint8Array.from(secret));
  // FIPS 204, algorithm 24: rho and tr can be had from the public key; K, s1, s2 and t0 cannot.
  const packed = Buffer.from(secretKey);
  const s1 = packed.subarray(128, 128 + s1Bytes);
  const s2 = packed.subarray(128 + s1Bytes, 128 + s1Bytes + s2Bytes);
  const marks = [
    ...pieces('ML-DSA seed', secret),
    ...pieces('ML-DSA K', packed.subarray(32, 64)),
    ...pieces('ML-DSA s1', s1),
    ...pieces('ML-DSA s2', s2),
    ...pieces('ML-DSA t0', packed.subarray(128 + s1Bytes + s2Bytes)),
  ];
  if (keyTypeName === 'ml-dsa-65') {
    marks.push(...unpackedPieces('ML-DSA s1 as coefficients', s1));
    marks.push(...unpackedPieces('ML-DSA s2 as coefficients', s2));
  }
  return { keyTypeName, secret, marks };
}

export function knownMlDsa65(): KnownKey {
  return knownMlDsa('ml-dsa-65');
}

export function knownP256(): KnownKey {
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const d = Buffer.from(key.export({ format: 'jwk' }).d as string, 'base64url');
  const secret = key.export({ format: 'der', type: 'pkcs8' });
  return { keyTypeName: 'ecdsa-p256', secret, marks: numberPieces('P-256 scalar', d) };
}

export function knownRsa(modulusLength: 2048 | 3072 | 4096): KnownKey {
  const key = generateKeyPairSync('rsa', { modulusLength }).privateKey;
  const jwk = key.export({ format: 'jwk' });
  const marks = (['d', 'p', 'q', 'dp', 'dq', 'qi'] as const).flatMap((name) =>
    numberPieces(`RSA ${name}`, Buffer.from(jwk[name] as string, 'base64url')),
  );
  return {
    keyTypeName: `rsa-${modulusLength}`,
    secret: key.export({ format: 'der', type: 'pkcs8' }),
    marks,
  };
}

export function knownRsa2048(): KnownKey {
  return knownRsa(2048);
}

/** As encodings have it, and as libraries compute with it: the least significant byte first. */
function numberPieces(what: string, bigEndian: Buffer): Mark[] {
  return [...pieces(what, bigEndian), ...pieces(what, Buffer.from(bigEndian).reverse())];
}

/** 32 bytes of no other use, the same in every process. */
export function distinctBytes(name: string): Buffer {
  return createHash('sha256').update(`intaglio test ${name}`).digest();
}

export function keyTypeOf(key: KnownKey): (typeof keyTypes)[SigningKeyTypeName] {
  return keyTypes[key.keyTypeName];
}

/** Finds any of many byte strings in one pass. */
export function createFinder(marks: readonly Mark[]): (haystack: Buffer) => Set<string> {
  const byPrefix = new Map<number, Mark[]>();
  const firstTwo = new Uint8Array(1 << 16);
  for (const mark of marks) {
    const prefix = mark.bytes.readUInt32LE(0);
    byPrefix.set(prefix, [...(byPrefix.get(prefix) ?? []), mark]);
    firstTwo[mark.bytes.readUInt16LE(0)] = 1;
  }
  return (haystack) => {
    const found = new Set<string>();
    for (let at = 0; at + pieceBytes <= haystack.length; at++) {
      const two = (haystack[at] as number) | ((haystack[at + 1] as number) << 8);
      if (firstTwo[two] === 0) continue;
      for (const { what, bytes } of byPrefix.get(haystack.readUInt32LE(at)) ?? []) {
        if (bytes.equals(haystack.subarray(at, at + bytes.length))) found.add(what);
      }
    }
    return found;
  };
}

export function pieces(what: string, bytes: Buffer, size = pieceBytes): Mark[] {
  const all: Mark[] = [];
  for (let at = 0; at + size <= bytes.length; at += size) {
    all.push({ what, bytes: bytes.subarray(at, at + size) });
  }
  return all;
}

/** Coefficients -4..4 of ML-DSA-65, packed as 4 - c in nibbles, as the 32-bit integers that libraries work on. */
function unpackedPieces(what: string, packed: Buffer): Mark[] {
  const unpacked = Buffer.alloc(packed.length * 8);
  for (const [index, byte] of packed.entries()) {
    unpacked.writeInt32LE(4 - (byte & 15), index * 8);
    unpacked.writeInt32LE(4 - (byte >> 4), index * 8 + 4);
  }
  // 16 coefficients of 9 values each are as distinct as 6 random bytes. Pieces that begin with 0, 1 or -1 are left
  // out, since half of all memory begins like that and the search would be slow; the others are found as well.
  return pieces(what, unpacked, 64).filter(({ bytes }) => Math.abs(bytes.readInt32LE(0)) > 1);
}

function reduced(scalar: Buffer): Buffer {
  const order = (1n << 252n) + 27742317777372353535851937790883648493n;
  const value = BigInt(`0x${Buffer.from(scalar).reverse().toString('hex')}`) % order;
  return Buffer.from(value.toString(16).padStart(64, '0'), 'hex').reverse();
}
