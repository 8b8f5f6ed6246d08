import assert from 'node:assert/strict';
import {
  constants,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import test, { describe } from 'node:test';
import { ed25519 } from '@noble/curves/ed25519.js';
import { p256 } from '@noble/curves/nist.js';
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { batchStatuses } from '../../src/engine/batch.ts';
import { type Engine, type KeyType, keyTypes, type Scheme, schemes } from '../../src/engine/engine.ts';
import { aad, flipBit, signOne, tenant, verifyOne } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import { nodePublicKey, nodeSign, nodeVerify } from '../support/node-verify.ts';

/** One implementation with one private key; the same key in all parties of a test. */
interface Party {
  readonly name: string;
  readonly publicKey: Uint8Array;
  sign(message: Uint8Array): Uint8Array;
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
}

interface Case {
  readonly name: string;
  readonly keyType: KeyType;
  readonly scheme: Scheme;
  /** The secret as importKey takes it. */
  readonly secret: Uint8Array;
  readonly reference: Party;
  /** Flipped bits tried in each of signature, message and public key; all of them where it is the default. */
  readonly bits?: number;
}

const message = Buffer.from('d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24', 'hex');
const seed = () => new Uint8Array(32).fill(0x5a);
const engines = availableEngines().map(({ create }) => create());

const p256Secret = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const p384Secret = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
const rsaSecrets = ([2048, 3072, 4096] as const).map((bits) => ({
  bits,
  key: generateKeyPairSync('rsa', { modulusLength: bits }).privateKey,
}));

const cases: readonly Case[] = [
  {
    name: 'ed25519',
    keyType: keyTypes.ed25519,
    scheme: schemes.ed25519,
    secret: seed(),
    reference: {
      name: 'noble',
      publicKey: ed25519.getPublicKey(seed()),
      sign: (m) => ed25519.sign(m, seed()),
      verify: (key, m, signature) => ed25519.verify(signature, m, key, { zip215: false }),
    },
  },
  mlDsa('ml-dsa-44', ml_dsa44),
  mlDsa('ml-dsa-65', ml_dsa65),
  mlDsa('ml-dsa-87', ml_dsa87),
  {
    name: 'ecdsa-p256',
    keyType: keyTypes['ecdsa-p256'],
    scheme: schemes['ecdsa-p256-sha256'],
    secret: p256Secret.export({ format: 'der', type: 'pkcs8' }),
    reference: nobleP256(Buffer.from(p256Secret.export({ format: 'jwk' }).d as string, 'base64url')),
    bits: 96,
  },
  nodeEcCase('ecdsa-p256 as r || s', 'ecdsa-p256', schemes['ecdsa-p256-sha256-p1363'], p256Secret),
  nodeEcCase('ecdsa-p384', 'ecdsa-p384', schemes['ecdsa-p384-sha384'], p384Secret),
  nodeEcCase('ecdsa-p384 as r || s', 'ecdsa-p384', schemes['ecdsa-p384-sha384-p1363'], p384Secret),
  ...(['ps384', 'ps512', 'rs384', 'rs512'] as const).map((name) => {
    const hashName = name.endsWith('384') ? 'sha384' : 'sha512';
    const padding = name.startsWith('ps')
      ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: hashName === 'sha384' ? 48 : 64 }
      : { padding: constants.RSA_PKCS1_PADDING };
    const secret = rsaSecrets[0]?.key.export({ format: 'der', type: 'pkcs8' }) as Buffer;
    return rsaCase(`rsa-2048 ${name}`, keyTypes['rsa-2048'], schemes[name], secret, padding, hashName);
  }),
  ...rsaSecrets.flatMap(({ bits, key }) => {
    const keyType = keyTypes[`rsa-${bits}`];
    const secret = () => key.export({ format: 'der', type: 'pkcs8' });
    const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
    const pkcs1 = { padding: constants.RSA_PKCS1_PADDING };
    return [
      rsaCase(`rsa-${bits} ps256`, keyType, schemes.ps256, secret(), pss),
      rsaCase(`rsa-${bits} rs256`, keyType, schemes.rs256, secret(), pkcs1),
    ];
  }),
];

