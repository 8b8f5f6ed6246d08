import { isIPv4, isIPv6 } from 'node:net';
import { AsnConvert } from '@peculiar/asn1-schema';
import type {
  AttributeTypeAndValue,
  GeneralName,
  GeneralSubtree,
  Name,
  NameConstraints,
} from '@peculiar/asn1-x509';

/** A distinguished name in the form in which two are compared (RFC 5280 section 7.1): case and runs of spaces do not count. */
export interface ComparedName {
  /** One text for the whole name; equal if and only if the names are. */
  readonly compared: string;
  /** The same, relative name by relative name: a subtree's are the first ones. */
  readonly parts: readonly string[];
  readonly commonNames: readonly string[];
  readonly mailboxes: readonly string[];
}

const commonName = '2.5.4.3';
const emailAddress = '1.2.840.113549.1.9.1';

export function comparedName(name: Name): ComparedName {
  const parts = [...name].map((relative) => [...relative].map(attributeText).sort().join('+'));
  const textsOf = (wanted: string) =>
    [...name]
      .flatMap((relative) => [...relative])
      .filter(({ type }) => type === wanted)
      .map(({ value }) => value.toString());
  const compared = JSON.stringify(parts);
  return { compared, parts, commonNames: textsOf(commonName), mailboxes: textsOf(emailAddress) };
}

function attributeText({ type, value }: AttributeTypeAndValue): string {
  // A value that is no text is compared by its bytes.
  if (value.anyValue !== undefined)
    return `${type}=#${Buffer.from(AsnConvert.serialize(value)).toString('hex')}`;
  const folded = value.toString().trim().replaceAll(/\s+/g, ' ').toLowerCase();
  return `${type}=${JSON.stringify(folded)}`;
}

/** One name of a certificate, as constraints speak of it. */
export type GivenName =
  | { readonly kind: 'dns' | 'email' | 'uri' | 'address'; readonly text: string }
  | { readonly kind: 'directory'; readonly name: ComparedName }
  | { readonly kind: 'other' };

export function namesOf(names: Iterable<GeneralName>): readonly GivenName[] {
  return [...names].map(nameOf);
}

function nameOf(name: GeneralName): GivenName {
  if (name.dNSName !== undefined) return { kind: 'dns', text: name.dNSName };
  if (name.rfc822Name !== undefined) return { kind: 'email', text: name.rfc822Name };
  if (name.uniformResourceIdentifier !== undefined)
    return { kind: 'uri', text: name.uniformResourceIdentifier };
  if (name.iPAddress !== undefined) return { kind: 'address', text: name.iPAddress };
  if (name.directoryName !== undefined) return { kind: 'directory', name: comparedName(name.directoryName) };
  return { kind: 'other' };
}

/** The name space that an authority may certify (RFC 5280 section 4.2.1.10). */
export interface Subtrees {
  readonly permitted: readonly Subtree[];
  readonly excluded: readonly Subtree[];
}

interface Subtree {
  readonly base: GivenName;
  /** False: it has a minimum or maximum, which RFC 5280 forbids. */
  readonly plain: boolean;
}

export function subtreesOf({ permittedSubtrees, excludedSubtrees }: NameConstraints): Subtrees {
  const read = (trees: Iterable<GeneralSubtree> | undefined): readonly Subtree[] =>
    [...(trees ?? [])].map(({ base, minimum, maximum }) => ({
      base: nameOf(base),
      plain: (minimum ?? 0) === 0 && maximum === undefined,
    }));
  return { permitted: read(permittedSubtrees), excluded: read(excludedSubtrees) };
}

/** True if all names of a certificate lie in the subtrees. What cannot be compared lies in none. */
export function liesWithin(
  subtrees: Subtrees,
  subject: ComparedName,
  alternatives: readonly GivenName[] = [],
  leaf = false,
): boolean {
  const names: GivenName[] = [...alternatives];
  if (subject.parts.length > 0) names.push({ kind: 'directory', name: subject });
  for (const text of subject.mailboxes) names.push({ kind: 'email', text });
  // A common name that looks like a host stood for one before there were alternative names.
  if (leaf && !alternatives.some(({ kind }) => kind === 'dns'))
    for (const text of subject.commonNames) if (looksLikeHost(text)) names.push({ kind: 'dns', text });
  return names.every((name) => isAllowed(subtrees, name));
}

