import library, { type Macaroon } from 'macaroon';

// A token travels in a header, and all headers together have 4 KiB.
export const maxTokenCharacters = 4_096;
// Minting adds three caveats and each service on the way one or two; 32 also bounds the cost of a refusal, because
// every caveat is one HMAC.
export const maxCaveats = 32;

/** A macaroon as it was presented: nothing of it is verified. */
export interface PresentedMacaroon {
  readonly identifier: Uint8Array;
  readonly caveats: readonly string[];
  readonly signature: Uint8Array;
  /** The library's own, to add caveats to. */
  readonly macaroon: Macaroon;
  readonly binary: Uint8Array;
}

// Field types of the V2 binary format (libmacaroons, doc/format.txt).
const endOfSection = 0;
const locationField = 1;
const identifierField = 2;
const signatureField = 6;

/**
 * The V2 binary form of a macaroon without a location and with first-party caveats only. Ours, because the library's
 * `exportBinary` doubles its buffer at every field (its `_grow` reads a `_capacity` that nothing sets): three caveats
 * take 400 MB for a moment, and eight do not fit any buffer.
 */
export function encodeBinary(
  identifier: Uint8Array,
  caveats: readonly string[],
  signature: Uint8Array,
): Uint8Array {
  const parts: Uint8Array[] = [Uint8Array.of(2), ...field(identifierField, identifier), end];
  for (const caveat of caveats) parts.push(...field(identifierField, Buffer.from(caveat, 'latin1')), end);
  parts.push(end, ...field(signatureField, signature));
  return Buffer.concat(parts);
}

const end = Uint8Array.of(endOfSection);

function field(type: number, content: Uint8Array): Uint8Array[] {
  return [Uint8Array.of(type, ...varint(content.length)), content];
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

/** Base64url without padding (RFC 4648 section 5). */
export function encodeToken(
  { identifier, signature }: Pick<Macaroon, 'identifier' | 'signature'>,
  caveats: readonly string[],
): string {
  return Buffer.from(encodeBinary(identifier, caveats, signature)).toString('base64url');
}

/**
 * Reads a token, or gives undefined for whatever is not exactly one canonical V2 macaroon within the bounds above,
 * with printable first-party caveats and no location, or an empty one, which pymacaroons writes. A macaroon's signature does
 * not cover its encoding, its location, or a caveat's location; being strict here leaves two texts for one macaroon.
 */
export function decodeToken(token: string): PresentedMacaroon | undefined {
  if (token.length === 0 || token.length > maxTokenCharacters) return undefined;
  const sent = Buffer.from(token, 'base64url');
  if (sent.toString('base64url') !== token) return undefined;
  const binary = withoutEmptyLocation(sent);
  let macaroon: Macaroon;
  try {
    macaroon = library.importMacaroon(binary);
  } catch {
    return undefined;
  }
  const { identifier, signature, caveats: presented } = macaroon;
  if (presented.length > maxCaveats || presented.some((caveat) => caveat.vid !== undefined)) return undefined;
  const caveats = presented.map((caveat) => Buffer.from(caveat.identifier).toString('latin1'));
  if (!caveats.every((caveat) => /^[\x20-\x7e]+$/.test(caveat))) return undefined;
  if (!binary.equals(encodeBinary(identifier, caveats, signature))) return undefined;
  return { identifier, caveats, signature, macaroon, binary };
}

/** The location is the first field behind the byte of the version. */
function withoutEmptyLocation(binary: Buffer): Buffer {
  const empty = binary[1] === locationField && binary[2] === 0;
  return empty ? Buffer.concat([binary.subarray(0, 1), binary.subarray(3)]) : binary;
}
