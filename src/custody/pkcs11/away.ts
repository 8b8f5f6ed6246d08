import { nameOf } from './cryptoki.ts';
import type { Away } from './protocol.ts';

/** The token does not do its work. `reason` is for the operator. */
export class TokenAway extends Error {
  readonly away: Away;
  constructor(reason: string, more: Pick<Away, 'refusedPin' | 'timedOut'> = {}) {
    super(reason);
    this.away = { kind: 'away', reason, ...more };
  }
}

export function awayOf(error: unknown): TokenAway {
  return error instanceof TokenAway ? error : new TokenAway(nameOf(error));
}
