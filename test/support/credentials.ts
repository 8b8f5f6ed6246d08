import type { Credentials } from '../../src/auth/auth.ts';
import { peerAt } from '../../src/core/peer.ts';

const loopback = peerAt('tcp', '127.0.0.1');

/** A bearer token over plain TCP from this machine. */
export function bearing(token: string | undefined): Credentials {
  return { token, peer: () => loopback };
}
