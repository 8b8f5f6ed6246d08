import { ok } from '../core/result.ts';
import type { Caller, Scope } from '../core/scope.ts';
import type { Authenticator } from './auth.ts';

export interface PeerUser {
  readonly uid: number;
  readonly scopes: ReadonlySet<Scope>;
}

const noScopes: ReadonlySet<Scope> = new Set();
/** Users without a list of their own: some tens of services on one machine. */
const maxCallers = 1_024;

/**
 * The user at the other end of a Unix socket, as the kernel tells it, is who is calling. Without a list everybody whom the
 * permissions of the socket let in may do all that `everybody` has.
 */
export function peerUserAuthenticator(
  tenant: string,
  users: readonly PeerUser[] | undefined,
  everybody: ReadonlySet<Scope>,
): Authenticator {
  const known = new Map<number | undefined, Caller>(
    users?.map(({ uid, scopes }) => [uid, { tenant, actor: `uid:${uid}`, scopes }]),
  );
  return {
    authenticate(credentials) {
      const { uid } = credentials.peer();
      const found = known.get(uid);
      if (found !== undefined) return ok(found);
      const actor = `uid:${uid ?? 'unknown'}`;
      const caller: Caller =
        users === undefined
          ? { tenant, actor, scopes: everybody }
          : { tenant, actor, scopes: noScopes, stranger: true };
      if (known.size < maxCallers) known.set(uid, caller);
      return ok(caller);
    },
  };
}
