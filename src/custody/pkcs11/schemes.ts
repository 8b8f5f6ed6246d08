import { hash as hashOnce } from 'node:crypto';
import {
  type Ability,
  type HashName,
  type KeyType,
  keyTypes,
  type Scheme,
  schemes,
} from '../../algorithms/ids.ts';
import { derOf, digestInfo } from '../signature-forms.ts';
import type { Attribute, Mechanism } from './cryptoki.ts';
import { attributes as a, mechanisms as m, maskFunctions, parameterKinds, tokenKeyTypes } from './numbers.ts';

/** What a token is asked for, for each type of key that it can keep. */
export interface TokenKeyKind {
  readonly tokenKeyType: number;
  /** A pair, or one secret key. */
  readonly pair: boolean;
  readonly generation: number;
  /** Of the public key of a pair, of the secret key otherwise: curve, size. */
  readonly parameters: readonly Attribute[];
  /** The token has to list one of each row. */
  readonly needs: readonly (readonly number[])[];
  readonly uses: readonly ('sign' | 'encrypt' | 'wrap')[];
  /** Another key beside it, which only wraps. */
  readonly hasWrappingKey?: true;
}

const der = (hex: string) => Buffer.from(hex, 'hex');

function rsa(bits: number): TokenKeyKind {
  return {
    tokenKeyType: tokenKeyTypes.rsa,
    pair: true,
    generation: m.rsaKeyPairGen,
    parameters: [
      { type: a.modulusBits, value: bits },
      { type: a.publicExponent, value: der('010001') },
    ],
    needs: [[m.rsaKeyPairGen], [m.rsaPkcs, m.sha256RsaPkcs], [m.rsaPkcsPss, m.sha256RsaPkcsPss]],
    uses: ['sign'],
  };
}

function ec(curve: string, hashed: number): TokenKeyKind {
  return {
    tokenKeyType: tokenKeyTypes.ec,
    pair: true,
    generation: m.ecKeyPairGen,
    parameters: [{ type: a.ecParams, value: der(curve) }],
    needs: [[m.ecKeyPairGen], [m.ecdsa, hashed]],
    uses: ['sign'],
  };
}

function mlDsa(parameterSet: number): TokenKeyKind {
  return {
    tokenKeyType: tokenKeyTypes.mlDsa,
    pair: true,
    generation: m.mlDsaKeyPairGen,
    parameters: [{ type: a.parameterSet, value: parameterSet }],
    needs: [[m.mlDsaKeyPairGen], [m.mlDsa]],
    uses: ['sign'],
  };
}

const secretBytes = [{ type: a.valueLen, value: 32 }];

export const tokenKeyKinds: Readonly<Partial<Record<KeyType, TokenKeyKind>>> = {
  [keyTypes.ed25519]: {
    tokenKeyType: tokenKeyTypes.ecEdwards,
    pair: true,
    generation: m.ecEdwardsKeyPairGen,
    // PrintableString "edwards25519" (PKCS#11 3.0, section 2.3.10).
    parameters: [{ type: a.ecParams, value: der('130c656477617264733235353139') }],
    needs: [[m.ecEdwardsKeyPairGen], [m.eddsa]],
    uses: ['sign'],
  },
  [keyTypes['ecdsa-p256']]: ec('06082a8648ce3d030107', m.ecdsaSha256),
  [keyTypes['ecdsa-p384']]: ec('06052b81040022', m.ecdsaSha384),
  [keyTypes['rsa-2048']]: rsa(2_048),
  [keyTypes['rsa-3072']]: rsa(3_072),
  [keyTypes['rsa-4096']]: rsa(4_096),
  [keyTypes['ml-dsa-44']]: mlDsa(1),
  [keyTypes['ml-dsa-65']]: mlDsa(2),
  [keyTypes['ml-dsa-87']]: mlDsa(3),
  [keyTypes['hmac-sha256']]: {
    tokenKeyType: tokenKeyTypes.genericSecret,
    pair: false,
    generation: m.genericSecretKeyGen,
    parameters: secretBytes,
    needs: [[m.genericSecretKeyGen], [m.sha256Hmac]],
    uses: ['sign'],
  },
  [keyTypes['aes-256-gcm']]: {
    tokenKeyType: tokenKeyTypes.aes,
    pair: false,
    generation: m.aesKeyGen,
    parameters: secretBytes,
    needs: [[m.aesKeyGen], [m.aesGcm]],
    uses: ['encrypt'],
    hasWrappingKey: true,
  },
  [keyTypes['aes-256-kwp']]: {
    tokenKeyType: tokenKeyTypes.aes,
    pair: false,
    generation: m.aesKeyGen,
    parameters: secretBytes,
    needs: [[m.aesKeyGen], [m.aesKeyWrapKwp, m.aesKeyWrapPad]],
    uses: ['wrap'],
  },
};

export type Mechanisms = ReadonlySet<number>;

/** True if a token with these mechanisms keeps keys of this type. */
export function keeps(listed: Mechanisms, keyType: KeyType): boolean {
  const kind = tokenKeyKinds[keyType];
  return kind?.needs.every((row) => row.some((mechanism) => listed.has(mechanism))) === true;
}

/** What no token does through this library, and digests where one of its mechanisms hashes by itself alone. */
export function lacksOf(listed: Mechanisms): ReadonlySet<Ability> {
  const always: readonly Ability[] = ['mu', 'ed25519ph', 'context'];
  const rows = [
    [m.ecdsa, m.ecdsaSha256],
    [m.rsaPkcs, m.sha256RsaPkcs],
    [m.rsaPkcsPss, m.sha256RsaPkcsPss],
  ] as const;
  const hashesOnly = rows.some(([plain, hashed]) => !listed.has(plain) && listed.has(hashed));
  return new Set(hashesOnly ? [...always, 'digest'] : always);
}

