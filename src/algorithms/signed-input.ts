import { hash } from 'node:crypto';
import { type Refused, refuse } from '../core/result.ts';
import type { SchemeEntry } from './descriptor.ts';
import { type Ability, digestBytes, type HashName } from './ids.ts';

/**
 * What is signed. A string is the BLAKE3-256 of a payload, 64 lowercase hexadecimal digits, whose 32 bytes are signed: the usual
 * case, for which no object is made.
 */
export type SignedInput = string | GivenInput;

export interface GivenInput {
  /** `mu`: the message representative of ML-DSA (FIPS 204, algorithm 7), which depends on the public key. */
  readonly form: 'message' | 'digest' | 'mu';
  /** The message itself, of at most 64 KiB; or the digest of one by `hash`; or its mu, 64 bytes. */
  readonly bytes: Uint8Array;
  /** Of a digest. */
  readonly hash: HashName | undefined;
  /** 0 to 255 bytes (FIPS 204, section 5.2); undefined means an empty one. None with a mu, which holds it already. */
  readonly context: Uint8Array | undefined;
  /** Where the message is the 32 bytes of a payload's digest: these in hexadecimal. */
  readonly payloadBlake3: string | undefined;
}

/** Longer ones are hashed by their caller: a worker takes 0.2 ms for as much. */
export const maxMessageBytes = 64 * 1024;
/** FIPS 204, section 5.2: the length is one byte. */
export const maxContextBytes = 255;
export const muBytes = 64;

/** The given input, or undefined in the usual case. */
export function givenOf(input: SignedInput): GivenInput | undefined {
  return typeof input === 'string' ? undefined : input;
}

/** The bytes that the engine gets. */
export function bytesOf(input: SignedInput): Uint8Array {
  return typeof input === 'string' ? Buffer.from(input, 'hex') : input.bytes;
}

/** As records name it: a payload's BLAKE3 digest, or the name of a digest (of a message: `sha256`), a colon, and the digest. */
export function inputDigestOf(input: SignedInput): string {
  if (typeof input === 'string') return input;
  const { form, bytes, payloadBlake3, hash: name } = input;
  if (payloadBlake3 !== undefined) return payloadBlake3;
  if (form === 'message') return `sha256:${hash('sha256', bytes)}`;
  return `${name ?? form}:${Buffer.from(bytes).toString('hex')}`;
}

/** For capabilities that name one payload. Under a context it is signed with another meaning, which they do not permit. */
export function payloadB3Of(input: SignedInput): string | undefined {
  return typeof input === 'string' ? input : undefined;
}

/** Refused before any key is looked up. */
export function refusalOfInput(input: SignedInput, kids: readonly string[]): Refused | undefined {
  if (typeof input === 'string') return undefined;
  const { form, bytes, hash: name, context } = input;
  if (context !== undefined && context.length > maxContextBytes) return longContext;
  switch (form) {
    case 'message':
      return bytes.length > maxMessageBytes ? longMessage : undefined;
    case 'digest':
      return name === undefined || bytes.length !== digestBytes[name] ? notADigest : undefined;
    case 'mu':
      if (bytes.length !== muBytes) return notAMu;
      if (context !== undefined) return contextBesideMu;
      return kids.every(namesVersion) ? undefined : noVersion;
  }
}

const longMessage = refuse('BadRequest', 'a message has at most 65536 bytes');
const longContext = refuse('BadRequest', 'a context has at most 255 bytes');
const notADigest = refuse('BadRequest', 'a digest is as long as those of its hash');
const notAMu = refuse('BadRequest', 'a mu has 64 bytes');
const contextBesideMu = refuse('BadRequest', 'a mu holds its context already');
const noVersion = refuse('BadRequest', 'a mu depends on the public key: name its version, kid#vN');

function namesVersion(kid: string): boolean {
  return kid.includes('#');
}

/** True if the scheme signs what is given. Which engine is there is another question: see `refusalOfEngine`. */
export function takes({ hash: own, mu, takesContext }: SchemeEntry, given: GivenInput | undefined): boolean {
  if (given === undefined) return true;
  if (given.context !== undefined && takesContext !== true) return false;
  switch (given.form) {
    case 'message':
      return true;
    case 'digest':
      return own === given.hash;
    case 'mu':
      return mu !== undefined;
  }
}

/** For a key none of whose ways take what is given. */
export function unsuitedKey(given: GivenInput, scheme: SchemeEntry): Refused {
  if (given.form === 'mu') return noMu;
  if (given.form === 'message' || scheme.hash === given.hash) return noContext;
  return scheme.mu === undefined ? noDigest : noHashMlDsa;
}

const noMu = refuse('Unsupported', 'only ML-DSA signs a mu');
const noContext = refuse('Unsupported', 'only ML-DSA and composite signatures take a context');
const noDigest = refuse('Unsupported', 'the key does not sign digests by this hash');
const noHashMlDsa = refuse('Unsupported', 'HashML-DSA is not offered: give the message, or its mu');

/** Where the engine, or the key's backend, cannot do what is asked of the scheme; `/version` lists such things of the engine. */
export function refusalOfEngine(
  lacking: ReadonlySet<Ability>,
  scheme: SchemeEntry,
  given: GivenInput | undefined,
): Refused | undefined {
  if (lacking.size === 0) return undefined;
  if (given?.context !== undefined && given.context.length > 0 && lacking.has('context'))
    return notByThisEngine;
  const form = given?.form;
  const needs = form === 'mu' ? scheme.mu?.needs : form === 'digest' ? digestNeeds(scheme) : scheme.needs;
  return needs !== undefined && lacking.has(needs) ? notByThisEngine : undefined;
}

function digestNeeds(scheme: SchemeEntry): Ability | undefined {
  return scheme.digestNeeds ?? scheme.needs;
}

const notByThisEngine = refuse('Unsupported', 'the engine or the backend of this key cannot do this');

/** The entry by which an item is priced: a mu is signed by other code. */
export function pricedAs(scheme: SchemeEntry, given: GivenInput | undefined): SchemeEntry {
  return given?.form === 'mu' ? (scheme.mu ?? scheme) : scheme;
}