for (const { name, keyType, scheme, secret, reference, bits } of cases) {
  describe(`${name}: ${[...engines.map((e) => e.description.name), reference.name].join(', ')}`, () => {
    const parties = [...engines.map((engine) => engineParty(engine, keyType, scheme, secret)), reference];

    test('all have the same public key, and what one signs all verify', () => {
      for (const signer of parties) {
        assert.deepEqual(Uint8Array.from(signer.publicKey), Uint8Array.from(reference.publicKey));
        const signature = signer.sign(message);
        for (const verifier of parties) {
          assert.ok(
            verifier.verify(signer.publicKey, message, signature),
            `${verifier.name} of ${signer.name}`,
          );
        }
      }
    });

    test('one flipped bit in signature, message or public key is refused by all', () => {
      for (const signer of bits === undefined ? parties.slice(0, 1) : parties) {
        const signature = signer.sign(message);
        const refused = (what: string, key: Uint8Array, m: Uint8Array, s: Uint8Array) => {
          for (const verifier of parties) {
            assert.ok(!accepts(verifier, key, m, s), `${verifier.name} of ${signer.name}: ${what}`);
          }
        };
        for (const bit of spread(signature, bits)) {
          refused(`signature bit ${bit}`, signer.publicKey, message, flipBit(signature, bit));
        }
        for (const bit of spread(message, bits)) {
          refused(`message bit ${bit}`, signer.publicKey, flipBit(message, bit), signature);
        }
        // The head of an encoding is where a lenient parser takes more than one form, whoever signed: all have one public key.
        const head = signer === parties[0] ? spread(signer.publicKey.subarray(0, 25)) : [];
        for (const bit of new Set([...head, ...spread(signer.publicKey, bits)])) {
          refused(`public key bit ${bit}`, flipBit(signer.publicKey, bit), message, signature);
        }
      }
    });
  });
}

/** `count` bits over the whole length, at uneven places that are the same in every run; without a count all bits. */
function spread(value: Uint8Array, count = value.length * 8): number[] {
  const step = (value.length * 8) / count;
  return Array.from({ length: count }, (_, index) =>
    Math.floor(step * index + ((index * 7919) % 97) * (step / 97)),
  );
}

/** The libraries that serve as reference throw on some malformed input. */
function accepts(party: Party, publicKey: Uint8Array, m: Uint8Array, signature: Uint8Array): boolean {
  try {
    return party.verify(publicKey, m, signature);
  } catch {
    return false;
  }
}

function engineParty(engine: Engine, keyType: KeyType, scheme: Scheme, secret: Uint8Array): Party {
  const root = engine.openRoot({ kind: 'memory' });
  const key = engine.importKey(root, keyType, tenant, aad, Uint8Array.from(secret));
  return {
    name: engine.description.name,
    publicKey: key.publicKey,
    sign: (m) => signOne(engine, root, scheme, key, m).signature,
    verify: (publicKey, m, signature) =>
      verifyOne(engine, root, scheme, publicKey, m, signature) === batchStatuses.ok,
  };
}

function mlDsa(name: 'ml-dsa-44' | 'ml-dsa-65' | 'ml-dsa-87', noble: typeof ml_dsa65): Case {
  const keys = noble.keygen(seed());
  return {
    name,
    keyType: keyTypes[name],
    scheme: schemes[name],
    secret: seed(),
    reference: {
      name: 'noble',
      publicKey: keys.publicKey,
      sign: (m) => noble.sign(m, keys.secretKey),
      verify: (key, m, signature) => noble.verify(signature, m, key),
    },
    bits: 24,
  };
}

function nobleP256(secret: Uint8Array): Party {
  return {
    name: 'noble',
    publicKey: p256.getPublicKey(secret, false),
    sign: (m) => p256.sign(m, secret, { format: 'der', lowS: false }),
    verify: (key, m, signature) => p256.verify(signature, m, key, { format: 'der', lowS: false }),
  };
}

function rsaCase(
  name: string,
  keyType: KeyType,
  scheme: Scheme,
  secret: Buffer,
  padding: { padding: number; saltLength?: number },
  hashName = 'sha256',
): Case {
  const key = createPrivateKey({ key: secret, format: 'der', type: 'pkcs8' });
  return {
    name,
    keyType,
    scheme,
    secret,
    reference: {
      name: 'node:crypto',
      publicKey: createPublicKey(key).export({ format: 'der', type: 'spki' }),
      sign: (m) => sign(hashName, m, { key, ...padding }),
      verify: (publicKey, m, signature) => {
        const parsed = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
        // OpenSSL overlooks what stands for the algorithm's parameters; only DER encodes back to itself.
        if (!parsed.export({ format: 'der', type: 'spki' }).equals(publicKey)) return false;
        return verify(hashName, m, { key: parsed, ...padding }, signature);
      },
    },
    bits: 40,
  };
}

/** node:crypto as the reference, which takes the same encodings of a point as the engines. */
function nodeEcCase(
  name: string,
  keyTypeName: 'ecdsa-p256' | 'ecdsa-p384',
  scheme: Scheme,
  key: KeyObject,
): Case {
  return {
    name,
    keyType: keyTypes[keyTypeName],
    scheme,
    secret: key.export({ format: 'der', type: 'pkcs8' }),
    reference: {
      name: 'node:crypto',
      publicKey: createPublicKey(key).export({ format: 'raw-public' }),
      sign: (m) => nodeSign(scheme, key, m),
      verify: (publicKey, m, signature) =>
        publicKey[0] === 4 && nodeVerify(scheme, nodePublicKey(keyTypeName, publicKey), m, signature),
    },
    bits: 48,
  };
}
