import type { MintedToken } from '../auth/tokens.ts';
import type { EntryOperation } from './operation.ts';
import type { TokenParts } from './tokens.ts';

export interface ExchangeRequest {
  /** A JSON Web Token; the bearer token where it is undefined. */
  readonly jwt: string | undefined;
}

/** A proxy's own certificate or user would make whoever comes through it that identity. */
const unknownPeer = { certificate: undefined, uid: undefined, gid: undefined };

/** A short-lived capability for a client certificate, a JSON Web Token or a peer's user id, by the rules of the policy file. */
export function exchangeTokenOperation({
  authority,
  clock,
  identities,
  journal,
}: TokenParts): EntryOperation<ExchangeRequest, MintedToken> {
  return {
    kind: 'entry',
    name: 'token_exchange',
    async run({ jwt }, credentials) {
      const { certificate, uid, gid } = credentials.forwarded ? unknownPeer : credentials.peer();
      const found = await identities.identify({ certificate, uid, gid, jwt: jwt ?? credentials.token });
      if (!found.ok) return found;
      const { name, grant } = found.value;
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
