import { isName } from '../../core/name.ts';
import { ownMember } from '../../core/own-member.ts';
import type { Peer } from '../../core/peer.ts';
import { type Refused, refuse } from '../../core/result.ts';
import { type CallFacts, environments, planes, type Scope, scopes } from '../../core/scope.ts';
import type { Credentials, RequestFacts } from '../auth.ts';
import { formatUtc, parseUtc } from '../utc.ts';
import { count, isWithin, list, networks, perSecond } from './values.ts';

/** One caveat's restriction, by the facts that it is judged against. */
export type Restriction =
  | {
      /** The capability itself. */
      readonly on: 'capability';
      readonly tenant?: string;
      readonly scopes?: ReadonlySet<Scope>;
      readonly notBeforeMs?: number;
      readonly expiresAtMs?: number;
    }
  /** The connection and the head of the request. */
  | { readonly on: 'request'; readonly judge: RequestCondition }
  /** The operation, its keys and its payload. */
  | { readonly on: 'call'; readonly judge: CallCondition }
  /** The part of an organization that it is for: keys of others are not for it. */
  | {
      readonly on: 'placement';
      readonly environments?: readonly string[];
      readonly planes?: readonly string[];
      readonly module?: string;
    }
  /** The calls before. */
  | { readonly on: 'limit'; readonly kind: LimitKind; readonly count: number }
  /** No fact: it names the principal who confirmed a discharge. */
  | { readonly on: 'record'; readonly approver: string };

export type LimitKind = 'rate' | 'cost_us' | 'max_uses';

/** `audience`: the name of this service, if it has one. */
export type RequestCondition = (
  facts: RequestFacts,
  audience: string | undefined,
  credentials: Credentials,
) => Refused | undefined;
export type CallCondition = (facts: CallFacts, tenant: string) => Refused | undefined;

const notHere = refuse(
  'Unauthenticated',
  'the capability does not hold here: it is bound to an address, a certificate, a user or an audience',
);
const tooLong = refuse('TooLarge', 'the capability permits only smaller bodies');
const notThis = refuse('NoCapability', 'a caveat of the capability does not permit this call');
/** The answer for keys that do not exist, and for the keys of others. */
const notYours = refuse('NotFound');

