import { bearerToken, type Credentials } from '../auth/auth.ts';
import type { Exchange } from './exchange.ts';

/** What a request shows of who is calling, where its dialect has no other way. */
export function bearerCredentials(exchange: Exchange): Credentials {
  const { authorization, discharges, xForwardedFor, forwarded } = exchange.headers;
  return {
    token: bearerToken(authorization),
    discharges,
    forwarded: xForwardedFor !== undefined || forwarded !== undefined,
    peer: () => exchange.peer(),
  };
}
