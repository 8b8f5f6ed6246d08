import { BlockList, isIP } from 'node:net';

/** The forms of caveats' values. Each parser gives undefined for a text that has not exactly its form. */

/** Entries of one list. A capability has at most 4,096 characters, so that this binds only short entries. */
const maxEntries = 64;

/** One to 64 entries with commas between them, none twice. */
export function list(value: string, isEntry: (entry: string) => boolean): ReadonlySet<string> | undefined {
  const entries = value.split(',', maxEntries + 1);
  const different = new Set(entries);
  const good = entries.length <= maxEntries && different.size === entries.length && entries.every(isEntry);
  return good ? different : undefined;
}

/** A whole number from 1, without leading zeros, of at most nine digits. */
export function count(value: string): number | undefined {
  return /^[1-9][0-9]{0,8}$/.test(value) ? Number(value) : undefined;
}

/** `100/s`: so many in a second, at once or spread. */
export function perSecond(value: string): number | undefined {
  return value.endsWith('/s') ? count(value.slice(0, -2)) : undefined;
}

/** Addresses and networks (RFC 4632 prefixes), IPv4 and IPv6, with commas between them. */
export function networks(value: string): BlockList | undefined {
  const entries = list(value, (entry) => entry !== '');
  if (entries === undefined) return undefined;
  const wanted = new BlockList();
  for (const entry of entries) {
    const [, address = '', prefix] = /^([0-9a-f.:]+)(?:\/(0|[1-9][0-9]{0,2}))?$/.exec(entry) ?? [];
    const family = isIP(address);
    const bits = family === 4 ? 32 : 128;
    const length = prefix === undefined ? bits : Number(prefix);
    if (family === 0 || length > bits) return undefined;
    wanted.addSubnet(address, length, family === 4 ? 'ipv4' : 'ipv6');
  }
  return wanted;
}

/** An IPv4 address in IPv6 form (RFC 4291 section 2.5.5.2) is that IPv4 address. */
export function isWithin(wanted: BlockList, address: string): boolean {
  const family = isIP(address);
  return family !== 0 && wanted.check(address, family === 4 ? 'ipv4' : 'ipv6');
}