/** The closed grammar, `name = value`. One entry each; a value that is not exactly of its form gives undefined. */
const grammar: Readonly<Record<string, (value: string) => Restriction | undefined>> = {
  tenant: (value) => (isName(value) ? { on: 'capability', tenant: value } : undefined),
  scope(value) {
    const names = value.split(',');
    const known = scopes.filter((scope) => names.includes(scope));
    return known.length === names.length ? { on: 'capability', scopes: new Set(known) } : undefined;
  },
  not_before(value) {
    const notBeforeMs = parseUtc(value);
    return notBeforeMs === undefined ? undefined : { on: 'capability', notBeforeMs };
  },
  expires(value) {
    const expiresAtMs = parseUtc(value);
    return expiresAtMs === undefined ? undefined : { on: 'capability', expiresAtMs };
  },

  audience: ofRequest(text, (wanted) => (_, audience) => audience !== undefined && wanted.has(audience)),
  address: ofRequest(networks, (wanted) => ofPeer(({ address }) => isWithin(wanted, address ?? ''))),
  spiffe: ofRequest(spiffeIds, (ids) => ofPeer(({ certificate }) => ids.has(certificate?.spiffe ?? ''))),
  dns: ofRequest(dnsNames, (names) =>
    ofPeer(({ certificate }) => certificate?.dns.some((name) => names.has(name.toLowerCase())) === true),
  ),
  // Not a list: subjects have commas of their own.
  subject: ofRequest(
    (value) => value,
    (subject) => ofPeer(({ certificate }) => certificate?.subject === subject),
  ),
  cert_sha256: ofRequest(digests, (certificates) =>
    ofPeer(({ certificate }) => certificates.has(certificate?.sha256 ?? '')),
  ),
  peer_uid: ofRequest(userIds, (uids) => ofPeer(({ uid }) => uid !== undefined && uids.has(String(uid)))),
  max_body_bytes(value) {
    const most = count(value);
    const judge: RequestCondition = ({ bodyBytes = Number.POSITIVE_INFINITY }) =>
      bodyBytes <= (most ?? 0) ? undefined : tooLong;
    return most === undefined ? undefined : { on: 'request', judge };
  },

  environment(value) {
    const wanted = list(value, oneOf(environments));
    return wanted === undefined ? undefined : { on: 'placement', environments: [...wanted] };
  },
  plane(value) {
    const wanted = list(value, oneOf(planes));
    return wanted === undefined ? undefined : { on: 'placement', planes: [...wanted] };
  },
  module: (value) => (isName(value) ? { on: 'placement', module: value } : undefined),

  operation: ofCall(
    operations,
    (wanted) =>
      ({ operation }) =>
        wanted.has(operation),
  ),
  payload_b3: ofCall(
    digests,
    (wanted) =>
      ({ payloadB3 = '' }) =>
        wanted.has(payloadB3),
  ),
  op_id: ofCall(
    uuids,
    (wanted) =>
      ({ opId = '' }) =>
        wanted.has(opId.toLowerCase()),
  ),
  request_sha256: ofCall(
    digests,
    (wanted) =>
      ({ requestSha256 }) =>
        wanted.has(requestSha256?.() ?? ''),
  ),
  kid: ofKey(kids, (wanted) => ({
    named: (kid) => wanted.has(kid) || wanted.has(kid.split('#', 1)[0] as string),
    // It has no kid yet, or has many.
    made: () => false,
  })),
  kid_prefix: ofKey(kids, (wanted) => ({
    named: (kid) => [...wanted].some((prefix) => kid.startsWith(prefix)),
    made: ({ purpose, alg }, tenant) =>
      [...wanted].some((prefix) => knownStart(tenant, purpose, alg).startsWith(prefix)),
  })),
  purpose: ofKey(names, (wanted) => ({
    named: (kid) => wanted.has(kid.split('/', 2)[1] ?? ''),
    made: ({ purpose = '' }) => wanted.has(purpose),
  })),
  alg: ofKey(algorithmNames, (wanted) => ({
    named: (kid) => wanted.has(kid.split('/', 3)[2] ?? ''),
    made: ({ alg = '' }) => wanted.has(alg),
  })),

  rate: limit('rate', perSecond),
  cost_us: limit('cost_us', perSecond),
  max_uses: limit('max_uses', count),

  approver: (value) => (/^cap:[0-9a-f]{16}$/.test(value) ? { on: 'record', approver: value } : undefined),
};

/** Names of all caveats, for help and documentation. */
export const caveatNames: readonly string[] = Object.keys(grammar);

