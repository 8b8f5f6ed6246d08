import type { JSONWebKeySet, JWK } from 'jose';
import { hasRepeatedMember } from '../../core/repeated-members.ts';

/** A file of public keys as an operator gives it, checked before anything depends on it. */
export type ReadKeySet =
  | { readonly ok: true; readonly keys: JSONWebKeySet }
  /** For the operator; no key is in it. */
  | { readonly ok: false; readonly problem: string };

/** A hundred keys of RSA-4096 have 70 KiB. */
const maxCharacters = 131_072;
const maxKeys = 100;
/** RFC 7518 section 6, RFC 8037 and RFC 9964: what belongs to a public key. `oct` is a secret. */
const publicTypes = ['EC', 'RSA', 'OKP', 'AKP'];
const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv'];

/** The public keys of a JWK Set (RFC 7517 section 5): at least one, none secret, and each to be told by its `kid`. */
export function readKeySet(text: string): ReadKeySet {
  if (text.length > maxCharacters) return problem('has more than 128 KiB');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return problem('is not JSON');
  }
  if (hasRepeatedMember(text, value)) return problem('has a member twice');
  const keys = typeof value === 'object' && value !== null ? (value as { keys?: unknown }).keys : undefined;
  if (!Array.isArray(keys) || keys.length === 0 || keys.length > maxKeys) {
    return problem(`is no JWK Set of 1 to ${maxKeys} keys`);
  }
  const wrong = keys.map(problemOf).find((each) => each !== undefined);
  if (wrong !== undefined) return problem(wrong);
  const names = (keys as JWK[]).map(({ kid }) => kid);
  if (keys.length > 1 && names.includes(undefined)) return problem('has a key without kid beside others');
  if (new Set(names).size !== names.length) return problem('has two keys with one kid');
  return { ok: true, keys: { keys: keys as JWK[] } };
}

function problem(what: string): ReadKeySet {
  return { ok: false, problem: what };
}

function problemOf(key: unknown): string | undefined {
  if (typeof key !== 'object' || key === null) return 'has an entry that is no key';
  const { kty, kid } = key as JWK;
  if (kty === undefined || !publicTypes.includes(kty)) return 'has a key that is not a public one';
  if (kid !== undefined && typeof kid !== 'string') return 'has a kid that is no text';
  return privateMembers.some((name) => name in key)
    ? 'has a private key, which belongs elsewhere'
    : undefined;
}
