import { createHash } from 'node:crypto';
import { TpmError } from './errors.ts';
import { curveP256, objectAttributes as oa, tpmAlgorithms } from './numbers.ts';
import { inBytes, Reader, Writer } from './wire.ts';

/** The members of a public area (TPMT_PUBLIC) that are used here. */
export interface PublicArea {
  readonly type: number;
  readonly attributes: number;
  readonly key: /** A point of P-256. */
    | { readonly kind: 'ecc'; readonly x: Buffer; readonly y: Buffer }
    | { readonly kind: 'rsa'; readonly modulus: Buffer; readonly exponent: number }
    | { readonly kind: 'other' };
}

/** The name of an object: hash algorithm, and hash of its public area (TPM 2.0 part 1, 16). */
export function objectName(publicArea: Uint8Array): Buffer {
  return new Writer()
    .u16(tpmAlgorithms.sha256)
    .bytes(createHash('sha256').update(publicArea).digest())
    .done();
}

export function readPublicArea(bytes: Uint8Array): PublicArea {
  const reader = new Reader(bytes);
  const type = reader.u16();
  if (reader.u16() !== tpmAlgorithms.sha256) throw new TpmError('a key of it has no name by SHA-256');
  const attributes = reader.u32();
  reader.sized();
  if (type === tpmAlgorithms.ecc) {
    skipSymmetric(reader);
    skipScheme(reader);
    const curve = reader.u16();
    skipScheme(reader);
    // Keys of other curves are not used here.
    if (curve !== curveP256) return { type, attributes, key: { kind: 'other' } };
    const coordinate = () => inBytes(reader.sized(), coordinateBytes);
    return { type, attributes, key: { kind: 'ecc', x: coordinate(), y: coordinate() } };
  }
  if (type === tpmAlgorithms.rsa) {
    skipSymmetric(reader);
    skipScheme(reader);
    reader.u16();
    const exponent = reader.u32() || 65_537;
    return { type, attributes, key: { kind: 'rsa', modulus: Buffer.from(reader.sized()), exponent } };
  }
  return { type, attributes, key: { kind: 'other' } };
}

function skipSymmetric(reader: Reader): void {
  if (reader.u16() !== tpmAlgorithms.null) reader.take(4);
}

function skipScheme(reader: Reader): void {
  if (reader.u16() !== tpmAlgorithms.null) reader.take(2);
}

const coordinateBytes = 32;

/** Attributes of a restricted primary key, which the TPM derives from a seed. */
export const restrictedPrimary =
  oa.fixedTpm | oa.fixedParent | oa.sensitiveDataOrigin | oa.userWithAuth | oa.noDa | oa.restricted;

interface P256Area {
  readonly attributes: number;
  /** TPMT_SYM_DEF_OBJECT for its children. Absent: it protects nothing. */
  readonly protects?: Uint8Array;
  /** TPMT_ECC_SCHEME. Absent: each command names one. */
  readonly scheme?: Uint8Array;
  /** Absent in templates: the TPM draws it. */
  readonly point?: { readonly x: Uint8Array; readonly y: Uint8Array };
}

const none = new Writer().u16(tpmAlgorithms.null).done();
const empty = Buffer.alloc(0);

/** TPMT_PUBLIC of a key of P-256, without a policy and without a key derivation of its own. */
export function p256Area({ attributes, protects = none, scheme = none, point }: P256Area): Buffer {
  const { x = empty, y = empty } = point ?? {};
  return new Writer()
    .u16(tpmAlgorithms.ecc)
    .u16(tpmAlgorithms.sha256)
    .u32(attributes)
    .sized(empty)
    .bytes(protects)
    .bytes(scheme)
    .u16(curveP256)
    .u16(tpmAlgorithms.null)
    .sized(x)
    .sized(y)
    .done();
}

/** The public exponent of RSA as a JWK has it (RFC 7518 section 6.3.1.2). */
export function exponentOf(exponent: number): string {
  return new Writer()
    .u32(exponent)
    .done()
    .subarray(exponent > 0xff_ffff ? 0 : 1)
    .toString('base64url');
}
