import type { Clock } from '../../core/clock.ts';
import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import type {
  DischargeWish,
  MintedToken,
  Revocation,
  RootKeyState,
  TokenAuthority,
  TokenWish,
} from '../tokens.ts';
import { approvalId, approvalKey } from './approval.ts';
import { verifySignature } from './authenticator.ts';
import { caveatsOf } from './caveats.ts';
import { dischargeKey, readDualControlId } from './dual-control.ts';
import { grantOf } from './grant.ts';
import { actorOf } from './identifier.ts';
import { inspectToken, mintToken } from './mint.ts';
import type { StoreRevocations } from './revocations.ts';
import { maxRootKeys, type ServiceRootKeys } from './root-keys.ts';
import { makeDischarge } from './third-party.ts';

export interface AuthorityParts {
  readonly rootKeys: ServiceRootKeys;
  readonly revocations: StoreRevocations;
  readonly clock: Clock;
  /** For the operator's log. */
  readonly onProblem: (problem: string) => void;
}

const noKey = refuse('Conflict', 'every root key is revoked: make a new one');
const notOurs = refuse('BadRequest', 'caveat_id is not of a caveat that this service made');
const sameActor = refuse('NoCapability', 'a second principal has to agree, with a capability of its own');

export function createTokenAuthority(parts: AuthorityParts): TokenAuthority {
  const { rootKeys, revocations, clock } = parts;
  const newest = () => rootKeys.ids.findLast((id) => !revocations.revokesRootKey(id));
  const approval = (wish: DischargeWish): Result<string> => {
    const rootKeyId = newest();
    const rootKey = rootKeyId === undefined ? undefined : rootKeys.get(rootKeyId);
    if (rootKeyId === undefined || rootKey === undefined) return noKey;
    const id = approvalId(rootKeyId);
    return dischargeWith(approvalKey(rootKey, id), id, wish);
  };
  return {
    mint(wish: TokenWish): Result<MintedToken> {
      const id = newest();
      const rootKey = id === undefined ? undefined : rootKeys.get(id);
      if (id === undefined || rootKey === undefined) return noKey;
      const { notBeforeMs, ...wanted } = wish;
      const minted = mintToken({
        ...wanted,
        ...(notBeforeMs === undefined ? undefined : { notBeforeMs }),
        ...{ rootKey, rootKeyId: id, clock },
      });
      if (!minted.ok) return minted;
      const inspected = inspectToken(minted.value);
      if (!inspected.ok) return inspected;
      return ok({ token: minted.value, actor: inspected.value.actor, expiresAtMs: wish.expiresAtMs });
    },

    discharge(wish) {
      const { caveatId } = wish;
      if (caveatId === undefined) return approval(wish);
      const asked = readDualControlId(caveatId);
      const rootKey = asked === undefined ? undefined : rootKeys.get(asked.rootKeyId);
      if (asked === undefined || rootKey === undefined) return notOurs;
      if (revocations.revokesRootKey(asked.rootKeyId)) return notOurs;
      if (asked.actor === wish.approver) return sameActor;
      return dischargeWith(dischargeKey(rootKey, caveatId), caveatId, wish);
    },

    describe(token) {
      const signed = verifySignature(rootKeys, token);
      const grant = signed === undefined ? undefined : grantOf([signed.presented]);
      if (signed === undefined || grant === undefined) return unknown;
      const { presented, read } = signed;
      return ok({
        tenant: grant.tenant,
        actor: actorOf(presented.identifier),
        expiresAtMs: read.expiresAtMs,
      });
    },

    revoke: (revocation: Revocation) => revocations.revoke(revocation),

    rootKeys(): readonly RootKeyState[] {
      const current = newest();
      return rootKeys.ids.map((id) => ({
        id,
        newest: id === current,
        revoked: revocations.revokesRootKey(id),
      }));
    },

    rotateRootKey() {
      if (rootKeys.ids.length >= maxRootKeys) return tooMany;
      const rotated = rootKeys.rotate();
      if (rotated.ok) return ok(rotated.id);
      parts.onProblem(rotated.problem);
      return notMade;
    },
  };
}

const unknown: Refused = refuse('NotFound', 'this is not a capability of this service');
const tooMany = refuse(
  'Conflict',
  `there are ${maxRootKeys} root keys already: the operator removes the files of old ones`,
);
const notMade = refuse('StoreUnavailable', 'the macaroon key could not be made; the log says why');

/** Wipes the key. */
function dischargeWith(key: Uint8Array, id: Uint8Array, wish: DischargeWish): Result<string> {
  const caveats = caveatsOf({ caveats: agreement(wish), expiresAtMs: wish.expiresAtMs });
  const discharge = caveats === undefined ? undefined : makeDischarge(key, id, caveats);
  key.fill(0);
  return discharge === undefined ? refuse('BadRequest', 'the call cannot be said in caveats') : ok(discharge);
}

/** The caveats of a discharge: they bind it to the one call. */
function agreement({ tenant, approver, call }: DischargeWish): readonly string[] {
  const { kids, payloadB3, requestSha256, opId } = call;
  return [
    `tenant = ${tenant}`,
    `operation = ${call.operation}`,
    ...(kids.length === 0 ? [] : [`kid = ${[...new Set(kids)].join(',')}`]),
    ...(payloadB3 === undefined ? [] : [`payload_b3 = ${payloadB3}`]),
    ...(requestSha256 === undefined ? [] : [`request_sha256 = ${requestSha256()}`]),
    ...(opId === undefined ? [] : [`op_id = ${opId.toLowerCase()}`]),
    `approver = ${approver}`,
  ];
}
