import { createHash } from 'node:crypto';
import { parseKeyReference } from '../../engine/key-reference.ts';

/**
 * The handle that records keep of a key in a token, which is no secret: u8 version = 1 | u8 origin | nonce[16].
 * With tenant, kid and part it gives the name that the token knows, so that no handle works in another place than its own.
 */
export interface KeyName {
  readonly origin: KeyOrigin;
  /** CKA_ID of the objects; of an adopted key the label of the object that says so. */
  readonly id: Buffer;
}

export type KeyOrigin = 'made' | 'adopted';

const version = 1;
const origins: readonly KeyOrigin[] = ['made', 'adopted'];
const nonceBytes = 16;
const handleBytes = 2 + nonceBytes;
/** Tokens take at least as much: identifiers are SHA-1 of the public key by custom (PKCS#11 2.40, section 4.4). */
const idBytes = 20;
const context = Buffer.from('intaglio/pkcs11/v1\0');

export function handleOf(origin: KeyOrigin, nonce: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.of(version, origins.indexOf(origin)), nonce]);
}

/** The name behind a key reference; undefined where it is none of a token. */
export function keyNameOf(reference: Uint8Array): KeyName | undefined {
  const parsed = parseKeyReference(reference);
  if (parsed === undefined) return undefined;
  const { sealed, tenant, aad } = parsed;
  const origin = origins[sealed[1] ?? origins.length];
  if (sealed.length !== handleBytes || sealed[0] !== version || origin === undefined) return undefined;
  const lengths = Buffer.alloc(4);
  lengths.writeUInt16LE(tenant.length, 0);
  lengths.writeUInt16LE(aad.length, 2);
  const hash = createHash('sha256');
  for (const piece of [context, lengths, tenant, aad, sealed]) hash.update(piece);
  return { origin, id: hash.digest().subarray(0, idBytes) };
}

/** The key that wraps beside the one that encrypts: neither opens what the other made. */
export function wrappingIdOf(id: Buffer): Buffer {
  return createHash('sha256').update('wrap\0').update(id).digest().subarray(0, idBytes);
}

/** CKA_LABEL of what is made here: whoever lists the token sees the kid. Such keys are not adopted. */
export const ownLabelPrefix = 'intaglio:';
/** CKA_APPLICATION of the objects that say which key is adopted. */
export const adoptionApplication = 'intaglio adopted key';
