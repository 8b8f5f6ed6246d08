import type { DischargeWish, MintedToken, Revocation, RootKeyState, TokenAuthority } from '../auth/tokens.ts';
import type { Clock } from '../core/clock.ts';
import { isName } from '../core/name.ts';
import type { PeerCertificate } from '../core/peer.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import { type Caller, type CallFacts, permits, type Scope } from '../core/scope.ts';
import { parseKid } from '../keys/kid.ts';
import { operatorTenant } from './admin.ts';
import { changeFacts } from './idempotency.ts';
import type { KeyOperation } from './operation.ts';
import type { TokenJournal } from './recording/journals.ts';

export interface TokenParts {
  readonly authority: TokenAuthority;
  readonly journal: TokenJournal;
  readonly clock: Clock;
  readonly identities: IdentitySource;
}

/** The identity component, as far as it is needed here. */
export interface IdentitySource {
  identify(evidence: WorkloadEvidence): Promise<Result<FoundIdentity>>;
}

/** The evidence that a workload shows in place of a capability. */
interface WorkloadEvidence {
  readonly certificate: PeerCertificate | undefined;
  readonly jwt: string | undefined;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

export interface FoundIdentity {
  readonly name: string;
  readonly grant: {
    readonly tenant: string;
    readonly scopes: readonly Scope[];
    readonly ttlMs: number;
    readonly caveats: readonly string[];
  };
}

/** A lost capability is of use for so long, unless somebody revokes it. */
export const longestTokenMs = 366 * 86_400_000;
/** An agreement is for a call that is made soon. */
export const longestDischargeMs = 3_600_000;

export interface MintTokenRequest {
  /** The caller's own where it is undefined; another one only for the operator. */
  readonly tenant: string | undefined;
  readonly scopes: readonly Scope[];
  readonly expires: { readonly atMs: number } | { readonly inMs: number };
  readonly notBeforeMs: number | undefined;
  readonly caveats: readonly string[];
  readonly dualControl: boolean;
  /** The client's own name for the call; a repeated one mints again. */
  readonly opId: string | undefined;
}

const otherTenant = refuse('NoCapability', 'the capability is for another tenant');
const moreThanOwn = refuse('NoCapability', 'a capability makes none that has a scope more, or lasts longer');

/** A new capability with at most the caller's scopes and lifetime. For another tenant only by the operator. */
export function mintTokenOperation({
  authority,
  journal,
  clock,
}: TokenParts): KeyOperation<MintTokenRequest, MintedToken> {
  return {
    kind: 'keys',
    name: 'token_mint',
    scope: 'kms:admin',
    facts: ({ opId, ...meaning }) => changeFacts(opId === undefined ? undefined : { id: opId }, meaning),
    async run(request, caller) {
      const { tenant = caller.tenant, scopes, expires, notBeforeMs, caveats, dualControl } = request;
      if (!rules(caller, tenant)) return otherTenant;
      const nowMs = clock.utcMs();
      const expiresAtMs = 'atMs' in expires ? expires.atMs : nowMs + expires.inMs;
      if (expiresAtMs <= nowMs || expiresAtMs > nowMs + longestTokenMs) {
        return refuse('BadRequest', 'a capability expires in the future, and within 366 days');
      }
      const outlives = expiresAtMs > (caller.expiresAtMs ?? Number.POSITIVE_INFINITY);
      if (outlives || !scopes.every((scope) => permits(caller, scope))) return moreThanOwn;
      const minted = authority.mint({ tenant, scopes, expiresAtMs, notBeforeMs, caveats, dualControl });
      if (!minted.ok) return minted;
      const { actor } = minted.value;
      const facts = {
        capability: actor,
        capability_tenant: tenant,
        expires_at: new Date(expiresAtMs).toISOString(),
      };
      const refused = await journal.record({ kind: 'mint', caller, opId: request.opId, facts });
      return refused ?? minted;
    },
  };
}

export interface DischargeTokenRequest extends Pick<DischargeWish, 'call' | 'caveatId'> {
  /** The scope of the call that is agreed to: who agrees needs it too. */
  readonly scope: Scope;
  readonly lifetimeMs: number;
}

export interface Discharge {
  /** Not bound yet to the capability that asks for it. */
  readonly discharge: string;
  readonly expiresAtMs: number;
}

/** The agreement of a second principal to one call of somebody else, which is done once; or to a change that asks for an approval. */
export function dischargeTokenOperation(parts: TokenParts): KeyOperation<DischargeTokenRequest, Discharge> {
  return {
    kind: 'keys',
    name: 'token_discharge',
    scope: 'kms:read',
    subjects: ({ call, caveatId }) =>
      caveatId !== undefined && call.kids.length > 0 ? call.kids : { alg: call.alg ?? 'none' },
    facts: ({ call: { operation: _, ...call } }) => ({ ...call, changes: true }),
    async run({ call, caveatId, scope, lifetimeMs }, caller) {
      const { tenant, actor: approver, expiresAtMs: ownEndMs = Number.POSITIVE_INFINITY } = caller;
      if (!permits(caller, scope)) return refuse('NoCapability', `the capability lacks the scope ${scope}`);
      // An approval names a key_id, of which only the change itself knows whose it is.
      const strange = caveatId === undefined ? undefined : strangeCall(tenant, call);
      if (strange !== undefined) return strange;
      const expiresAtMs = Math.min(parts.clock.utcMs() + lifetimeMs, ownEndMs);
      const made = parts.authority.discharge({ tenant, approver, caveatId, call, expiresAtMs });
      if (!made.ok) return made;
      const facts = {
        operation: call.operation,
        kid: call.kids.join(','),
        request_sha256: call.requestSha256?.() ?? '',
      };
      const refused = await parts.journal.record({ kind: 'discharge', caller, opId: call.opId, facts });
      return refused ?? ok({ discharge: made.value, expiresAtMs });
    },
  };
}

function strangeCall(tenant: string, { kids, opId }: CallFacts): Refused | undefined {
  if (opId === undefined) return refuse('BadRequest', 'the call that is agreed to needs an op_id');
  for (const text of kids) {
    const kid = parseKid(text);
    if (kid === undefined)
      return refuse('BadRequest', 'a kid is <tenant>/<purpose>/<alg>/<uuid>, optionally with #v<N>');
    if (kid.tenant !== tenant) return refuse('NotFound');
  }
  return undefined;
}

export type RevokeTokenRequest = (
  | { readonly token: string }
  | { readonly actor: string; readonly tenant: string | undefined }
  | { readonly rootKeyId: number }
  /** `beforeMs` undefined: until now. `tenant` undefined: the caller's own; `*`: all. */
  | { readonly tenant: string | undefined; readonly beforeMs: number | undefined }
) & { readonly opId: string | undefined };

/** Capabilities that hold no longer. The operator revokes those of all tenants, others their own. */
export function revokeTokenOperation(parts: TokenParts): KeyOperation<RevokeTokenRequest, void> {
  return {
    kind: 'keys',
    name: 'token_revoke',
    scope: 'kms:admin',
    facts: ({ opId, ...meaning }) => changeFacts(opId === undefined ? undefined : { id: opId }, meaning),
    async run(request, caller) {
      const revocation = revocationOf(parts, request, caller);
      if (!revocation.ok) return revocation;
      const revoked = await parts.authority.revoke(revocation.value);
      if (!revoked.ok) return revoked;
      // It holds whether or not there is room for its record.
      await parts.journal.note({
        kind: 'revoke',
        caller,
        opId: request.opId,
        facts: textsOf(revocation.value),
      });
      return revoked;
    },
  };
}

function revocationOf(
  { authority, clock }: TokenParts,
  request: RevokeTokenRequest,
  caller: Caller,
): Result<Revocation> {
  if ('rootKeyId' in request) {
    const { rootKeyId } = request;
    if (caller.tenant !== operatorTenant) return otherTenant;
    return authority.rootKeys().some(({ id }) => id === rootKeyId)
      ? ok({ by: 'root_key', rootKeyId })
      : refuse('NotFound');
  }
  if ('token' in request) {
    const described = authority.describe(request.token);
    if (!described.ok) return described;
    const { tenant, actor, expiresAtMs } = described.value;
    // As if it were not authentic.
    return rules(caller, tenant)
      ? ok({ by: 'actor', tenant, actor, expiresAtMs })
      : refuse('NotFound', unknownToken);
  }
  const tenant = request.tenant ?? caller.tenant;
  if (tenant !== '*' && !isName(tenant)) return refuse('BadRequest', 'tenant is no tenant');
  if (!rules(caller, tenant)) return otherTenant;
  const of = tenant === '*' ? undefined : tenant;
  if ('actor' in request) return ok({ by: 'actor', tenant: of, actor: request.actor });
  const nowMs = clock.utcMs();
  const { beforeMs = nowMs } = request;
  if (beforeMs > nowMs) return refuse('BadRequest', 'issued_before is in the future');
  return ok({ by: 'issued_before', tenant: of, beforeMs });
}

const unknownToken = 'this is not a capability of this service';

function rules(caller: Caller, tenant: string): boolean {
  return caller.tenant === tenant || caller.tenant === operatorTenant;
}

function textsOf(revocation: Revocation): Readonly<Record<string, string | number>> {
  switch (revocation.by) {
    case 'actor':
      return { capability: revocation.actor, capability_tenant: revocation.tenant ?? '*' };
    case 'root_key':
      return { root_key: revocation.rootKeyId };
    case 'issued_before': {
      const issuedBefore = new Date(revocation.beforeMs).toISOString();
      return { capability_tenant: revocation.tenant ?? '*', issued_before: issuedBefore };
    }
  }
}

const operatorOnly = refuse('NoCapability', "root keys are the operator's");

/** The root keys of capabilities, by id. */
export function tokenKeysOperation({ authority }: TokenParts): KeyOperation<void, readonly RootKeyState[]> {
  return {
    kind: 'keys',
    name: 'token_keys',
    scope: 'kms:admin',
    run: (_, { tenant }) => (tenant === operatorTenant ? ok(authority.rootKeys()) : operatorOnly),
  };
}

/** A new root key; those of before go on. */
export function rotateTokenKeyOperation(
  parts: TokenParts,
): KeyOperation<{ readonly opId: string | undefined }, number> {
  return {
    kind: 'keys',
    name: 'token_rotate_key',
    scope: 'kms:admin',
    facts: ({ opId }) => changeFacts(opId === undefined ? undefined : { id: opId }, {}),
    async run({ opId }, caller) {
      if (caller.tenant !== operatorTenant) return operatorOnly;
      const rotated = parts.authority.rotateRootKey();
      if (rotated.ok)
        await parts.journal.note({ kind: 'rotate_key', caller, opId, facts: { root_key: rotated.value } });
      return rotated;
    },
  };
}
