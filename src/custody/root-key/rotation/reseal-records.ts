import type { Engine, RootRef } from '../../../engine/engine.ts';
import {
  buildKeyReference,
  parseKeyReference,
  partName,
  pooledPartName,
  poolTenant,
  serviceKeyPartName,
  serviceTenant,
} from '../../../engine/key-reference.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../../../keys/authenticity.ts';
import { idInVersionKey, poolPrefix, serviceKeyPrefix, versionsPrefix } from '../../../keys/codec.ts';
import { formatKid, parseKid } from '../../../keys/kid.ts';
import { attestationKeysEntry, resealAttestationKeys } from '../../attestation-keys.ts';

/** The value under the new root key. Undefined: nothing is to change. Throws where the engine cannot. */
export type Reseal = (storeKey: string, value: Uint8Array) => Uint8Array | undefined;

export interface ResealParts {
  readonly engine: Engine;
  readonly from: RootRef;
  readonly to: RootRef;
  /** The MAC of the new root key, with `before`. */
  readonly mac: RecordMac;
}

/**
 * Reseals a record: its MAC, and the sealed parts of versions and attestation keys. A part that neither root key opens stays: it
 * is another backend's reference, or damaged, and its public key stays in use. Idempotent.
 */
export function createReseal({ engine, from, to, mac }: ResealParts): Reseal {
  const sealedAnew = (tenant: string, aad: string, sealed: Uint8Array) =>
    engine.reseal(from, to, tenant, aad, sealed);

  return (storeKey, value) => {
    if (storeKey === attestationKeysEntry) return resealAttestationKeys(value, sealedAnew);
    const opened = openAuthenticated(storeKey, value, mac);
    if (opened === undefined) return undefined;
    const rest = Buffer.from(opened.rest).toString();
    const text = Buffer.from(opened.text).toString();
    const restAnew = rest === '' ? undefined : partsAnew(storeKey, text, rest);
    const made = authenticated(storeKey, text, mac, restAnew ?? rest);
    return made.length === value.length && Buffer.compare(made, value) === 0 ? undefined : made;
  };

  /** Undefined: none was sealed under the old root key. */
  function partsAnew(storeKey: string, text: string, rest: string): string | undefined {
    const name = namerOf(storeKey, text);
    const sealed = name === undefined ? undefined : partsIn(rest);
    if (name === undefined || sealed === undefined) return undefined;
    let changed = false;
    const parts = sealed.map((part, index) => {
      const { tenant, aad } = name(index);
      const anew = sealedAnew(tenant, aad, Buffer.from(part, 'base64'));
      if (anew === undefined) return part;
      changed = true;
      return Buffer.from(anew).toString('base64');
    });
    return changed ? JSON.stringify(parts) : undefined;
  }
}

/** The tenant and AAD of a record's sealed parts. Undefined: it has none. */
function namerOf(
  storeKey: string,
  text: string,
): ((index: number) => { readonly tenant: string; readonly aad: string }) | undefined {
  const ofPool = (uuid: string) => () => ({ tenant: poolTenant, aad: pooledPartName(uuid) });
  if (storeKey.startsWith(poolPrefix)) return ofPool(storeKey.slice(poolPrefix.length));
  if (storeKey.startsWith(serviceKeyPrefix)) {
    const aad = serviceKeyPartName(storeKey.slice(serviceKeyPrefix.length));
    return () => ({ tenant: serviceTenant, aad });
  }
  if (!storeKey.startsWith(versionsPrefix)) return undefined;
  const { pooled } = JSON.parse(text) as { readonly pooled?: string };
  if (pooled !== undefined) return ofPool(pooled);
  const kid = parseKid(idInVersionKey(storeKey));
  const version = Number(storeKey.slice(storeKey.lastIndexOf('#') + 1));
  return kid && ((index) => ({ tenant: kid.tenant, aad: partName(formatKid(kid.id, version), index) }));
}

/** A key reference under the new root key. One of another home stays as it is. */
export function resealReference(
  { engine, from, to }: Pick<ResealParts, 'engine' | 'from' | 'to'>,
  reference: Uint8Array,
): Uint8Array {
  const parsed = parseKeyReference(reference);
  if (parsed === undefined) return reference;
  const [tenant, aad] = [parsed.tenant, parsed.aad].map((bytes) => Buffer.from(bytes).toString()) as [
    string,
    string,
  ];
  const anew = engine.reseal(from, to, tenant, aad, parsed.sealed);
  return anew === undefined ? reference : buildKeyReference(tenant, aad, anew);
}

/** Nothing vouches for these bytes. */
function partsIn(rest: string): readonly string[] | undefined {
  try {
    const parts: unknown = JSON.parse(rest);
    return Array.isArray(parts) && parts.every((part) => typeof part === 'string') ? parts : undefined;
  } catch {
    return undefined;
  }
}
