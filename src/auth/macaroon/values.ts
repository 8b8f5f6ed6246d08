import { BlockList, isIP } from 'node:net';
import { BoundedCache } from '../../core/bounded-cache.ts';

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

/** An address or network (RFC 4632 prefix), IPv4 or IPv6. */
interface Network {
  readonly address: string;
  readonly length: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** Addresses and networks with commas between them, as they were written. */
export function networks(value: string): string | undefined {
  return networksIn(value) === undefined ? undefined : value;
}

function networksIn(value: string): readonly Network[] | undefined {
  const entries = list(value, (entry) => entry !== '');
  const found = entries === undefined ? [undefined] : [...entries].map(networkOf);
  return found.every((network) => network !== undefined) ? found : undefined;
}

function networkOf(entry: string): Network | undefined {
  const [, address = '', prefix] = /^([0-9a-f.:]+)(?:\/(0|[1-9][0-9]{0,2}))?$/.exec(entry) ?? [];
  const family = isIP(address);
  const bits = family === 4 ? 32 : 128;
  const length = prefix === undefined ? bits : Number(prefix);
  if (family === 0 || length > bits) return undefined;
  return { address, length, family: family === 4 ? 'ipv4' : 'ipv6' };
}

/**
 * By the caveat's text, and not one with each capability: a list takes 1 KB of Node's memory for an entry, and capabilities of
 * one service share their networks. 256 of the longest take 16 MB; another one is read again, some 50 microseconds.
 */
const blockLists = new BoundedCache<string, BlockList>(256);

/** True if these networks hold the address. An IPv4 address in IPv6 form (RFC 4291 section 2.5.5.2) is that IPv4 address. */
export function isWithin(wanted: string, address: string): boolean {
  const family = isIP(address);
  if (family === 0) return false;
  let blockList = blockLists.get(wanted);
  if (blockList === undefined) {
    blockList = new BlockList();
    for (const network of networksIn(wanted) ?? []) {
      blockList.addSubnet(network.address, network.length, network.family);
    }
    blockLists.set(wanted, blockList);
  }
  return blockList.check(address, family === 4 ? 'ipv4' : 'ipv6');
}