function isAllowed({ permitted, excluded }: Subtrees, name: GivenName): boolean {
  const ofKind = (tree: Subtree) => tree.base.kind === name.kind;
  const mine = permitted.filter(ofKind);
  const not = excluded.filter(ofKind);
  if (mine.length + not.length === 0) return true;
  if (![...mine, ...not].every(({ plain }) => plain) || !isComparable(name)) return false;
  if (not.some(({ base }) => !isComparableBase(base) || contains(base, name))) return false;
  return mine.length === 0 || mine.some(({ base }) => contains(base, name));
}

function contains(base: GivenName, name: GivenName): boolean {
  if (base.kind === 'directory' && name.kind === 'directory')
    return base.name.parts.every((part, index) => name.name.parts[index] === part);
  if (!('text' in base) || !('text' in name) || base.kind !== name.kind) return false;
  const wanted = base.text.toLowerCase();
  switch (base.kind) {
    case 'dns':
      return isBelowHost(name.text.toLowerCase(), wanted);
    case 'email':
      return isMailWithin(name.text, base.text);
    case 'uri':
      return isHostWithin(hostOf(name.text) ?? '', wanted);
    case 'address':
      return isAddressWithin(name.text, base.text);
  }
}

/** A subtree of a host holds it and all below it; one that begins with a dot, those below it. */
function isBelowHost(host: string, base: string): boolean {
  if (base === '' || host === base) return true;
  return host.endsWith(base.startsWith('.') ? base : `.${base}`);
}

/** A host of a URI or mailbox: itself, or where the base begins with a dot, those below it. */
function isHostWithin(host: string, base: string): boolean {
  return base.startsWith('.') ? host.length > base.length && host.endsWith(base) : host === base;
}

function isMailWithin(mail: string, base: string): boolean {
  const at = mail.lastIndexOf('@');
  const baseAt = base.lastIndexOf('@');
  const host = mail.slice(at + 1).toLowerCase();
  if (baseAt < 0) return isHostWithin(host, base.toLowerCase());
  // The part before the @ counts by case.
  const sameBox = baseAt === 0 || mail.slice(0, at) === base.slice(0, baseAt);
  return sameBox && host === base.slice(baseAt + 1).toLowerCase();
}

/** The library writes a subtree as `address/mask`, both in the form of addresses. */
function isAddressWithin(address: string, base: string): boolean {
  const [network = '', mask = ''] = base.split('/');
  const [given, wanted] = [bytesOfAddress(address), bytesOfAddress(network)];
  if (given === undefined || wanted === undefined || given.length !== wanted.length) return false;
  const bits = maskOf(mask, wanted.length);
  return (
    bits !== undefined &&
    given.every((byte, index) => ((byte ^ (wanted[index] ?? 0)) & (bits[index] ?? 0)) === 0)
  );
}

function maskOf(text: string, length: number): Uint8Array | undefined {
  if (!/^\d{1,3}$/.test(text)) return bytesOfAddress(text);
  const ones = Number(text);
  if (ones > length * 8) return undefined;
  return Uint8Array.from(
    { length },
    (_, index) => (0xff00 >> Math.min(8, Math.max(0, ones - index * 8))) & 0xff,
  );
}

function bytesOfAddress(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split('.').map(Number));
  if (!isIPv6(text) || text.includes('.')) return undefined;
  const [head = '', tail] = text.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':'));
  const [before, after] = [groups(head), groups(tail ?? '')];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  const all = [...before, ...(tail === undefined ? [] : zeros), ...after];
  return Uint8Array.from(
    all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]),
  );
}

function isComparable(name: GivenName): boolean {
  if (name.kind === 'email') return name.text.includes('@');
  if (name.kind === 'uri') return hostOf(name.text) !== undefined;
  return name.kind !== 'other';
}

function isComparableBase(base: GivenName): boolean {
  return base.kind !== 'other';
}

function hostOf(uri: string): string | undefined {
  const [, host] = /^[a-z][a-z0-9+.-]*:\/\/(?:[^@/?#]*@)?([^:/?#]*)/i.exec(uri) ?? [];
  return host?.toLowerCase();
}

const looksLikeHost = (text: string): boolean =>
  /^[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)+$/i.test(text);
