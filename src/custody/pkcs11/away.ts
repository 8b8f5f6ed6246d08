import { nameOf } from './cryptoki.ts';
import type { Away } from './protocol.ts';

/** The token does not do its work. `reason` is for the operator. */
export class TokenAway extends Error {
  readonly away: Away;
  constructor(reason: string, refusedPin?: string) {
    super(reason);
    this.away = { kind: 'away', reason, ...(refusedPin === undefined ? undefined : { refusedPin }) };
  }
}

export function awayOf(error: unknown): TokenAway {
  return error instanceof TokenAway ? error : new TokenAway(nameOf(error));
}
