import { randomBytes } from 'node:crypto';
import { createMacaroonAuthenticator } from '../../src/auth/macaroon/authenticator.ts';
import { mintToken } from '../../src/auth/macaroon/mint.ts';
import { type AuthenticatorUnderTest, authenticatorContract } from '../contracts/authenticator.ts';
import { bearing } from '../support/credentials.ts';

function macaroons(): AuthenticatorUnderTest {
  const rootKey = randomBytes(32);
  const skewMs = 2_000;
  const make = (key: Uint8Array) =>
    createMacaroonAuthenticator({ rootKey: key, timeSkewToleranceMs: skewMs });
  return {
    name: 'macaroons',
    skewMs,
    make: () => make(rootKey),
    makeForeign: () => make(randomBytes(32)),
    grant(wanted) {
      const minted = mintToken({ rootKey, ...wanted });
      if (!minted.ok) throw new Error(minted.failure.hint);
      return bearing(minted.value);
    },
  };
}

for (const kind of [macaroons()]) authenticatorContract(kind);
