import assert from 'node:assert/strict';
import test from 'node:test';
import { ok } from '../../src/core/result.ts';
import { exchangeTokenOperation } from '../../src/operations/token-exchange.ts';
import type { TokenParts } from '../../src/operations/tokens.ts';
import { bearing } from '../support/credentials.ts';

test('one identity has so many first capabilities in a second, another its own', async () => {
  let monotonicMs = 0;
  let records = 0;
  const operation = exchangeTokenOperation({
    clock: { utcMs: () => 0, monotonicMs: () => monotonicMs },
    identities: {
      identify: async ({ jwt = '' }) =>
        ok({ name: jwt, grant: { tenant: 'acme', scopes: ['kms:sign'], ttlMs: 1_000, caveats: [] } }),
    },
    authority: { mint: () => ok({ token: 'token', actor: 'cap:0000000000000000', expiresAtMs: 1_000 }) },
    journal: {
      async record() {
        records++;
        return undefined;
      },
    },
  } as unknown as TokenParts);
  const ask = async (name: string) => {
    const answer = await operation.run({ jwt: name }, bearing(undefined));
    return answer.ok ? 'ok' : answer.failure.code;
  };
  for (let n = 0; n < 100; n++) assert.equal(await ask('one'), 'ok');
  assert.equal(await ask('one'), 'RateLimited');
  assert.equal(await ask('other'), 'ok');
  assert.equal(records, 101);
  monotonicMs += 1_000;
  assert.equal(await ask('one'), 'ok');
});
