import { lookup as lookUp } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { ok, type Result, refuse } from '../core/result.ts';

/**
 * Where webhooks may go. `public`: https to addresses of the public network. `private`: https to any address. `development`: http too.
 */
export const targetRules = ['public', 'private', 'development'] as const;
export type TargetRule = (typeof targetRules)[number];

/** Of a URL. */
const maxChars = 2_048;

const noUrl = refuse(
  'BadRequest',
  `url: an absolute URL of at most ${maxChars} characters, without user or fragment`,
);
const noHttps = refuse('BadRequest', 'url: https only');
const notPublic = refuse('BadRequest', 'url: its address is not of the public network');

/** Addresses that are not for the public network (RFC 6890 and its registries, RFC 5771), so that nothing behind the service is asked. */
const special = new BlockList();
for (const [address, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.31.196.0', 24],
  ['192.52.193.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['192.175.48.0', 24],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const)
  special.addSubnet(address, prefix, 'ipv4');
for (const [address, prefix] of [
  // Teredo, ORCHID, benchmarks; documentation; 6to4, which holds an address of IPv4; segment routing.
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
  ['5f00::', 16],
] as const)
  special.addSubnet(address, prefix, 'ipv6');
/** All else of IPv6 is not assigned, or loopback, link-local, unique local, multicast, or an address of IPv4 in another form. */
const global = new BlockList();
global.addSubnet('2000::', 3, 'ipv6');

/** True of an address of the public network. */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !special.check(address, 'ipv4');
    case 6:
      return global.check(address, 'ipv6') && !special.check(address, 'ipv6');
    default:
      return false;
  }
}

export interface FoundAddress {
  readonly address: string;
  readonly family: number;
}

/** Every address of a name. Rejects where it has none. */
export type Resolve = (name: string) => Promise<readonly FoundAddress[]>;

export const resolveBySystem: Resolve = (name) =>
  new Promise((resolve, reject) => {
    lookUp(name, { all: true }, (error, found) => (error === null ? resolve(found) : reject(error)));
  });

/** The URL, where something may be sent to it. A name that nobody knows yet may come to be known. */
export async function targetOf(text: string, rule: TargetRule, resolve: Resolve): Promise<Result<URL>> {
  const url = text.length <= maxChars ? URL.parse(text) : null;
  if (url === null || url.username !== '' || url.password !== '' || url.hash !== '') return noUrl;
  if (url.protocol !== 'https:' && !(rule === 'development' && url.protocol === 'http:')) return noHttps;
  if (rule !== 'public') return ok(url);
  const host = hostOf(url);
  if (isIP(host) !== 0) return isPublicAddress(host) ? ok(url) : notPublic;
  const found = await resolve(host).catch(() => []);
  return found.every(({ address }) => isPublicAddress(address)) ? ok(url) : notPublic;
}

/** As sockets take it: an address of IPv6 has no brackets. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}

/** For connections: gives the very addresses that were judged, so that a name cannot mean another one a moment later. */
export function judgedLookup(rule: TargetRule, resolve: Resolve): LookupFunction {
  return (name, { all }, done) => {
    resolve(name).then(
      (found) => {
        const [first] = found;
        const allowed = rule !== 'public' || found.every(({ address }) => isPublicAddress(address));
        if (first === undefined || !allowed) done(new Error('not_public'), '', 0);
        else if (all === true) done(null, [...found]);
        else done(null, first.address, first.family);
      },
      (cause: Error) => done(cause, '', 0),
    );
  };
}
