import { createHash, createPublicKey } from 'node:crypto';
import { type KeyType, keyTypes } from '../../algorithms/ids.ts';
import { parseKeyReference } from '../../engine/key-reference.ts';
import { TpmError } from './errors.ts';
import { objectAttributes as oa, tpmAlgorithms } from './numbers.ts';
import type { KeptObject } from './objects.ts';
import { exponentOf, type PublicArea, p256Area } from './public-area.ts';
import { Reader, Writer } from './wire.ts';

/**
 * A key in a TPM as records keep it: `u8 version = 1 | name of the storage root key[34] | u16 length | private area | u16 length
 * | public area`. The TPM encrypts the private area under a key that never leaves it. The authorization value comes of tenant,
 * kid and part: the TPM itself refuses the key in another place.
 */
export interface TpmKeyBlob extends KeptObject {
  /** Name of the storage root key. */
  readonly parent: Uint8Array;
}

/** The blob of a key, and its authorization value. */
export interface NamedTpmKey extends TpmKeyBlob {
  readonly auth: Uint8Array;
}

const version = 1;
const nameBytes = 34;
const context = Buffer.from('intaglio/tpm/v1\0');

export function writeKeyBlob({ parent, privateArea, publicArea }: TpmKeyBlob): Uint8Array {
  return new Writer().u8(version).bytes(parent).sized(privateArea).sized(publicArea).done();
}

/** The key of a reference. Undefined: it is no key of a TPM. */
export function keyIn(reference: Uint8Array): NamedTpmKey | undefined {
  const parsed = parseKeyReference(reference);
  if (parsed === undefined) return undefined;
  try {
    const reader = new Reader(parsed.sealed);
    if (reader.u8() !== version) return undefined;
    const key = { parent: reader.take(nameBytes), privateArea: reader.sized(), publicArea: reader.sized() };
    return reader.rest().length === 0 ? { ...key, auth: authFor(parsed.tenant, parsed.aad) } : undefined;
  } catch (cause) {
    if (cause instanceof TpmError) return undefined;
    throw cause;
  }
}

/** The value is no secret: it binds a key to its place. It has no zeros at its end (TPM 2.0 part 1, 19.6.4). */
export function authFor(tenant: Uint8Array, part: Uint8Array): Uint8Array {
  const lengths = new Writer().u16(tenant.length).u16(part.length).done();
  const auth = createHash('sha256').update(context).update(lengths).update(tenant).update(part).digest();
  let end = auth.length;
  while (end > 0 && auth[end - 1] === 0) end--;
  return auth.subarray(0, end);
}

const common = oa.fixedTpm | oa.fixedParent | oa.sensitiveDataOrigin | oa.userWithAuth | oa.noDa;
const rsaBits = 2_048;

/** RSA keys do the raw operation: TPMs differ in the salt of their PSS, and in their hashes. */
export const keyTemplates: Readonly<Partial<Record<KeyType, Buffer>>> = {
  [keyTypes['ecdsa-p256']]: p256Area({ attributes: common | oa.sign }),
  [keyTypes['rsa-2048']]: new Writer()
    .u16(tpmAlgorithms.rsa)
    .u16(tpmAlgorithms.sha256)
    .u32(common | oa.decrypt)
    .sized(Buffer.alloc(0))
    .u16(tpmAlgorithms.null)
    .u16(tpmAlgorithms.null)
    .u16(rsaBits)
    .u32(0)
    .sized(Buffer.alloc(0))
    .done(),
};

export function keyTypeOf({ key }: PublicArea): KeyType | undefined {
  if (key.kind === 'ecc') return keyTypes['ecdsa-p256'];
  return key.kind === 'rsa' && key.modulus.length * 8 === rsaBits ? keyTypes['rsa-2048'] : undefined;
}

/** A public key in the product's encoding: a point of P-256, or SubjectPublicKeyInfo of RSA. */
export function publicKeyOf({ key }: PublicArea): Uint8Array {
  if (key.kind === 'ecc') return Buffer.concat([Buffer.of(4), key.x, key.y]);
  if (key.kind !== 'rsa') throw new TpmError('it made a key of another type', 0);
  const jwk = { kty: 'RSA', n: key.modulus.toString('base64url'), e: exponentOf(key.exponent) };
  return createPublicKey({ key: jwk, format: 'jwk' }).export({ format: 'der', type: 'spki' });
}
