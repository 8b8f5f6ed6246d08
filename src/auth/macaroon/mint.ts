import { randomBytes } from 'node:crypto';
import { ok, type Result, refuse } from '../../core/result.ts';
import { actorOf } from './authenticator.ts';
import { caveatsOf } from './caveats.ts';
import { decodeToken, encodeToken, maxCaveats, maxTokenCharacters } from './encoding.ts';
import { type MacaroonRootKey, macaroonKeyOf, signatureOf } from './key.ts';

export interface MintRequest {
  readonly rootKey: MacaroonRootKey;
  readonly tenant: string;
  /** At least one. */
  readonly scopes: readonly string[];
  /** UTC, milliseconds since 1970; without it the capability does not expire. */
  readonly expiresAtMs?: number;
  readonly notBeforeMs?: number;
}

/** The permissions to take away from a capability. Absent members take nothing away. */
export interface Attenuation {
  readonly tenant?: string;
  readonly scopes?: readonly string[];
  readonly expiresAtMs?: number;
  readonly notBeforeMs?: number;
}

/** A capability's own claims; nobody has verified it. */
export interface Inspection {
  readonly actor: string;
  readonly caveats: readonly string[];
}

const badCaveat = 'a tenant, a scope or a time has not the form that capabilities take';

/** A new capability. BadRequest where a tenant, scope or time is malformed. */
export function mintToken({ rootKey, ...wanted }: MintRequest): Result<string> {
  const caveats = caveatsOf(wanted);
  if (caveats === undefined) return refuse('BadRequest', badCaveat);
  // 16 random bytes: identifiers do not repeat, so neither do actors.
  const identifier = randomBytes(16);
  return ok(
    encodeToken({ identifier, signature: signatureOf(macaroonKeyOf(rootKey), identifier, caveats) }, caveats),
  );
}

/** The same capability with less. Needs no key, and nobody can take the new caveats off again. */
export function attenuateToken(token: string, attenuation: Attenuation): Result<string> {
  const presented = decodeToken(token);
  if (presented === undefined) return refuse('BadRequest', 'this is not a capability of this service');
  const added = caveatsOf(attenuation);
  if (added === undefined) return refuse('BadRequest', badCaveat);
  const caveats = [...presented.caveats, ...added];
  for (const caveat of added) presented.macaroon.addFirstPartyCaveat(caveat);
  const attenuated = encodeToken(presented.macaroon, caveats);
  return caveats.length > maxCaveats || attenuated.length > maxTokenCharacters
    ? refuse('TooLarge', 'a capability has at most 32 caveats and 4096 characters')
    : ok(attenuated);
}

export function inspectToken(token: string): Result<Inspection> {
  const presented = decodeToken(token);
  if (presented === undefined) return refuse('BadRequest', 'this is not a capability of this service');
  return ok({ actor: actorOf(presented.identifier), caveats: presented.caveats });
}
