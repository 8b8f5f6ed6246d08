import library, { type Macaroon } from 'macaroon';

// A token travels in a header, and all headers together have 8 KiB.
export const maxTokenCharacters = 4_096;
// Minting adds three caveats and each service on the way one or two; 32 also bounds the cost of a refusal, because
// every caveat is one HMAC.
export const maxCaveats = 32;
/** Printable ASCII. No signature covers it: it is a hint where to ask, and nothing is decided by it. */
const locationPattern = /^[\x21-\x7e]{0,256}$/;
/** A nonce, a key, and the tag of XSalsa20-Poly1305. */
const verificationIdBytes = 24 + 32 + 16;

/** A caveat that somebody else confirms, with a discharge (Birgisson et al., section III.B). */
export interface ThirdPartyCaveat {
  readonly id: Uint8Array;
  /** The key of its discharges, encrypted under the signature up to here. */
  readonly vid: Uint8Array;
  readonly location: string;
}

/** The text of a first-party caveat, or one of a third party. */
export type Caveat = string | ThirdPartyCaveat;

/** A macaroon as it was presented: nothing of it is verified. */
export interface PresentedMacaroon {
  readonly identifier: Uint8Array;
  readonly caveats: readonly Caveat[];
  readonly signature: Uint8Array;
  /** The library's own, to add caveats to. */
  readonly macaroon: Macaroon;
  readonly binary: Uint8Array;
}

// Field types of the V2 binary format (libmacaroons, doc/format.txt).
const endOfSection = 0;
const locationField = 1;
const identifierField = 2;
const verificationIdField = 4;
const signatureField = 6;

/**
 * The V2 binary form of a macaroon without a location. Ours, because the library's `exportBinary` doubles its buffer at
 * every field (its `_grow` reads a `_capacity` that nothing sets): three caveats take 400 MB for a moment, and eight do
 * not fit any buffer.
 */
export function encodeBinary(
  identifier: Uint8Array,
  caveats: readonly Caveat[],
  signature: Uint8Array,
): Uint8Array {
  const parts: Uint8Array[] = [Uint8Array.of(2), ...field(identifierField, identifier), end];
  for (const caveat of caveats) parts.push(...caveatFields(caveat), end);
  parts.push(end, ...field(signatureField, signature));
  return Buffer.concat(parts);
}

const end = Uint8Array.of(endOfSection);

function caveatFields(caveat: Caveat): Uint8Array[] {
  if (typeof caveat === 'string') return field(identifierField, Buffer.from(caveat, 'latin1'));
  const { id, vid, location } = caveat;
  const located = location === '' ? [] : field(locationField, Buffer.from(location, 'latin1'));
  return [...located, ...field(identifierField, id), ...field(verificationIdField, vid)];
}

function field(type: number, content: Uint8Array): Uint8Array[] {
  return [Uint8Array.of(type, ...varint(content.length)), content];
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

/** Base64url without padding (RFC 4648 section 5). */
export function encodeToken(
  { identifier, signature }: Pick<Macaroon, 'identifier' | 'signature'>,
  caveats: readonly Caveat[],
): string {
  return Buffer.from(encodeBinary(identifier, caveats, signature)).toString('base64url');
}

/**
 * Reads a token, or gives undefined for whatever is not exactly one canonical V2 macaroon within the bounds above, with
 * printable first-party caveats and no location, or an empty one, which pymacaroons writes. A macaroon's signature does
 * not cover its encoding or its location; being strict here leaves two texts for one macaroon. Third-party caveats may have
 * any printable location.
 */
export function decodeToken(token: string): PresentedMacaroon | undefined {
  return decode(token, withoutEmptyLocation);
}

/** The same for a discharge, whose location its maker chose and nothing depends on. */
export function decodeDischarge(token: string): PresentedMacaroon | undefined {
  return decode(token, withoutLocation);
}

function decode(token: string, strip: (binary: Buffer) => Buffer): PresentedMacaroon | undefined {
  if (token.length === 0 || token.length > maxTokenCharacters) return undefined;
  const sent = Buffer.from(token, 'base64url');
  if (sent.toString('base64url') !== token) return undefined;
  const binary = strip(sent);
  let macaroon: Macaroon;
  let caveats: readonly Caveat[];
  try {
    macaroon = library.importMacaroon(binary);
    caveats = macaroon.caveats.map(({ identifier, vid, location = '' }) =>
      vid === undefined ? Buffer.from(identifier).toString('latin1') : { id: identifier, vid, location },
    );
  } catch {
    return undefined;
  }
  const { identifier, signature } = macaroon;
  if (caveats.length > maxCaveats || !caveats.every(isWellFormed)) return undefined;
  if (!binary.equals(encodeBinary(identifier, caveats, signature))) return undefined;
  return { identifier, caveats, signature, macaroon, binary };
}

function isWellFormed(caveat: Caveat): boolean {
  if (typeof caveat === 'string') return /^[\x20-\x7e]+$/.test(caveat);
  const { id, vid, location } = caveat;
  return id.length > 0 && vid.length === verificationIdBytes && locationPattern.test(location);
}

/** The location is the first field behind the byte of the version. */
function withoutEmptyLocation(binary: Buffer): Buffer {
  const empty = binary[1] === locationField && binary[2] === 0;
  return empty ? Buffer.concat([binary.subarray(0, 1), binary.subarray(3)]) : binary;
}

function withoutLocation(binary: Buffer): Buffer {
  const length = binary[2] ?? 0;
  if (binary[1] !== locationField || length > 0x7f) return binary;
  return Buffer.concat([binary.subarray(0, 1), binary.subarray(3 + length)]);
}
