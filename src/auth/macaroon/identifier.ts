import { hash, randomBytes } from 'node:crypto';

/**
 * The service's knowledge of a capability and of all that is attenuated from it: u8 1 | u32be root key | u48be issued | u48be
 * expires | 16 random bytes. Times are UTC in milliseconds since 1970; 2^48 - 1 never expires. Identifiers of earlier versions
 * are 16 random bytes, under the root key 0.
 */
export interface Identifier {
  readonly rootKeyId: number;
  readonly issuedAtMs: number;
  /** Infinity where it never does. No caveat can put it off, so a revocation is needed until then. */
  readonly expiresAtMs: number;
}

const format = 1;
const randomLength = 16;
const length = 17 + randomLength;
const never = 2 ** 48 - 1;

/** Nothing is known of capabilities that were made before identifiers said this. */
const early: Identifier = { rootKeyId: 0, issuedAtMs: 0, expiresAtMs: Number.POSITIVE_INFINITY };

export function makeIdentifier({ rootKeyId, issuedAtMs, expiresAtMs }: Identifier): Uint8Array {
  const bytes = Buffer.alloc(length);
  bytes[0] = format;
  bytes.writeUInt32BE(rootKeyId, 1);
  bytes.writeUIntBE(Math.floor(issuedAtMs), 5, 6);
  bytes.writeUIntBE(Math.min(never, Math.ceil(expiresAtMs)), 11, 6);
  // Identifiers do not repeat, so neither do actors.
  randomBytes(randomLength).copy(bytes, 17);
  return bytes;
}

/** Undefined where it has neither form. */
export function readIdentifier(bytes: Uint8Array): Identifier | undefined {
  if (bytes.length === randomLength) return early;
  if (bytes.length !== length || bytes[0] !== format) return undefined;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const expires = buffer.readUIntBE(11, 6);
  return {
    rootKeyId: buffer.readUInt32BE(1),
    issuedAtMs: buffer.readUIntBE(5, 6),
    expiresAtMs: expires === never ? Number.POSITIVE_INFINITY : expires,
  };
}

/** The pseudonym of a capability and of everything attenuated from it: `cap:` and 16 hexadecimal digits. */
export function actorOf(identifier: Uint8Array): string {
  return `cap:${hash('sha256', identifier).slice(0, 16)}`;
}