/** A way to sign: what the token is given, and what becomes of its answer. */
export interface SigningWay {
  readonly keyType: ReadonlySet<KeyType>;
  readonly signatureBytes: number;
  /** The hash of messages; undefined: the message itself. */
  readonly hash: HashName | undefined;
  /** `digested`: the input is a digest by `hash`. Undefined: the token has no mechanism for it. */
  prepare(input: Uint8Array, digested: boolean, listed: Mechanisms): Prepared | undefined;
  finish(signature: Buffer): Uint8Array;
}

interface Prepared {
  readonly mechanism: Mechanism;
  readonly data: Buffer;
}

const asItIs = (signature: Buffer): Uint8Array => signature;
const plainly = (mechanism: number): Mechanism => ({ mechanism, parameter: null });
const bufferOf = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

function digestOf(hash: HashName, input: Uint8Array, digested: boolean): Buffer {
  return digested ? bufferOf(input) : hashOnce(hash, input, 'buffer');
}

/** The mechanism that takes a digest, or the one that hashes by itself where the token has no other. */
function ofDigest(
  keyType: ReadonlySet<KeyType>,
  signatureBytes: number,
  hash: HashName,
  plain: Mechanism,
  hashed: Mechanism,
  more: { readonly before?: Buffer; readonly finish?: (signature: Buffer) => Uint8Array } = {},
): SigningWay {
  return {
    ...{ keyType, signatureBytes, hash },
    prepare(input, digested, listed) {
      if (listed.has(plain.mechanism)) {
        const digest = digestOf(hash, input, digested);
        return {
          mechanism: plain,
          data: more.before === undefined ? digest : Buffer.concat([more.before, digest]),
        };
      }
      if (digested || !listed.has(hashed.mechanism)) return undefined;
      return { mechanism: hashed, data: bufferOf(input) };
    },
    finish: more.finish ?? asItIs,
  };
}

const rsaTypes: ReadonlySet<KeyType> = new Set([
  keyTypes['rsa-2048'],
  keyTypes['rsa-3072'],
  keyTypes['rsa-4096'],
]);
const rsaBytes = 512;
const hashFacts = {
  sha256: { mechanism: m.sha256, bytes: 32, pkcs: m.sha256RsaPkcs, pss: m.sha256RsaPkcsPss },
  sha384: { mechanism: m.sha384, bytes: 48, pkcs: m.sha384RsaPkcs, pss: m.sha384RsaPkcsPss },
  sha512: { mechanism: m.sha512, bytes: 64, pkcs: m.sha512RsaPkcs, pss: m.sha512RsaPkcsPss },
} as const;
function pss(hash: HashName): SigningWay {
  const { mechanism, bytes, pss: hashed } = hashFacts[hash];
  const parameter = {
    type: parameterKinds.rsaPss,
    hashAlg: mechanism,
    mgf: maskFunctions[hash],
    saltLen: bytes,
  };
  return ofDigest(
    rsaTypes,
    rsaBytes,
    hash,
    { mechanism: m.rsaPkcsPss, parameter },
    { mechanism: hashed, parameter },
  );
}

function pkcs1(hash: HashName): SigningWay {
  const { pkcs } = hashFacts[hash];
  return ofDigest(rsaTypes, rsaBytes, hash, plainly(m.rsaPkcs), plainly(pkcs), { before: digestInfo[hash] });
}

function ecdsa(
  keyType: KeyType,
  hash: HashName,
  bytes: number,
  hashed: number,
  finish?: (signature: Buffer) => Uint8Array,
): SigningWay {
  const more = finish === undefined ? {} : { finish };
  return ofDigest(new Set([keyType]), bytes, hash, plainly(m.ecdsa), plainly(hashed), more);
}

function ofMessage(keyType: KeyType, bytes: number, mechanism: number): SigningWay {
  return {
    keyType: new Set([keyType]),
    signatureBytes: bytes,
    hash: undefined,
    prepare: (input, digested) =>
      digested ? undefined : { mechanism: plainly(mechanism), data: bufferOf(input) },
    finish: asItIs,
  };
}

export const signingWays: Readonly<Partial<Record<Scheme, SigningWay>>> = {
  [schemes.ed25519]: ofMessage(keyTypes.ed25519, 64, m.eddsa),
  [schemes['ml-dsa-44']]: ofMessage(keyTypes['ml-dsa-44'], 2_420, m.mlDsa),
  [schemes['ml-dsa-65']]: ofMessage(keyTypes['ml-dsa-65'], 3_309, m.mlDsa),
  [schemes['ml-dsa-87']]: ofMessage(keyTypes['ml-dsa-87'], 4_627, m.mlDsa),
  [schemes['ecdsa-p256-sha256']]: ecdsa(keyTypes['ecdsa-p256'], 'sha256', 64, m.ecdsaSha256, derOf),
  [schemes['ecdsa-p256-sha256-p1363']]: ecdsa(keyTypes['ecdsa-p256'], 'sha256', 64, m.ecdsaSha256),
  [schemes['ecdsa-p384-sha384']]: ecdsa(keyTypes['ecdsa-p384'], 'sha384', 96, m.ecdsaSha384, derOf),
  [schemes['ecdsa-p384-sha384-p1363']]: ecdsa(keyTypes['ecdsa-p384'], 'sha384', 96, m.ecdsaSha384),
  [schemes.ps256]: pss('sha256'),
  [schemes.ps384]: pss('sha384'),
  [schemes.ps512]: pss('sha512'),
  [schemes.rs256]: pkcs1('sha256'),
  [schemes.rs384]: pkcs1('sha384'),
  [schemes.rs512]: pkcs1('sha512'),
};
