import { extractMacKey, type MacKey, softwareMacKey } from '../../core/mac-key.ts';

/** libmacaroons makes its key as HMAC-SHA-256(this, root key), which is HKDF-Extract with this salt. */
export const macaroonSalt = 'macaroons-key-generator';

/** The 32 bytes of a macaroon root key, for commands and tests; or what `macaroonSalt` extracts from it. */
export type MacaroonRootKey = Uint8Array | MacKey;

/** Of bytes, a key in ordinary memory. */
export function macaroonKeyOf(rootKey: MacaroonRootKey): MacKey {
  return rootKey instanceof Uint8Array ? softwareMacKey(extractMacKey(rootKey, macaroonSalt)) : rootKey;
}

/**
 * The signature of a macaroon with first-party caveats only (Birgisson et al., NDSS 2014): each MAC is the key of the next. One
 * call, because a MAC in between is the signature of a wider capability.
 */
export function signatureOf(key: MacKey, identifier: Uint8Array, caveats: readonly string[]): Uint8Array {
  return key.mac(identifier, ...caveats.map((caveat) => Buffer.from(caveat, 'latin1')));
}
