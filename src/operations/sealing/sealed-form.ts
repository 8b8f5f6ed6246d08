import { parseKid } from '../../keys/kid.ts';

/**
 * What `seal` gives: u8 1, the version of this form | u8 scheme of the key (algorithms/ids.ts) | u8 length of the kid | kid with its
 * version, ASCII | body. The body is nonce || ciphertext || tag, as wrapping by this key gives it. The header, which is all before the
 * body, and the caller's aad one after the other are the aad of the AEAD: it is as long as it says, so no two pairs are one text.
 */
const form = 1;
const lengthAt = 2;
const kidAt = 3;

export interface Sealed {
  readonly kid: string;
  readonly header: Uint8Array;
  readonly body: Uint8Array;
}

/** The header of what this version seals. A kid has at most 255 characters. */
export function sealedHeader(versionedKid: string): Uint8Array {
  const header = Buffer.alloc(kidAt + versionedKid.length);
  header[0] = form;
  header[1] = schemeOf(versionedKid) ?? 0;
  header[lengthAt] = versionedKid.length;
  header.write(versionedKid, kidAt, 'latin1');
  return header;
}

/** Undefined where these bytes are of no such form. */
export function parseSealed(sealed: Uint8Array): Sealed | undefined {
  const bodyAt = kidAt + (sealed[lengthAt] ?? 0);
  if (sealed[0] !== form || sealed.length < bodyAt) return undefined;
  const header = sealed.subarray(0, bodyAt);
  const kid = Buffer.from(header.subarray(kidAt)).toString('latin1');
  // The one header that the kid has: no two texts name the same key.
  if (schemeOf(kid) === undefined || !Buffer.from(header).equals(sealedHeader(kid))) return undefined;
  return { kid, header, body: sealed.subarray(bodyAt) };
}

function schemeOf(versionedKid: string): number | undefined {
  const kid = parseKid(versionedKid);
  return kid?.version === undefined ? undefined : kid.algorithm.components[0].schemes[0].scheme;
}
