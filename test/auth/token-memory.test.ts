import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createMacaroonAuthenticator } from '../../src/auth/macaroon/authenticator.ts';
import { attenuateToken, mintToken } from '../../src/auth/macaroon/mint.ts';
import { bearing } from '../support/credentials.ts';

/** `npm run drill:tokens` sets it, and then the caches have their own sizes. */
const drilled = Number(process.env.DRILL_TOKENS ?? 0);
const caches = drilled > 0 ? {} : { maxVerified: 256, maxConditioned: 256, maxRefused: 256 };
const distinct = drilled > 0 ? drilled : 4_000;
/** More than any cache holds. */
const first = drilled > 0 ? 40_000 : 1_000;

/** A token that were kept would take some 300 bytes; what the heap has besides differs by some hundred kilobytes. */
const maxGrowthBytes = 60 * distinct + 200_000;

const rootKey = randomBytes(32);
const utcMs = Date.UTC(2027, 0, 1);

function minted(more: Partial<Parameters<typeof mintToken>[0]> = {}): string {
  const made = mintToken({ rootKey, tenant: 'acme', scopes: ['kms:sign'], ...more });
  assert.ok(made.ok);
  return made.value;
}

const parent = minted();

/** Another one at each call, and whether it holds. */
const kinds: Readonly<Record<string, readonly [make: (n: number) => string, holds: boolean]>> = {
  minted: [() => minted(), true],
  'attenuated from one by its holder': [
    (n) => {
      const narrowed = attenuateToken(parent, { expiresAtMs: utcMs + 1_000 + n });
      assert.ok(narrowed.ok);
      return narrowed.value;
    },
    true,
  ],
  'with conditions': [() => minted({ caveats: ['operation = sign', 'address = 127.0.0.1'] }), true],
  'under another root key': [() => minted({ rootKey: randomBytes(32) }), false],
  'of no form': [() => randomBytes(90).toString('base64url'), false],
  'without the discharge they need': [() => minted({ dualControl: true }), false],
};

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

async function heapBytes(): Promise<number> {
  for (let n = 0; n < 3; n++) {
    collect();
    // What node:crypto made for random bytes goes in a later turn.
    await setImmediate();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

for (const [kind, [make, holds]] of Object.entries(kinds)) {
  test(`${distinct} distinct tokens ${kind} take no more memory than the caches hold`, async () => {
    const subject = createMacaroonAuthenticator({ rootKey, timeSkewToleranceMs: 0, ...caches });
    const send = (from: number, many: number) => {
      let wrong = 0;
      for (let n = from; n < from + many; n++) {
        if (subject.authenticate(bearing(make(n)), { utcMs }).ok !== holds) wrong++;
      }
      assert.equal(wrong, 0);
    };
    send(0, first);
    const before = await heapBytes();
    send(first, distinct);
    const grown = (await heapBytes()) - before;
    assert.ok(grown < maxGrowthBytes, `${grown} bytes`);
  });
}
