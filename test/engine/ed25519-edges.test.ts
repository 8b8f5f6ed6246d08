import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import { ed25519 } from '@noble/curves/ed25519.js';
import { batchStatuses } from '../../src/engine/batch.ts';
import { schemes } from '../../src/engine/engine.ts';
import { bytes, hex, verifyOne } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';

/*
 * The rule of both engines: RFC 8032, section 5.1.7, without the cofactor and to the letter, and no point of small
 * order. S is below L; the public key decodes as section 5.1.3 says (y below p, no sign on x = 0); R is compared as
 * bytes with the encoding of [S]B - [k]A, so that of R only the canonical form is good; neither the public key nor R
 * is one of the eight points of small order (as in the Web Cryptography API, and in node:crypto since
 * nodejs/node#64026). Mixed order is not singled out: the equation decides.
 */
const { Point } = ed25519;
const order = Point.Fn.ORDER;

/** The rule, in the terms of an independent library. */
function verdict(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const s = littleEndian(signature.subarray(32));
  if (s >= order) return false;
  const r = signature.subarray(0, 32);
  const key = decode(publicKey);
  if (key === undefined || key.isSmallOrder() || decode(r)?.isSmallOrder() !== false) return false;
  const k = hashToScalar(r, publicKey, message);
  const expected = times(Point.BASE, s).subtract(times(key, k));
  return hex(expected.toBytes()) === hex(r);
}

function decode(encoding: Uint8Array): InstanceType<typeof Point> | undefined {
  try {
    return Point.fromBytes(encoding, false);
  } catch {
    return undefined;
  }
}

const identity = '01'.padEnd(64, '0');
// The eight points of small order, then other encodings of some of them.
const smallOrder = [
  identity,
  `ec${'ff'.repeat(30)}7f`,
  '00'.repeat(32),
  `${'00'.repeat(31)}80`,
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
];
const nonCanonical = [
  // The identity and the point of order 2 with a sign on x = 0.
  `${'01'.padEnd(62, '0')}80`,
  `ec${'ff'.repeat(30)}ff`,
  // y = p, p + 1 (the identity again), both signs, and the highest y.
  `ed${'ff'.repeat(30)}7f`,
  `ed${'ff'.repeat(30)}ff`,
  `ee${'ff'.repeat(30)}7f`,
  `ee${'ff'.repeat(30)}ff`,
  `${'ff'.repeat(31)}7f`,
  'ff'.repeat(32),
];

interface EdgeCase {
  readonly what: string;
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
}

const cases: EdgeCase[] = [];
// R of small order under an ordinary key: S = k * secret gives [S]B - [k]A = identity.
const secretScalar = 0x1234567890abcdefn;
const ordinaryKey = times(Point.BASE, secretScalar).toBytes();
for (const r of [identity, `ee${'ff'.repeat(30)}7f`]) {
  const message = Buffer.from('small R');
  const s = Point.Fn.create(hashToScalar(bytes(r), ordinaryKey, message) * secretScalar);
  cases.push({
    what: `R ${r}`,
    publicKey: ordinaryKey,
    message,
    signature: Buffer.concat([bytes(r), encode(s)]),
  });
}

const zero = '00'.repeat(32);
for (const key of [...smallOrder, ...nonCanonical]) {
  for (const r of [identity, `ec${'ff'.repeat(30)}7f`, `ee${'ff'.repeat(30)}7f`, key]) {
    // k decides whether [k]A vanishes, so several messages.
    for (let index = 0; index < 16; index++) {
      cases.push({
        what: `key ${key}, R ${r}`,
        publicKey: bytes(key),
        message: Buffer.of(index),
        signature: bytes(r + zero),
      });
    }
  }
}

// A key of mixed order: aB + T. A signature that holds up to the cofactor holds here only where [k]T vanishes.
const nonceScalar = 0xfedcba0987654321n;
for (const torsion of smallOrder) {
  const publicKey = times(Point.BASE, secretScalar)
    .add(Point.fromBytes(bytes(torsion), true))
    .toBytes();
  const r = times(Point.BASE, nonceScalar).toBytes();
  for (let index = 0; index < 16; index++) {
    const message = Buffer.of(index);
    const s = Point.Fn.create(nonceScalar + hashToScalar(r, publicKey, message) * secretScalar);
    const signature = Buffer.concat([r, encode(s)]);
    cases.push({ what: `mixed order, T ${torsion}`, publicKey, message, signature });
  }
}

// S + L, S + 2L and so on as far as 32 bytes reach: the same S modulo L.
const seed = new Uint8Array(32).fill(3);
const message = Buffer.from('malleable');
const genuine = ed25519.sign(message, seed);
for (let s = littleEndian(genuine.subarray(32)); s < 1n << 256n; s += order) {
  const signature = Buffer.concat([genuine.subarray(0, 32), encode(s)]);
  cases.push({ what: `S = ${s}`, publicKey: ed25519.getPublicKey(seed), message, signature });
}

for (const { name, create } of availableEngines()) {
  test(`${name}: Ed25519 with non-canonical S, R and keys, small and mixed order: RFC 8032 to the letter`, () => {
    const engine = create();
    const root = engine.openRoot({ kind: 'memory' });
    const counts = { good: 0, refused: 0 };
    for (const { what, publicKey, message: m, signature } of cases) {
      const good = verdict(publicKey, m, signature);
      const status = verifyOne(engine, root, schemes.ed25519, publicKey, m, signature);
      assert.equal(status, good ? batchStatuses.ok : batchStatuses.rejected, what);
      counts[good ? 'good' : 'refused'] += 1;
    }
    // Both verdicts occur, or the cases would show nothing.
    assert.ok(counts.good > 20 && counts.refused > 500, JSON.stringify(counts));
  });
}

function hashToScalar(...parts: readonly Uint8Array[]): bigint {
  const digest = createHash('sha512').update(Buffer.concat(parts)).digest();
  return Point.Fn.create(littleEndian(digest));
}

function littleEndian(value: Uint8Array): bigint {
  return BigInt(`0x${hex(Uint8Array.from(value).reverse())}`);
}

function encode(value: bigint): Uint8Array {
  return bytes(value.toString(16).padStart(64, '0')).reverse();
}

/** noble's multiplication refuses 0. */
function times(point: InstanceType<typeof Point>, scalar: bigint): InstanceType<typeof Point> {
  return scalar === 0n ? Point.ZERO : point.multiplyUnsafe(scalar);
}
