import { BlockList, isIP } from 'node:net';
import { type Address, address, type Kind } from './kinds.ts';

/** Where and how callers are let in. */
export type ListenAddress =
  | ({ readonly scheme: 'http'; readonly insecure: boolean } & Address)
  | ({ readonly scheme: 'https'; readonly client: ClientCertificates } & Address)
  | { readonly scheme: 'unix'; readonly path: string; readonly mode: SocketMode };

/** Permissions of the socket's file: whoever may write to it may connect (unix(7)). */
export type SocketMode = 0o600 | 0o660 | 0o666;

/** `request`: a client may show a certificate, and one that it shows has to hold. */
export type ClientCertificates = 'none' | 'request' | 'require';

/** Each has a descriptor of its own and a label in the metrics. */
const maxListeners = 16;
/** sun_path of Linux has 108 bytes with its end. */
const maxSocketPathBytes = 107;

/** `http://127.0.0.1:7441,https://0.0.0.0:7443?client=require,unix:/run/intaglio/kms.sock` */
export const listenAddresses: Kind<readonly ListenAddress[]> = {
  accepts:
    'a list of http://host:port (beyond loopback http://host:port?insecure), https://host:port[?client=none|request|require] and unix:/path[?mode=0600|0660|0666], at most 16, none twice',
  parse(given) {
    const list = typeof given === 'string' ? given.split(',').map((each) => each.trim()) : given;
    if (!Array.isArray(list) || list.length === 0 || list.length > maxListeners) return undefined;
    const parsed = list.map((each) => (typeof each === 'string' ? parseOne(each) : undefined));
    if (parsed.includes(undefined)) return undefined;
    const addresses = parsed as ListenAddress[];
    const places = addresses.map(placeOf).filter((place) => !place.endsWith(':0'));
    return new Set(places).size === places.length ? addresses : undefined;
  },
  format: (addresses) => addresses.map(formatOne).join(','),
};

function parseOne(text: string): ListenAddress | undefined {
  const [, scheme, rest = '', query] = /^(http:\/\/|https:\/\/|unix:)([^?]*)(?:\?(.*))?$/.exec(text) ?? [];
  if (scheme === 'unix:') return parseSocket(rest, query);
  const place = address.parse(rest);
  if (place === undefined) return undefined;
  if (scheme === 'http://') {
    if (query !== undefined && query !== 'insecure') return undefined;
    const insecure = query === 'insecure';
    return insecure || isLoopback(place.host) ? { scheme: 'http', insecure, ...place } : undefined;
  }
  const client = query === undefined ? 'none' : /^client=(none|request|require)$/.exec(query)?.[1];
  return client === undefined
    ? undefined
    : { scheme: 'https', client: client as ClientCertificates, ...place };
}

function parseSocket(path: string, query = 'mode=0600'): ListenAddress | undefined {
  const mode = /^mode=(0600|0660|0666)$/.exec(query)?.[1];
  const fits = path.startsWith('/') && !path.includes('\0') && Buffer.byteLength(path) <= maxSocketPathBytes;
  if (mode === undefined || !fits) return undefined;
  return { scheme: 'unix', path, mode: Number.parseInt(mode, 8) as SocketMode };
}

const placeOf = (listen: ListenAddress): string =>
  listen.scheme === 'unix' ? listen.path : address.format(listen);

function formatOne(listen: ListenAddress): string {
  switch (listen.scheme) {
    case 'unix':
      return `unix:${listen.path}${listen.mode === 0o600 ? '' : `?mode=0${listen.mode.toString(8)}`}`;
    case 'http':
      return `http://${address.format(listen)}${listen.insecure ? '?insecure' : ''}`;
    case 'https':
      return `https://${address.format(listen)}${listen.client === 'none' ? '' : `?client=${listen.client}`}`;
  }
}

/** Whether nobody on another machine reaches it. A name other than `localhost` may stand for any address. */
export function isLoopback(host: string): boolean {
  return (
    host === 'localhost' || (isIP(host) !== 0 && loopback.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4'))
  );
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Addresses and networks in the form of RFC 4632, and `unix` for whoever comes over a Unix socket. */
export const trustedProxies: Kind<readonly string[]> = {
  accepts: 'addresses and networks such as 10.0.0.0/8, and unix, separated by commas; at most 64',
  parse(given) {
    if (given === '') return [];
    const list = typeof given === 'string' ? given.split(',').map((each) => each.trim()) : given;
    if (!Array.isArray(list) || list.length > 64) return undefined;
    return list.every((each) => typeof each === 'string' && (each === 'unix' || isNetwork(each)))
      ? [...new Set<string>(list)]
      : undefined;
  },
  format: (networks) => networks.join(','),
};

/** User ids of the system; `any` for all of them. */
export const userIds: Kind<'any' | readonly number[]> = {
  accepts: 'any, or user ids separated by commas, at most 64',
  parse(given) {
    if (given === 'any') return 'any';
    const list = typeof given === 'string' ? given.split(',').map((each) => each.trim()) : given;
    if (!Array.isArray(list) || list.length === 0 || list.length > 64) return undefined;
    const uids = list.map((each) => (/^\d{1,10}$/.test(String(each)) ? Number(each) : maxUserId + 1));
    return uids.every((uid) => uid <= maxUserId) ? [...new Set(uids)] : undefined;
  },
  format: (uids) => (uids === 'any' ? uids : uids.join(',')),
};

/** 2^32 - 1 is none (chown(2)). */
const maxUserId = 2 ** 32 - 2;

function isNetwork(text: string): boolean {
  const [, host = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const version = isIP(host);
  return version !== 0 && !host.includes('%') && Number(bits ?? 0) <= (version === 6 ? 128 : 32);
}

/** Origins (RFC 6454), as browsers send them, or `*`. */
export const corsOrigins: Kind<readonly string[]> = {
  accepts: 'origins such as https://app.example.com separated by commas, or *; at most 64',
  parse(given) {
    if (given === '') return [];
    const list = typeof given === 'string' ? given.split(',').map((each) => each.trim()) : given;
    if (!Array.isArray(list) || list.length > 64) return undefined;
    return list.every((each) => each === '*' || isOrigin(each)) ? [...new Set<string>(list)] : undefined;
  },
  format: (origins) => origins.join(','),
};

function isOrigin(text: unknown): boolean {
  if (typeof text !== 'string' || !/^https?:\/\//.test(text) || !URL.canParse(text)) return false;
  return new URL(text).origin === text;
}