function oneOf(names: readonly string[]): (entry: string) => boolean {
  return (entry) => names.includes(entry);
}
function text(value: string) {
  return list(value, (entry) => /^[\x21-\x7e]{1,256}$/.test(entry));
}
function spiffeIds(value: string) {
  return list(value, (entry) => /^spiffe:\/\/[a-z0-9._-]{1,255}(?:\/[A-Za-z0-9._/-]*)?$/.test(entry));
}
function dnsNames(value: string) {
  return list(value, (entry) => /^[a-z0-9*](?:[a-z0-9.-]{0,252})$/.test(entry));
}
function digests(value: string) {
  return list(value, (entry) => /^[0-9a-f]{64}$/.test(entry));
}
function userIds(value: string) {
  return list(value, (entry) => /^(?:0|[1-9][0-9]{0,9})$/.test(entry));
}
function uuids(value: string) {
  return list(value, (entry) => /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(entry));
}
function operations(value: string) {
  return list(value, (entry) => /^[a-z][a-z_]{0,31}$/.test(entry));
}
/** Kids, and beginnings of kids. */
function kids(value: string) {
  return list(value, (entry) => /^[a-z0-9][a-z0-9._/+#-]{0,255}$/.test(entry));
}
function names(value: string) {
  return list(value, isName);
}
function algorithmNames(value: string) {
  return list(value, (entry) => /^[a-z0-9][a-z0-9+-]{0,62}$/.test(entry));
}

function ofRequest<Value>(
  parse: (value: string) => Value | undefined,
  holds: (
    wanted: Value,
  ) => (facts: RequestFacts, audience: string | undefined, credentials: Credentials) => boolean,
): (value: string) => Restriction | undefined {
  return (value) => {
    const wanted = parse(value);
    if (wanted === undefined) return undefined;
    const held = holds(wanted);
    return { on: 'request', judge: (...facts) => (held(...facts) ? undefined : notHere) };
  };
}

function ofPeer(
  holds: (peer: Peer) => boolean,
): (facts: RequestFacts, audience: string | undefined, credentials: Credentials) => boolean {
  return (_facts, _audience, credentials) => holds(credentials.peer());
}

function ofCall<Value>(
  parse: (value: string) => Value | undefined,
  holds: (wanted: Value) => (facts: CallFacts) => boolean,
): (value: string) => Restriction | undefined {
  return (value) => {
    const wanted = parse(value);
    if (wanted === undefined) return undefined;
    const held = holds(wanted);
    return { on: 'call', judge: (facts) => (held(facts) ? undefined : notThis) };
  };
}

/** `named`: of a key that the call names; `made`: of one that it makes, or of those that it lists. */
interface KeyCondition {
  readonly named: (kid: string) => boolean;
  readonly made: (facts: CallFacts, tenant: string) => boolean;
}

function ofKey<Value>(
  parse: (value: string) => Value | undefined,
  condition: (wanted: Value) => KeyCondition,
): (value: string) => Restriction | undefined {
  return (value) => {
    const wanted = parse(value);
    if (wanted === undefined) return undefined;
    const { named, made } = condition(wanted);
    const judge: CallCondition = (facts, tenant) => {
      if (facts.kids.length > 0) return facts.kids.every(named) ? undefined : notYours;
      return made(facts, tenant) ? undefined : notThis;
    };
    return { on: 'call', judge };
  };
}

/** The known beginning of the kids that a call makes, or lists. */
function knownStart(tenant: string, purpose: string | undefined, alg: string | undefined): string {
  if (purpose === undefined) return `${tenant}/`;
  return alg === undefined ? `${tenant}/${purpose}/` : `${tenant}/${purpose}/${alg}/`;
}

function limit(
  kind: LimitKind,
  parse: (value: string) => number | undefined,
): (value: string) => Restriction | undefined {
  return (value) => {
    const most = parse(value);
    return most === undefined ? undefined : { on: 'limit', kind, count: most };
  };
}

/** Undefined: an unknown caveat, one whose value has not its form, or not of printable ASCII, which alone tokens carry unchanged. */
export function parseCaveat(caveat: string): Restriction | undefined {
  const [, name = '', value = ''] = /^([a-z_0-9]{1,32}) = ([\x20-\x7e]+)$/.exec(caveat) ?? [];
  return ownMember(grammar, name)?.(value);
}

/** The caveats that a capability is to have. Absent members add none. */
export interface WantedCaveats {
  readonly tenant?: string;
  readonly scopes?: readonly string[];
  readonly notBeforeMs?: number;
  readonly expiresAtMs?: number;
  /** Further ones as they are written. */
  readonly caveats?: readonly string[];
}

/** The caveats that say this, in a fixed order. Undefined where a value has no such form. */
export function caveatsOf(wanted: WantedCaveats): readonly string[] | undefined {
  const caveats: string[] = [];
  if (wanted.tenant !== undefined) caveats.push(`tenant = ${wanted.tenant}`);
  if (wanted.scopes !== undefined) caveats.push(`scope = ${[...new Set(wanted.scopes)].join(',')}`);
  if (wanted.notBeforeMs !== undefined) caveats.push(`not_before = ${formatUtc(wanted.notBeforeMs)}`);
  if (wanted.expiresAtMs !== undefined) caveats.push(`expires = ${formatUtc(wanted.expiresAtMs)}`);
  caveats.push(...(wanted.caveats ?? []));
  return caveats.every((caveat) => parseCaveat(caveat) !== undefined) ? caveats : undefined;
}
