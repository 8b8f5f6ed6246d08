import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';
import { type KeyType, keyTypes, type Scheme, type SigningScheme, schemes } from '../engine.ts';
import { isSealingScheme } from '../rooms.ts';
import type { SignatureScheme } from './keys.ts';
import { signatureSchemes } from './signature-schemes.ts';

export interface MacScheme {
  readonly kind: 'mac';
  readonly keyTypes: readonly KeyType[];
  mac(message: Uint8Array, key: KeyObject): Buffer;
  /** In constant time for a tag of the right length; one of another length is not equal. */
  verify(message: Uint8Array, key: KeyObject, tag: Uint8Array): boolean;
}

export type OpensslScheme = SignatureScheme | MacScheme;

const hmac: MacScheme = {
  kind: 'mac',
  keyTypes: [keyTypes['hmac-sha256']],
  mac: (message, key) => createHmac('sha256', key).update(message).digest(),
  verify(message, key, tag) {
    const expected = hmac.mac(message, key);
    return tag.length === expected.length && timingSafeEqual(expected, tag);
  },
};

export const opensslSchemes: Readonly<Record<SigningScheme, OpensslScheme>> = {
  ...signatureSchemes,
  [schemes['hmac-sha256']]: hmac,
};

export function isScheme(number: number): number is Scheme {
  return Object.hasOwn(opensslSchemes, number) || isSealingScheme(number as Scheme);
}
