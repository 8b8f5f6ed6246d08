import { createHash, hkdfSync } from 'node:crypto';
import { ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js';
import { type BatchItem, batchOps } from '../../src/engine/batch.ts';
import { type Engine, keyTypes, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { aad, runBatch, tenant } from '../support/batches.ts';
import { kemNames, type WrapName, wrap } from '../support/sealing.ts';
import { distinctBytes, type Mark, pieces } from './secrets.ts';

const none = new Uint8Array(0);
const info = Buffer.from('ron-kms::acme::web::wrap::0196c1d2-7a3b-7c4d-8e5f-0123456789ab#v1');
const plaintext = Buffer.alloc(32, 7);

/** A key that wraps, known by its secret and by what libraries make of it. */
export interface KnownWrapKey {
  readonly name: WrapName;
  /** As importKey takes it. */
  readonly secret: Buffer;
  readonly marks: readonly Mark[];
}

export function knownWrapKeys(): KnownWrapKey[] {
  const known = (name: WrapName, secret: Buffer, ...more: Mark[][]): KnownWrapKey => ({
    name,
    secret,
    marks: [...pieces(`${name} secret`, secret), ...more.flat()],
  });
  const seed = (name: string) => Buffer.concat([distinctBytes(`${name} d`), distinctBytes(`${name} z`)]);
  const xWing = distinctBytes('X-Wing seed');
  const halves = createHash('shake256', { outputLength: 96 }).update(xWing).digest();
  const aead = (name: WrapName) => {
    const secret = distinctBytes(`${name} key`);
    const wrapKey = Buffer.from(hkdfSync('sha256', secret, '', info, 32));
    return known(name, secret, pieces(`${name} wrap key`, wrapKey));
  };
  return [
    known('x25519', distinctBytes('x25519 key')),
    known('ml-kem-768', seed('ml-kem-768'), mlKemMarks('ml-kem-768', seed('ml-kem-768'), 3)),
    known('ml-kem-1024', seed('ml-kem-1024'), mlKemMarks('ml-kem-1024', seed('ml-kem-1024'), 4)),
    known(
      'x25519+ml-kem-768',
      xWing,
      pieces('X-Wing X25519 half', halves.subarray(64)),
      pieces('X-Wing ML-KEM seed', halves.subarray(0, 64)),
      mlKemMarks('ml-kem-768', halves.subarray(0, 64), 3),
    ),
    aead('aes-256-gcm'),
    aead('chacha20-poly1305'),
    aead('xaes-256-gcm'),
    known('aes-256-kwp', distinctBytes('aes-256-kwp key')),
  ];
}

/** dk_PKE of FIPS 203: k polynomials of 384 bytes at the front of dk. */
function mlKemMarks(name: 'ml-kem-768' | 'ml-kem-1024', seed: Buffer, k: number): Mark[] {
  const { secretKey } = (name === 'ml-kem-768' ? ml_kem768 : ml_kem1024).keygen(Uint8Array.from(seed));
  return pieces(`${name} dk`, Buffer.from(secretKey.subarray(0, 384 * k)));
}

/** Both ways of each key, and a new data key whose plaintext is not asked for, by the key's reference under `keyNumber`. */
export function wrapItems(
  engine: Engine,
  root: unknown,
  keys: readonly KnownWrapKey[],
  firstNumber: number,
): BatchItem[] {
  return keys.flatMap(({ name, secret }, index) => {
    const key = engine.importKey(root, keyTypes[name], tenant, aad, Uint8Array.from(secret));
    const reference = buildKeyReference(tenant, aad, key.sealed);
    const isKem = (kemNames as readonly string[]).includes(name);
    const run = (item: Omit<BatchItem, 'keyNumber'>) =>
      runBatch(engine, root, [{ keyNumber: 0, ...item }])[0] as ReturnType<typeof runBatch>[number];
    const wrapped = wrap({ run, reference: () => reference }, name).wrap(key, plaintext, info, none);
    const common = { scheme: schemes[name], keyNumber: firstNumber === 0 ? 0 : firstNumber + index };
    const own = { ...common, key: isKem ? key.publicKey : reference };
    const size = Buffer.from([32, 0, 0, 0]);
    return [
      { ...own, op: batchOps.wrap, inputs: [plaintext, info, none] },
      { ...common, key: reference, op: batchOps.unwrap, inputs: [wrapped.outputs[0] ?? none, info, none] },
      { ...own, op: batchOps.dataKey, inputs: [size, Buffer.alloc(4), info, none] },
    ];
  });
}
