/**
 * The key of a sign item: all that is needed to open a sealed blob, and nothing secret.
 * u16le tenantLength | tenant, UTF-8 | u16le aadLength | aad, UTF-8 | sealed blob
 */
export interface KeyReference {
  readonly tenant: Uint8Array;
  readonly aad: Uint8Array;
  readonly sealed: Uint8Array;
}

/** The aad that a sealed private part is bound to: the key, its version and which of its parts it is. */
export function partName(versionedKid: string, partIndex: number): string {
  return `${versionedKid}/${partIndex}`;
}

/** No tenant may have this name. What lies ready for any tenant is sealed for it. */
export const poolTenant = '/pool';

/** The aad of a private part that was made before there was a kid. No kid has this form. */
export function pooledPartName(uuid: string): string {
  return partName(pooledName(uuid), 0);
}

/** In the place of a versioned kid. */
export function pooledName(uuid: string): string {
  return `pool/${uuid}`;
}

/** No tenant may have this name. Keys of the service's own are sealed for it. */
export const serviceTenant = '/service';

export function serviceKeyPartName(name: string): string {
  return partName(`service-key/${name}`, 0);
}

const lengthBytes = 2;
const maxFieldBytes = 0xffff;

/** Throws RangeError when the tenant or the aad is longer than 65,535 bytes. */
export function buildKeyReference(tenant: string, aad: string, sealed: Uint8Array): Uint8Array {
  const tenantBytes = Buffer.byteLength(tenant);
  const aadBytes = Buffer.byteLength(aad);
  if (tenantBytes > maxFieldBytes || aadBytes > maxFieldBytes) {
    throw new RangeError('tenant and aad have at most 65535 bytes');
  }
  const opening = Buffer.alloc(2 * lengthBytes + tenantBytes + aadBytes + sealed.length);
  let end = opening.writeUInt16LE(tenantBytes, 0);
  end += opening.write(tenant, end);
  end = opening.writeUInt16LE(aadBytes, end);
  end += opening.write(aad, end);
  opening.set(sealed, end);
  return opening;
}

/** The parts as views into `bytes`, or undefined when the lengths point past the end. */
export function parseKeyReference(bytes: Uint8Array): KeyReference | undefined {
  const tenant = readField(bytes, 0);
  if (tenant === undefined) return undefined;
  const aadAt = lengthBytes + tenant.length;
  const aad = readField(bytes, aadAt);
  if (aad === undefined) return undefined;
  return { tenant, aad, sealed: bytes.subarray(aadAt + lengthBytes + aad.length) };
}

function readField(bytes: Uint8Array, at: number): Uint8Array | undefined {
  const low = bytes[at];
  const high = bytes[at + 1];
  if (low === undefined || high === undefined) return undefined;
  const start = at + lengthBytes;
  const end = start + (high << 8) + low;
  return end > bytes.length ? undefined : bytes.subarray(start, end);
}
