import {
  createHash,
  createPublicKey,
  decapsulate,
  diffieHellman,
  encapsulate,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { type KeyType, keyTypes, type Scheme, schemes } from '../engine.ts';
import { encapsulatedBytesOf } from '../rooms.ts';
import { labeledExpand, labeledExtract } from './hpke-labels.ts';
import { parseRaw } from './raw-keys.ts';
import { xWingHalves } from './x-wing.ts';

export interface Encapsulated {
  /** In a buffer of its own, which the caller wipes. */
  readonly shared: Buffer;
  readonly enc: Uint8Array;
}

export interface KemScheme {
  readonly keyType: KeyType;
  /** The identifier in HPKE's registry of KEMs. */
  readonly hpkeId: number;
  readonly encBytes: number;
  /** Undefined: no public key of this KEM, one of small order included. */
  encapsulate(publicKey: Uint8Array): Encapsulated | undefined;
  /** `enc` has its length. Undefined: a share of small order. An altered ML-KEM ciphertext gives another secret (FIPS 203). */
  decapsulate(key: KeyObject, enc: Uint8Array): Buffer | undefined;
}

const x25519Bytes = 32;
const mlKem768 = { publicKeyBytes: 1184, ciphertextBytes: 1088 };

const x25519HpkeId = 0x0020;

const x25519: KemScheme = {
  keyType: keyTypes.x25519,
  hpkeId: x25519HpkeId,
  encBytes: encBytesOf(schemes.x25519),
  encapsulate(publicKey) {
    const made = ephemeralX25519(publicKey);
    return made && { shared: dhkemSecret(made.shared, made.enc, publicKey), enc: made.enc };
  },
  decapsulate(key, enc) {
    const shared = sharedX25519(key, enc);
    return shared && dhkemSecret(shared, enc, publicBytesOf(key));
  },
};

const mlKem = (name: 'ml-kem-768' | 'ml-kem-1024', hpkeId: number, publicKeyBytes: number): KemScheme => ({
  keyType: keyTypes[name],
  hpkeId,
  encBytes: encBytesOf(schemes[name]),
  encapsulate: (publicKey) => encapsulateMlKem(name, publicKey, publicKeyBytes),
  decapsulate: (key, enc) => decapsulate(key, enc),
});

const xWing: KemScheme = {
  keyType: keyTypes['x25519+ml-kem-768'],
  hpkeId: 0x647a,
  encBytes: encBytesOf(schemes['x25519+ml-kem-768']),
  encapsulate(publicKey) {
    if (publicKey.length !== mlKem768.publicKeyBytes + x25519Bytes) return undefined;
    const x25519Key = publicKey.subarray(mlKem768.publicKeyBytes);
    const ofX25519 = ephemeralX25519(x25519Key);
    const ek = publicKey.subarray(0, mlKem768.publicKeyBytes);
    const ofMlKem = encapsulateMlKem('ml-kem-768', ek, mlKem768.publicKeyBytes);
    if (ofX25519 === undefined || ofMlKem === undefined) return undefined;
    return {
      shared: combine(ofMlKem.shared, ofX25519.shared, ofX25519.enc, x25519Key),
      enc: Buffer.concat([ofMlKem.enc, ofX25519.enc]),
    };
  },
  decapsulate(key, enc) {
    const { mlKem, x25519 } = xWingHalves(key);
    const ephemeral = enc.subarray(mlKem768.ciphertextBytes);
    const ofX25519 = sharedX25519(x25519, ephemeral);
    if (ofX25519 === undefined) return undefined;
    const ofMlKem = decapsulate(mlKem, enc.subarray(0, mlKem768.ciphertextBytes));
    return combine(ofMlKem, ofX25519, ephemeral, publicBytesOf(x25519));
  },
};

export const kemSchemes = {
  [schemes.x25519]: x25519,
  [schemes['ml-kem-768']]: mlKem('ml-kem-768', 0x0041, mlKem768.publicKeyBytes),
  [schemes['ml-kem-1024']]: mlKem('ml-kem-1024', 0x0042, 1568),
  [schemes['x25519+ml-kem-768']]: xWing,
} as const satisfies Readonly<Record<number, KemScheme>>;

function encBytesOf(scheme: Scheme): number {
  return encapsulatedBytesOf[scheme] as number;
}

/** Of private keys of X25519, whose public half DHKEM and X-Wing hash: made once for each open key. */
const publicBytes = new WeakMap<KeyObject, Buffer>();

function publicBytesOf(key: KeyObject): Buffer {
  let bytes = publicBytes.get(key);
  if (bytes === undefined) {
    bytes = createPublicKey(key).export({ format: 'raw-public' });
    publicBytes.set(key, bytes);
  }
  return bytes;
}

function ephemeralX25519(publicKey: Uint8Array): Encapsulated | undefined {
  const peer = parseRaw(publicKey, 'x25519', x25519Bytes);
  if (peer === undefined) return undefined;
  const own = generateKeyPairSync('x25519');
  const shared = agree(own.privateKey, peer);
  return shared && { shared, enc: own.publicKey.export({ format: 'raw-public' }) };
}

function sharedX25519(key: KeyObject, enc: Uint8Array): Buffer | undefined {
  const peer = parseRaw(enc, 'x25519', x25519Bytes);
  return peer && agree(key, peer);
}

/** RFC 7748 6.1: OpenSSL fails where the share is all zeros, which a peer of small order gives. */
function agree(privateKey: KeyObject, publicKey: KeyObject): Buffer | undefined {
  try {
    return diffieHellman({ privateKey, publicKey });
  } catch {
    return undefined;
  }
}

function encapsulateMlKem(
  name: 'ml-kem-768' | 'ml-kem-1024',
  publicKey: Uint8Array,
  publicKeyBytes: number,
): Encapsulated | undefined {
  const key = parseRaw(publicKey, name, publicKeyBytes);
  if (key === undefined) return undefined;
  const { sharedKey, ciphertext } = encapsulate(key);
  return { shared: sharedKey, enc: ciphertext };
}

/** ExtractAndExpand of RFC 9180 4.1. Wipes `dh`. */
function dhkemSecret(dh: Buffer, enc: Uint8Array, publicKey: Uint8Array): Buffer {
  const suite = Buffer.from([...Buffer.from('KEM'), x25519HpkeId >> 8, x25519HpkeId & 0xff]);
  const prk = labeledExtract(suite, Buffer.alloc(0), 'eae_prk', dh);
  try {
    return labeledExpand(suite, prk, 'shared_secret', Buffer.concat([enc, publicKey]), 32);
  } finally {
    dh.fill(0);
    prk.fill(0);
  }
}

const xWingLabel = Buffer.from('\\.//^\\');

/** X-Wing's combiner: SHA3-256(ss_M || ss_X || ct_X || pk_X || label). Wipes both secrets. */
function combine(ofMlKem: Buffer, ofX25519: Buffer, enc: Uint8Array, publicKey: Uint8Array): Buffer {
  const hash = createHash('sha3-256');
  for (const part of [ofMlKem, ofX25519, enc, publicKey, xWingLabel]) hash.update(part);
  ofMlKem.fill(0);
  ofX25519.fill(0);
  return hash.digest();
}
