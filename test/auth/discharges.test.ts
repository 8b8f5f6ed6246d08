import assert from 'node:assert/strict';
import test from 'node:test';
import { createMacaroonAuthenticator } from '../../src/auth/macaroon/authenticator.ts';
import { createTokenAuthority } from '../../src/auth/macaroon/authority.ts';
import { macaroonKeyOf } from '../../src/auth/macaroon/key.ts';
import { bindToken, inspectToken } from '../../src/auth/macaroon/mint.ts';
import { StoreRevocations } from '../../src/auth/macaroon/revocations.ts';
import { MemoryRootKeys } from '../../src/auth/macaroon/root-keys.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { bearing } from '../support/credentials.ts';

const startMs = Date.UTC(2027, 0, 15, 12);
const toleranceMs = 2_000;
const approver = 'cap:0123456789abcdef';

async function benchOf() {
  const clock = { utcMs: () => startMs, monotonicMs: () => 0 };
  const opened = await StoreRevocations.open(new MemoryStore(), clock);
  assert.ok(opened.ok);
  const revocations = opened.value;
  const rootKeys = new MemoryRootKeys(macaroonKeyOf);
  const authority = createTokenAuthority({ rootKeys, revocations, clock, onProblem: () => {} });
  const subject = createMacaroonAuthenticator({
    ...{ rootKey: rootKeys, revocations, clock, timeSkewToleranceMs: toleranceMs },
  });
  const minted = authority.mint({
    ...{ tenant: 'acme', scopes: ['kms:rotate'], caveats: [], dualControl: true },
    expiresAtMs: startMs + 86_400_000,
  });
  assert.ok(minted.ok);
  const { token } = minted.value;
  const inspected = inspectToken(token);
  assert.ok(inspected.ok);
  const caveatId = Buffer.from(inspected.value.third_party?.[0]?.id ?? '', 'base64url');
  const discharge = (expiresAtMs: number): string => {
    const call = {
      operation: 'rotate',
      kids: [],
      changes: true,
      opId: '00000000-0000-4000-8000-000000000001',
    };
    const made = authority.discharge({ caveatId, tenant: 'acme', approver, call, expiresAtMs });
    assert.ok(made.ok);
    const bound = bindToken(token, made.value);
    assert.ok(bound.ok);
    return bound.value;
  };
  const codeAt = (discharges: string, utcMs: number) => {
    const answer = subject.authenticate({ ...bearing(token), discharges }, { utcMs });
    return answer.ok ? 'ok' : answer.failure.code;
  };
  return { discharge, codeAt, revocations };
}

test('a discharge holds until its end and the tolerance for skew, though the capability goes on', async () => {
  const { discharge, codeAt } = await benchOf();
  const [soon, later] = [discharge(startMs + 60_000), discharge(startMs + 3_600_000)];
  assert.equal(codeAt(soon, startMs), 'ok');
  assert.equal(codeAt(soon, startMs + 60_000 + toleranceMs - 1), 'ok');
  assert.equal(codeAt(soon, startMs + 60_000 + toleranceMs), 'Unauthenticated');
  assert.equal(codeAt(later, startMs + 60_000 + toleranceMs), 'ok');
});

test('a discharge ends with the capability of who made it, and with that of nobody else', async () => {
  const { discharge, codeAt, revocations } = await benchOf();
  const header = discharge(startMs + 60_000);
  await revocations.revoke({ by: 'actor', tenant: 'acme', actor: 'cap:ffffffffffffffff' });
  await revocations.revoke({ by: 'actor', tenant: 'other', actor: approver });
  assert.equal(codeAt(header, startMs), 'ok');
  await revocations.revoke({ by: 'actor', tenant: 'acme', actor: approver });
  assert.equal(codeAt(header, startMs), 'Unauthenticated');
});
