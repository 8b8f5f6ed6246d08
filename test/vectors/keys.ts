import { createCipheriv, createPrivateKey, createPublicKey, hash, hkdfSync } from 'node:crypto';
import { ml_kem768_x25519 as xWing } from '@noble/post-quantum/hybrid.js';
import { ml_dsa65 } from '@noble/post-quantum/ml-dsa.js';
import { ml_kem768 } from '@noble/post-quantum/ml-kem.js';

/** The vectors of docs/vectors/keys, by node:crypto and noble alone: nothing of ours has a part in them. */

const fixed = (name: string, bytes = 32) => Buffer.from(hash('sha512', name, 'buffer').subarray(0, bytes));
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const hkdf = (secret: Uint8Array, info: string, bytes: number) =>
  Buffer.from(hkdfSync('sha256', secret, '', info, bytes));

const pkcs8 = { ed25519: '302e020100300506032b657004220420', x25519: '302e020100300506032b656e04220420' };
const rawPublic = (name: keyof typeof pkcs8, seed: Buffer) => {
  const key = Buffer.concat([Buffer.from(pkcs8[name], 'hex'), seed]);
  return createPublicKey(createPrivateKey({ key, format: 'der', type: 'pkcs8' }))
    .export({ format: 'der', type: 'spki' })
    .subarray(-32);
};

/** Bytes of the secret, and its public key. */
const derived: Readonly<Record<string, readonly [number, ((secret: Buffer) => Uint8Array)?]>> = {
  ed25519: [32, (seed) => rawPublic('ed25519', seed)],
  'ml-dsa-65': [32, (seed) => ml_dsa65.keygen(seed).publicKey],
  x25519: [32, (seed) => rawPublic('x25519', seed)],
  'ml-kem-768': [64, (seed) => ml_kem768.keygen(seed).publicKey],
  'x25519+ml-kem-768': [32, (seed) => xWing.keygen(seed).publicKey],
  'hmac-sha256': [32],
  'aes-256-gcm': [32],
  'xaes-256-gcm': [32],
  'hkdf-sha256': [32],
};

export function deriveVectors() {
  const cases = Object.entries(derived).map(([alg, [bytes, publicOf]], index) => {
    const context = { origin: 'edge-1.example', instance: `a~${index}`, epoch: index * 1_000 };
    const { origin, instance, epoch } = context;
    const parent = fixed(`parent of ${alg}`);
    const label = `ron-kms::acme::web::derive::${alg}::${origin}::${instance}::${epoch}`;
    const secret = hkdf(parent, label, bytes);
    return {
      ...{ tenant: 'acme', purpose: 'web', alg, context, label },
      ...{ parent_secret: hex(parent), secret: hex(secret) },
      ...(publicOf && { public_key: hex(publicOf(secret)) }),
    };
  });
  return { what: 'secret = HKDF-SHA256(parent_secret, salt empty, info = label); hexadecimal', cases };
}

const schemes = { 'xaes-256-gcm': 35, 'aes-256-gcm': 33, 'chacha20-poly1305': 34 } as const;

export function sealVectors() {
  const cases = Object.entries(schemes).flatMap(([alg, scheme]) =>
    ['', 'the aad of the caller'].map((aad, index) => {
      const kid = `acme/web/${alg}/3f0c2b1e-8a4d-8c55-9b57-5d1f3f6f0a1${index}#v${index + 1}`;
      const secret = fixed(`secret ${kid}`);
      const info = `ron-kms::acme::web::seal::${kid.split('/')[3]}`;
      const header = Buffer.concat([Buffer.of(1, scheme, kid.length), Buffer.from(kid)]);
      const key = hkdf(secret, info, 32);
      const nonce = fixed(`nonce ${kid}`, alg === 'xaes-256-gcm' ? 24 : 12);
      const plaintext = Buffer.from(index === 0 ? 'a small secret' : '');
      const bound = Buffer.concat([header, Buffer.from(aad)]);
      const ciphertext = encrypt(alg, key, nonce, bound, plaintext);
      return {
        ...{ kid, secret: hex(secret), info, aad: hex(Buffer.from(aad)), plaintext: hex(plaintext) },
        sealed: hex(Buffer.concat([header, nonce, ciphertext])),
      };
    }),
  );
  return {
    what: 'sealed = header, nonce, ciphertext with tag; key = HKDF-SHA256(secret, salt empty, info); docs/keys.md; hexadecimal',
    cases,
  };
}

function encrypt(alg: string, key: Buffer, nonce: Buffer, aad: Buffer, plaintext: Buffer): Buffer {
  if (alg === 'xaes-256-gcm')
    return encrypt('aes-256-gcm', xaesKey(key, nonce.subarray(0, 12)), nonce.subarray(12), aad, plaintext);
  const cipher = createCipheriv(alg as 'aes-256-gcm', key, nonce, { authTagLength: 16 });
  cipher.setAAD(aad, { plaintextLength: plaintext.length });
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** C2SP XAES-256-GCM: two blocks of CMAC. */
function xaesKey(key: Buffer, nonce: Buffer): Buffer {
  const block = (input: Buffer) =>
    createCipheriv('aes-256-ecb', key, null).setAutoPadding(false).update(input);
  const first = block(Buffer.alloc(16));
  const doubled = Buffer.alloc(16);
  for (let n = 0; n < 16; n++) doubled[n] = (first[n]! << 1) | ((first[n + 1] ?? 0) >> 7);
  if (first[0]! >= 0x80) doubled[15]! ^= 0x87;
  const halves = [1, 2].map((counter) => {
    const message = Buffer.concat([Buffer.of(0, counter, 0x58, 0), nonce]);
    return block(Buffer.from(message.map((byte, index) => byte ^ doubled[index]!)));
  });
  return Buffer.concat(halves);
}
