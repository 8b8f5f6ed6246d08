import { BlockList, isIP } from 'node:net';
import { ok, type Result, refuse } from '../core/result.ts';
import { addressBytes, addressText } from './addresses.ts';

/** The headers of a request by which a proxy says for whom it asks; each undefined where it is absent. */
export interface ForwardedHeaders {
  readonly xForwardedFor: string | undefined;
  readonly forwarded: string | undefined;
}

/** Says whose address counts for limits and caveats. */
export interface ForwardedAddresses {
  /**
   * `peer`: the other end's address, or `unix`. The peer itself unless it is trusted; then the rightmost forwarded address
   * that is not. Refuses with BadRequest what is malformed, and both headers together.
   */
  clientOf(peer: string, headers: ForwardedHeaders): Result<string>;
}

const malformed = refuse('BadRequest', 'X-Forwarded-For or Forwarded is malformed');
const both = refuse('BadRequest', 'send X-Forwarded-For or Forwarded, not both');

/** `trusted`: addresses, networks and `unix`, as KMS_TRUSTED_PROXIES takes them. */
export function createForwardedAddresses(trusted: readonly string[]): ForwardedAddresses {
  const networks = new BlockList();
  for (const network of trusted) {
    const [host = '', bits] = network.split('/');
    if (host === 'unix') continue;
    const family = isIP(host) === 6 ? 'ipv6' : 'ipv4';
    if (bits === undefined) networks.addAddress(host, family);
    else networks.addSubnet(host, Number(bits), family);
  }
  const isTrusted = (address: string): boolean => {
    if (address === 'unix') return trusted.includes('unix');
    const version = isIP(address);
    return version !== 0 && networks.check(address, version === 6 ? 'ipv6' : 'ipv4');
  };
  return {
    clientOf(peer, { xForwardedFor, forwarded }) {
      if ((xForwardedFor === undefined && forwarded === undefined) || !isTrusted(peer)) return ok(peer);
      if (xForwardedFor !== undefined && forwarded !== undefined) return both;
      const hops = xForwardedFor !== undefined ? listed(xForwardedFor) : forwardedFor(forwarded as string);
      return hops === undefined ? malformed : ok(rightmost(hops, peer, isTrusted));
    },
  };
}

/** A proxy that does not say whom it asks for is the client itself. */
function rightmost(hops: readonly string[], peer: string, isTrusted: (address: string) => boolean): string {
  let nearest = peer;
  for (const hop of hops.toReversed()) {
    if (hop === hidden) return nearest;
    if (!isTrusted(hop)) return hop;
    nearest = hop;
  }
  return nearest;
}

/** `unknown` and obfuscated names (RFC 7239 section 6.2, 6.3). */
const hidden = '';

function listed(text: string): readonly string[] | undefined {
  const hops = text.split(',').map((each) => addressOf(each.trim()));
  return hops.includes(undefined) ? undefined : (hops as string[]);
}

/** The `for` of each element of a Forwarded header (RFC 7239 section 4); an element without one is malformed. */
function forwardedFor(text: string): readonly string[] | undefined {
  const hops: string[] = [];
  for (const element of splitOutsideQuotes(text, ',')) {
    const found: string[] = [];
    for (const pair of splitOutsideQuotes(element, ';')) {
      const [, name = '', token, quoted] =
        /^([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)|"((?:[^"\\]|\\.)*)")$/.exec(
          pair.trim(),
        ) ?? [];
      if (name === '') return undefined;
      if (name.toLowerCase() === 'for') found.push(token ?? (quoted as string).replace(/\\(.)/g, '$1'));
    }
    const [node] = found;
    const hop = found.length === 1 ? nodeAddress(node as string) : undefined;
    if (hop === undefined) return undefined;
    hops.push(hop);
  }
  return hops;
}

function nodeAddress(node: string): string | undefined {
  if (/^(unknown|_[A-Za-z0-9._-]+)(:(\d{1,5}|_[A-Za-z0-9._-]+))?$/i.test(node)) return hidden;
  // An IPv6 address stands in brackets here.
  return isIP(node) === 6 ? undefined : addressOf(node);
}

/** An address, or one with a port, in the form that a peer's has: so it is one name for limits and caveats. */
function addressOf(text: string): string | undefined {
  if (isIP(text) !== 0) return text.includes('%') ? undefined : addressText(addressBytes(text));
  const [, six, four] = /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::\d{1,5})?$/.exec(text) ?? [];
  if (six !== undefined) return isIP(six) === 6 ? addressText(addressBytes(six)) : undefined;
  return four !== undefined && isIP(four) === 4 ? four : undefined;
}

function splitOutsideQuotes(text: string, separator: string): readonly string[] {
  const parts: string[] = [];
  let start = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (quoted && character === '\\') at++;
    else if (character === '"') quoted = !quoted;
    else if (character === separator && !quoted) {
      parts.push(text.slice(start, at));
      start = at + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}
