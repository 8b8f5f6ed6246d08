import type { Algorithm } from '../algorithms/descriptor.ts';
import { findAlgorithm } from '../algorithms/registry.ts';
import { isName } from '../core/name.ts';

/** A key identifier taken apart: `<tenant>/<purpose>/<alg>/<uuid>`, with `#v<N>` where it names a version. */
export interface Kid {
  /** Without the version. */
  readonly id: string;
  readonly tenant: string;
  readonly purpose: string;
  readonly algorithm: Algorithm;
  readonly uuid: string;
  /** 1 to 2^31 - 1. */
  readonly version?: number;
}

/** Tenants and purposes of 63, an algorithm of 17, a UUID of 36, a version of 10 and what stands between make 194. */
const maxKidLength = 256;
export const maxVersion = 2 ** 31 - 1;

// All anchored, without alternatives or nested repetition: linear in a text that is bounded before.
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const versionNumber = /^[1-9][0-9]{0,9}$/;

export function isTenant(text: string): boolean {
  return isName(text);
}

export function isPurpose(text: string): boolean {
  return isName(text);
}

/** RFC 9562 section 4: the hexadecimal text form, lower case, of any version and variant. */
export function isUuid(text: string): boolean {
  return uuid.test(text);
}

/** The kid in this text, or undefined when it is not exactly one. Percent-encoding is the listener's to remove. */
export function parseKid(text: string): Kid | undefined {
  if (text.length > maxKidLength) return undefined;
  const hash = text.indexOf('#');
  const id = hash < 0 ? text : text.slice(0, hash);
  // One more piece than a kid has is enough to see that there are too many.
  const [tenant = '', purpose = '', alg = '', unique = '', surplus] = id.split('/', 5);
  if (surplus !== undefined || !isTenant(tenant) || !isPurpose(purpose) || !isUuid(unique)) return undefined;
  const algorithm = findAlgorithm(alg);
  if (algorithm === undefined || algorithm.name !== alg) return undefined;
  const kid = { id, tenant, purpose, algorithm, uuid: unique };
  if (hash < 0) return kid;
  const version = parseVersion(text.slice(hash + 1));
  return version === undefined ? undefined : { ...kid, version };
}

function parseVersion(text: string): number | undefined {
  if (!text.startsWith('v') || !versionNumber.test(text.slice(1))) return undefined;
  const version = Number(text.slice(1));
  return version <= maxVersion ? version : undefined;
}

export function formatId(tenant: string, purpose: string, algorithm: Algorithm, unique: string): string {
  return `${tenant}/${purpose}/${algorithm.name}/${unique}`;
}

/** The kid of one version of the key with this id. */
export function formatKid(id: string, version: number): string {
  return `${id}#v${version}`;
}
