import { p256 } from '@noble/curves/nist.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js';
import { fromBase64Url, toBase64Url } from './bytes.ts';

/** What a TPM signed of one part of a key: structures of TPM 2.0 part 2 in base64url, signatures as r and s. */
export interface TpmClaims {
  /** TPMT_PUBLIC of the key that signs. */
  readonly signer: string;
  /** TPMT_PUBLIC of the key that the evidence is of. */
  readonly key: string;
  readonly certified: { readonly attest: string; readonly signature: string };
  readonly quoted: { readonly attest: string; readonly signature: string };
  readonly pcrs: { readonly bank: string; readonly values: Readonly<Record<string, string>> };
}

/** For whom it has to be signed. */
export interface TpmBound {
  readonly kid: string;
  readonly nonce: string | undefined;
  readonly publicKeySha256: string;
  /** JWK thumbprint of the key. */
  readonly thumbprint: string | undefined;
}

const generated = 0xff54_4347;
const types = { certify: 0x8017, quote: 0x8018 } as const;
const algorithms = { rsa: 0x0001, sha256: 0x000b, null: 0x0010, ecc: 0x0023 } as const;
const attributes = {
  fixedTpm: 1 << 1,
  fixedParent: 1 << 4,
  origin: 1 << 5,
  restricted: 1 << 16,
  sign: 1 << 18,
};
const fixedAttributes = attributes.fixedTpm | attributes.fixedParent | attributes.origin;

/** The name of a key in a TPM, in hex, by which a TPM is known: `000b` and the SHA-256 of its public area. */
export function tpmKeyName(publicArea: string): string {
  return bytesToHex(nameOf(fromBase64Url(publicArea)));
}

/** True where all of it is signed by `signer` for this key and nonce, and is of a key that was made in that TPM and cannot leave it. */
export function isTpmEvidence(claims: TpmClaims, bound: TpmBound): boolean {
  try {
    const signer = publicAreaIn(fromBase64Url(claims.signer));
    const key = publicAreaIn(fromBase64Url(claims.key));
    const expected = boundTo(bound);
    const wanted = fixedAttributes | attributes.restricted | attributes.sign;
    if (signer.key.kty !== 'EC' || !has(signer.attributes, wanted) || !has(key.attributes, fixedAttributes))
      return false;
    if (bound.thumbprint !== undefined && thumbprintOf(key.key) !== bound.thumbprint) return false;
    const { point } = signer;
    const certified = signedIn(claims.certified, point, types.certify, expected);
    const quoted = signedIn(claims.quoted, point, types.quote, expected);
    if (certified === undefined || quoted === undefined) return false;
    return same(certified.sized(), nameOf(fromBase64Url(claims.key))) && isOfPcrs(quoted, claims.pcrs);
  } catch {
    return false;
  }
}

/** The attested part of a TPMS_ATTEST that is signed and bound; undefined where it is not. */
function signedIn(
  { attest, signature }: TpmClaims['quoted'],
  point: Uint8Array,
  type: number,
  expected: Uint8Array,
): Reader | undefined {
  const bytes = fromBase64Url(attest);
  if (!p256.verify(fromBase64Url(signature), bytes, point, { lowS: false })) return undefined;
  const reader = new Reader(bytes);
  if (reader.number(4) !== generated || reader.number(2) !== type) return undefined;
  reader.sized();
  if (!same(reader.sized(), expected)) return undefined;
  // TPMS_CLOCK_INFO and the version of the firmware.
  reader.take(17 + 8);
  return reader;
}

function isOfPcrs(quoted: Reader, { bank, values }: TpmClaims['pcrs']): boolean {
  const numbers = Object.keys(values)
    .map(Number)
    .sort((one, other) => one - other);
  // The digest is over all of them in a row: otherwise a value could stand under the number of another.
  const whole = numbers.every((pcr) => /^[0-9a-f]{64}$/.test(values[pcr] ?? ''));
  if (!whole || new Set(numbers).size !== numbers.length) return false;
  const bits = new Uint8Array(3);
  for (const pcr of numbers) bits[pcr >> 3] = (bits[pcr >> 3] ?? 0) | (1 << (pcr & 7));
  if (bank !== 'sha256' || quoted.number(4) !== 1 || quoted.number(2) !== algorithms.sha256) return false;
  if (!same(quoted.take(quoted.number(1)), bits)) return false;
  const all = joined(...numbers.map((pcr) => hexToBytes(values[pcr] ?? '')));
  return same(quoted.sized(), sha256(all));
}

function boundTo({ kid, nonce = '', publicKeySha256 }: TpmBound): Uint8Array {
  return sha256(utf8ToBytes(`intaglio/tpm-evidence/v1\0${kid}\0${nonce}\0${publicKeySha256}`));
}

function nameOf(publicArea: Uint8Array): Uint8Array {
  return joined(Uint8Array.of(0, algorithms.sha256), sha256(publicArea));
}

type Jwk =
  | { readonly crv: string; readonly kty: 'EC'; readonly x: string; readonly y: string }
  | { readonly e: string; readonly kty: 'RSA'; readonly n: string };

interface PublicArea {
  readonly attributes: number;
  /** With its members in the order of RFC 7638. */
  readonly key: Jwk;
  /** Of P-256, uncompressed; empty of RSA. */
  readonly point: Uint8Array;
}

/** Throws where it is neither of P-256 nor of RSA. */
function publicAreaIn(bytes: Uint8Array): PublicArea {
  const reader = new Reader(bytes);
  const [type, name] = [reader.number(2), reader.number(2)];
  if (name !== algorithms.sha256) throw new Error('another hash');
  const found = reader.number(4);
  reader.sized();
  if (reader.number(2) !== algorithms.null) reader.take(4);
  if (reader.number(2) !== algorithms.null) reader.take(2);
  if (type === algorithms.ecc) {
    if (reader.number(2) !== 3 || reader.number(2) !== algorithms.null) throw new Error('another curve');
    const [x, y] = [wide(reader.sized()), wide(reader.sized())];
    const key = { crv: 'P-256', kty: 'EC', x: toBase64Url(x), y: toBase64Url(y) } as const;
    return { attributes: found, key, point: joined(Uint8Array.of(4), x, y) };
  }
  if (type !== algorithms.rsa) throw new Error('another type');
  reader.number(2);
  const exponent = reader.number(4) || 65_537;
  const e = exponent === 65_537 ? 'AQAB' : '';
  return {
    attributes: found,
    key: { e, kty: 'RSA', n: toBase64Url(reader.sized()) },
    point: new Uint8Array(0),
  };
}

/** RFC 7638. */
function thumbprintOf(key: Jwk): string {
  return toBase64Url(sha256(utf8ToBytes(JSON.stringify(key))));
}

function has(found: number, wanted: number): boolean {
  return (found & wanted) === wanted;
}

function wide(coordinate: Uint8Array): Uint8Array {
  return joined(new Uint8Array(Math.max(0, 32 - coordinate.length)), coordinate);
}

function same(one: Uint8Array, other: Uint8Array): boolean {
  return bytesToHex(one) === bytesToHex(other);
}

function joined(...pieces: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(pieces.flatMap((piece) => [...piece]));
}

/** Big endian; throws where there is less than is read. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  take(length: number): Uint8Array {
    if (this.#at + length > this.#bytes.length) throw new Error('too short');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** Of at most 4 bytes. */
  number(bytes: number): number {
    return this.take(bytes).reduce((value, byte) => value * 256 + byte, 0);
  }

  sized(): Uint8Array {
    return this.take(this.number(2));
  }
}
