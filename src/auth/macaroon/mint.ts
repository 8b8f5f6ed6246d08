import library from 'macaroon';
import { type Clock, systemClock } from '../../core/clock.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import { caveatsOf, type WantedCaveats } from './caveats.ts';
import { dischargeKey, dualControlId, dualControlLocation } from './dual-control.ts';
import {
  type Caveat,
  decodeDischarge,
  decodeToken,
  encodeBinary,
  encodeToken,
  maxCaveats,
  maxTokenCharacters,
} from './encoding.ts';
import { actorOf, makeIdentifier, readIdentifier } from './identifier.ts';
import { type MacaroonRootKey, macaroonKeyOf, signatureOf } from './key.ts';
import { bindDischarge } from './third-party.ts';

export interface MintRequest extends WantedCaveats {
  readonly rootKey: MacaroonRootKey;
  /** 0 where this is absent. */
  readonly rootKeyId?: number;
  readonly tenant: string;
  /** At least one. */
  readonly scopes: readonly string[];
  /** UTC, milliseconds since 1970; without it the capability does not expire. */
  readonly expiresAtMs?: number;
  /** True: each call needs the discharge of a second principal. */
  readonly dualControl?: boolean;
  readonly clock?: Pick<Clock, 'utcMs'>;
}

/** The permissions to take away from a capability. Absent members take nothing away. */
export type Attenuation = WantedCaveats;

/** A capability's own claims; nobody has verified it. */
export interface Inspection {
  readonly actor: string;
  readonly root_key: number;
  /** Absent in capabilities of earlier versions. */
  readonly issued_at?: string;
  /** First-party ones, in their order. */
  readonly caveats: readonly string[];
  /** Those that somebody else has to confirm; `id` in base64url. */
  readonly third_party?: readonly { readonly location: string; readonly id: string }[];
}

const badCaveat = refuse(
  'BadRequest',
  'a tenant, scope, time or caveat has not the form that capabilities take',
);
const notOurs = refuse('BadRequest', 'this is not a capability of this service');
const tooLarge = refuse(
  'TooLarge',
  `a capability has at most ${maxCaveats} caveats and ${maxTokenCharacters} characters`,
);

/** A new capability. BadRequest where a tenant, scope, time or caveat is malformed. */
export function mintToken(request: MintRequest): Result<string> {
  const { rootKey, rootKeyId = 0, dualControl = false, clock = systemClock, ...wanted } = request;
  const caveats = caveatsOf(wanted);
  if (caveats === undefined) return badCaveat;
  const identifier = makeIdentifier({
    rootKeyId,
    issuedAtMs: clock.utcMs(),
    expiresAtMs: wanted.expiresAtMs ?? Number.POSITIVE_INFINITY,
  });
  const key = macaroonKeyOf(rootKey);
  const signature = signatureOf(key, identifier, caveats);
  if (!dualControl) return bounded(caveats, encodeToken({ identifier, signature }, caveats));
  const macaroon = library.importMacaroon(encodeBinary(identifier, caveats, signature));
  const id = dualControlId({ rootKeyId, actor: actorOf(identifier) });
  const secret = dischargeKey(key, id);
  macaroon.addThirdPartyCaveat(secret, id, dualControlLocation);
  secret.fill(0);
  const vid = macaroon.caveats.at(-1)?.vid as Uint8Array;
  const all = [...caveats, { id, vid, location: dualControlLocation }];
  return bounded(all, encodeToken(macaroon, all));
}

/** The same capability with less. Needs no key, and nobody can take the new caveats off again. */
export function attenuateToken(token: string, attenuation: Attenuation): Result<string> {
  const presented = decodeToken(token);
  if (presented === undefined) return notOurs;
  const added = caveatsOf(attenuation);
  if (added === undefined) return badCaveat;
  const caveats = [...presented.caveats, ...added];
  for (const caveat of added) presented.macaroon.addFirstPartyCaveat(caveat);
  return bounded(caveats, encodeToken(presented.macaroon, caveats));
}

function bounded(caveats: readonly Caveat[], token: string): Result<string> {
  return caveats.length > maxCaveats || token.length > maxTokenCharacters ? tooLarge : ok(token);
}

/** The discharge as it goes with this capability in X-KMS-Discharge. */
export function bindToken(token: string, discharge: string): Result<string> {
  const presented = decodeToken(token);
  if (presented === undefined) return notOurs;
  const unbound = decodeDischarge(discharge);
  return unbound === undefined
    ? refuse('BadRequest', 'this is not a discharge')
    : ok(bindDischarge(presented, unbound));
}

export function inspectToken(token: string): Result<Inspection> {
  const presented = decodeToken(token);
  const read = presented === undefined ? undefined : readIdentifier(presented.identifier);
  if (presented === undefined || read === undefined) return notOurs;
  const thirdParty = presented.caveats.flatMap((caveat) =>
    typeof caveat === 'string'
      ? []
      : [{ location: caveat.location, id: Buffer.from(caveat.id).toString('base64url') }],
  );
  return ok({
    actor: actorOf(presented.identifier),
    root_key: read.rootKeyId,
    ...(read.issuedAtMs === 0 ? undefined : { issued_at: new Date(read.issuedAtMs).toISOString() }),
    caveats: presented.caveats.filter((caveat) => typeof caveat === 'string'),
    ...(thirdParty.length === 0 ? undefined : { third_party: thirdParty }),
  });
}
