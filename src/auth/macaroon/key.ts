import { extractMacKey, type MacKey, softwareMacKey } from '../../core/mac-key.ts';
import type { Caveat, ThirdPartyCaveat } from './encoding.ts';

/** libmacaroons makes its key as HMAC-SHA-256(this, root key), which is HKDF-Extract with this salt. */
export const macaroonSalt = 'macaroons-key-generator';

/** The 32 bytes of a macaroon root key, for commands and tests; or what `macaroonSalt` extracts from it. */
export type MacaroonRootKey = Uint8Array | MacKey;

/** Of bytes, a key in ordinary memory. */
export function macaroonKeyOf(rootKey: MacaroonRootKey): MacKey {
  return rootKey instanceof Uint8Array ? softwareMacKey(extractMacKey(rootKey, macaroonSalt)) : rootKey;
}

/**
 * The signature of a macaroon (Birgisson et al., NDSS 2014): each MAC is the key of the next. The caveats before the first one
 * of a third party are one call, because a MAC in between is the signature of a wider capability. `atThirdParty` gets the
 * signature before each of these, which opens its verification id, and is wiped afterwards.
 */
export function signatureOf(
  key: MacKey,
  identifier: Uint8Array,
  caveats: readonly Caveat[],
  atThirdParty?: (caveat: ThirdPartyCaveat, signature: Uint8Array) => void,
): Uint8Array {
  const texts = caveats.findIndex((caveat) => typeof caveat !== 'string');
  const first = texts === -1 ? caveats : caveats.slice(0, texts);
  let signature = key.mac(identifier, ...first.map((caveat) => Buffer.from(caveat as string, 'latin1')));
  for (const caveat of caveats.slice(first.length)) {
    const link = softwareMacKey(signature);
    let next: Buffer;
    if (typeof caveat === 'string') {
      next = link.mac(Buffer.from(caveat, 'latin1'));
    } else {
      atThirdParty?.(caveat, signature);
      next = pairMac(link, caveat.vid, caveat.id);
    }
    signature.fill(0);
    signature = next;
  }
  return signature;
}

/** libmacaroons' `macaroon_hash2`: a MAC over the MACs of both. */
export function pairMac(key: MacKey, first: Uint8Array, second: Uint8Array): Buffer {
  return key.mac(Buffer.concat([key.mac(first), key.mac(second)]));
}
