import { RateLimits } from '../admission/rate-limits.ts';
import type { MintedToken } from '../auth/tokens.ts';
import { refuse } from '../core/result.ts';
import type { EntryOperation } from './operation.ts';
import type { TokenParts } from './tokens.ts';

export interface ExchangeRequest {
  /** A JSON Web Token; the bearer token where it is undefined. */
  readonly jwt: string | undefined;
}

/** A proxy's own certificate or user would make whoever comes through it that identity. */
const unknownPeer = { certificate: undefined, uid: undefined, gid: undefined };

/**
 * First capabilities for one identity; no rate of a tenant holds them back, and each is a record of the audit log. A thousand
 * workloads that start at once have theirs in ten seconds.
 */
const exchanges = { count: 100, windowMs: 1_000 };
/** As many as a policy file may have. */
const maxIdentities = 1_000;

/** A short-lived capability for a client certificate, a JSON Web Token or a peer's user id, by the rules of the policy file. */
export function exchangeTokenOperation({
  authority,
  clock,
  identities,
  journal,
}: TokenParts): EntryOperation<ExchangeRequest, MintedToken> {
  const limits = new RateLimits([exchanges], maxIdentities);
  return {
    kind: 'entry',
    name: 'token_exchange',
    async run({ jwt }, credentials) {
      const { certificate, uid, gid } = credentials.forwarded ? unknownPeer : credentials.peer();
      const found = await identities.identify({ certificate, uid, gid, jwt: jwt ?? credentials.token });
      if (!found.ok) return found;
      const { name, grant } = found.value;
      const waitMs = limits.take(name, clock.monotonicMs());
      if (waitMs > 0) return refuse('RateLimited', 'many ask as this identity', waitMs);
      const { tenant, scopes, ttlMs, caveats } = grant;
      const expiresAtMs = clock.utcMs() + ttlMs;
      const minted = authority.mint({
        tenant,
        scopes,
        caveats,
        expiresAtMs,
        notBeforeMs: undefined,
        dualControl: false,
      });
      if (!minted.ok) return minted;
      const facts = {
        ...{ identity: name, capability: minted.value.actor, capability_tenant: tenant },
        expires_at: new Date(expiresAtMs).toISOString(),
      };
      const caller = { tenant, actor: `identity:${name}` };
      const refused = await journal.record({ kind: 'exchange', caller, opId: undefined, facts });
      return refused ?? minted;
    },
  };
}
