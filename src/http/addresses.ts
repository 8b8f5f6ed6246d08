import { SocketAddress } from 'node:net';

/** IPv4 in dotted form, also where it is mapped into IPv6; IPv6 in the form of RFC 5952. Undefined unless of 4 or 16 bytes. */
export function addressText(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16) return undefined;
  if (isMapped(bytes)) return bytes.subarray(12).join('.');
  const groups = Buffer.from(bytes).toString('hex').match(/..../g) as string[];
  return new SocketAddress({ family: 'ipv6', address: groups.join(':') }).address;
}

/** The bytes of an address in any text form that node:net gives, without its zone. Empty where it is none. */
export function addressBytes(text: string | undefined): Uint8Array {
  const address = text?.replace(/%.*$/, '') ?? '';
  const mapped = /^(?:::ffff:)?(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return Uint8Array.from(mapped.split('.'), Number);
  if (!address.includes(':')) return new Uint8Array(0);
  const [left = [], right = []] = address.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  const groups = address.includes('::') ? [...left, ...zeros, ...right] : left;
  return Buffer.from(groups.map((group) => group.padStart(4, '0')).join(''), 'hex');
}

function isMapped(bytes: Uint8Array): boolean {
  return bytes[10] === 0xff && bytes[11] === 0xff && bytes.subarray(0, 10).every((byte) => byte === 0);
}
