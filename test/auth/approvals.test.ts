import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { createApprovals } from '../../src/auth/approvals.ts';
import { createApproverTokenReader } from '../../src/auth/identities/approver-tokens.ts';
import { pseudonymOf } from '../../src/auth/identities/placed-identity.ts';
import { createDischargeReader } from '../../src/auth/macaroon/approval.ts';
import { createTokenAuthority } from '../../src/auth/macaroon/authority.ts';
import { decodeDischarge, encodeToken } from '../../src/auth/macaroon/encoding.ts';
import { macaroonKeyOf } from '../../src/auth/macaroon/key.ts';
import { StoreLedger } from '../../src/auth/macaroon/ledger.ts';
import { bindToken, inspectToken } from '../../src/auth/macaroon/mint.ts';
import { StoreRevocations } from '../../src/auth/macaroon/revocations.ts';
import { MemoryRootKeys } from '../../src/auth/macaroon/root-keys.ts';
import type { Approvals, ApprovedChange } from '../../src/core/approvals.ts';
import { refuse } from '../../src/core/result.ts';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Store } from '../../src/store/store.ts';
import { type CallerKey, callerKey, keySetOf, tokenOver, tokenWith } from '../support/caller-tokens.ts';

const startMs = Date.UTC(2027, 0, 15, 12);
const toleranceMs = 2_000;
const caller = 'id:0123456789abcdef';
const approver = 'cap:0123456789abcdef';
const keyId = '11111111-2222-4333-8444-555555555555';
const digest = 'a'.repeat(64);

interface Wish {
  readonly store?: Store;
  readonly keys?: readonly CallerKey[];
  readonly audience?: string;
  readonly development?: readonly string[];
}

async function benchOf({ store = new MemoryStore(), keys = [], audience, development = [] }: Wish = {}) {
  let nowMs = startMs;
  const clock = { utcMs: () => nowMs, monotonicMs: () => 0 };
  const opened = await StoreRevocations.open(store, clock);
  assert.ok(opened.ok);
  const revocations = opened.value;
  const rootKeys = new MemoryRootKeys(macaroonKeyOf);
  const authority = createTokenAuthority({ rootKeys, revocations, clock, onProblem: () => {} });
  const open = (ledger = new StoreLedger(store, clock)) =>
    createApprovals({
      readers: [
        createDischargeReader(rootKeys, revocations),
        createApproverTokenReader({
          ...{ keys: keySetOf(...keys), algorithms: ['Ed25519', 'ES256'], audience },
          ...{ clock, timeSkewToleranceMs: toleranceMs },
        }),
      ],
      ...{ ledger, clock, timeSkewToleranceMs: toleranceMs, development },
    });
  const discharge = (wish: Partial<ApprovedChange> & { readonly ttlMs?: number } = {}): string => {
    const { tenant = 'acme', operation = 'rotate', actor = approver, ttlMs = 900_000 } = wish;
    const named = 'keyId' in wish || 'requestSha256' in wish ? wish : { keyId };
    const { requestSha256 } = named;
    const made = authority.discharge({
      ...{ tenant, approver: actor, caveatId: undefined, expiresAtMs: nowMs + ttlMs },
      call: {
        ...{ operation, kids: named.keyId === undefined ? [] : [named.keyId], changes: true },
        ...(requestSha256 === undefined ? undefined : { requestSha256: () => requestSha256 }),
      },
    });
    assert.ok(made.ok, JSON.stringify(made));
    return made.value;
  };
  return {
    ...{ revocations, rootKeys, authority, open, discharge, approvals: open() },
    wait(ms: number) {
      nowMs += ms;
    },
  };
}

const change: ApprovedChange = { tenant: 'acme', operation: 'rotate', actor: caller, keyId };
const generation: ApprovedChange = {
  ...{ tenant: 'acme', operation: 'generate', actor: caller, requestSha256: digest },
};

async function outcome(approvals: Approvals, approval: string | undefined, of: ApprovedChange = change) {
  const checked = await approvals.check(approval, of);
  return checked.ok ? 'ok' : (checked.failure.hint ?? checked.failure.code);
}

async function refused(approvals: Approvals, approval: string | undefined, of: ApprovedChange, why: RegExp) {
  const checked = await approvals.check(approval, of);
  assert.ok(!checked.ok, approval);
  assert.equal(checked.failure.code, 'NoCapability');
  assert.match(checked.failure.hint ?? '', why);
}

const nowS = startMs / 1_000;
const claims = {
  ...{ sub: 'alice', jti: 'j1', iat: nowS, exp: nowS + 900 },
  ...{ tenant_id: 'acme', operation: 'rotate', key_id: keyId },
};

test('no approval, and a text that is none, are refused', async () => {
  const { approvals } = await benchOf();
  await refused(approvals, undefined, change, /a second principal has to agree/);
  await refused(approvals, '', change, /a second principal has to agree/);
  for (const text of ['approval-token-123', 'a.b.c', 'AAAA', 'x'.repeat(10_000), '\0']) {
    await refused(approvals, text, change, /does not hold/);
  }
});

test('a discharge serves once, and says who agreed', async () => {
  const { approvals, discharge } = await benchOf();
  const text = discharge();
  const checked = await approvals.check(text, change);
  assert.ok(checked.ok);
  assert.equal(checked.value.approver, approver);
  assert.match(checked.value.id, /^approval:[0-9a-f]{16}$/);
  assert.ok(!text.includes(checked.value.id.slice(9)));
  await refused(approvals, text, change, /was used already/);
  assert.equal(await outcome(approvals, discharge()), 'ok', 'another one of the same words is another');
});

test('a signed token serves once, and the same jti in another token of its approver is the same', async () => {
  const key = await callerKey('a1');
  const { approvals } = await benchOf({ keys: [key] });
  const text = await tokenWith(key, claims);
  const checked = await approvals.check(text, change);
  assert.ok(checked.ok);
  assert.equal(checked.value.approver, pseudonymOf('acme', 'alice'));
  await refused(approvals, text, change, /was used already/);
  await refused(approvals, await tokenWith(key, { ...claims, iat: nowS - 1 }), change, /was used already/);
  assert.equal(await outcome(approvals, await tokenWith(key, { ...claims, jti: 'j2' })), 'ok');
  assert.equal(await outcome(approvals, await tokenWith(key, { ...claims, sub: 'bob' })), 'ok');
});

test('a token without jti is told from others by what it signs, and not by its signature', async () => {
  const key = await callerKey('a1', 'ES256');
  const { approvals } = await benchOf({ keys: [key] });
  const { jti: _, ...others } = claims;
  const [one, same] = [await tokenWith(key, others), await tokenWith(key, others)];
  assert.notEqual(one, same, 'ECDSA signs with a random number');
  assert.equal(await outcome(approvals, one), 'ok');
  await refused(approvals, same, change, /was used already/);
});

test('of 16 concurrent uses of one approval exactly one wins', async () => {
  const { approvals, open, discharge } = await benchOf();
  const text = discharge();
  const others = open();
  const outcomes = await Promise.all(
    Array.from({ length: 16 }, (_, n) => outcome(n % 2 === 0 ? approvals : others, text)),
  );
  assert.equal(outcomes.filter((each) => each === 'ok').length, 1);
  assert.equal(outcomes.filter((each) => /was used already/.test(each)).length, 15);
});

test('a used approval stays used after a restart', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-approvals-'));
  const reopened = () => LmdbStore.open({ directory, maxBytes: 2 ** 26, report: () => {} });
  try {
    const key = await callerKey('a1');
    const first = await reopened();
    const text = await tokenWith(key, claims);
    assert.equal(await outcome((await benchOf({ store: first, keys: [key] })).approvals, text), 'ok');
    await first.close();
    const second = await reopened();
    await refused(
      (await benchOf({ store: second, keys: [key] })).approvals,
      text,
      change,
      /was used already/,
    );
    await second.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

const otherKey = keyId.replace('1', '2');
const bound: readonly (readonly [what: string, of: Partial<ApprovedChange>, fits: boolean])[] = [
  ['the change itself', {}, true],
  ['the key in capital letters', { keyId: keyId.toUpperCase() }, true],
  ['the operation by its name in the audit log', { operation: 'lifecycle_rotate' }, true],
  ['a digest besides', { requestSha256: digest }, true],
  ['another tenant', { tenant: 'other' }, false],
  ['another operation', { operation: 'revoke' }, false],
  ['another key', { keyId: otherKey }, false],
];
for (const [what, of, fits] of bound)
  test(`an approval of one key's rotation ${fits ? 'serves' : 'does not serve'} for ${what}`, async () => {
    const key = await callerKey('a1');
    const { approvals, discharge } = await benchOf({ keys: [key] });
    for (const text of [discharge(), await tokenWith(key, claims)]) {
      if (fits) assert.equal(await outcome(approvals, text, { ...change, ...of }), 'ok');
      else {
        await refused(approvals, text, { ...change, ...of }, /for another change/);
        assert.equal(await outcome(approvals, text), 'ok', 'it was not used up by that');
      }
    }
  });

test('an approval of a key does not serve where there is no key, nor one of a request where there is one', async () => {
  const { approvals, discharge } = await benchOf();
  const { keyId: _, ...without } = change;
  await refused(approvals, discharge(), without, /for another change/);
  await refused(approvals, discharge(), { ...without, requestSha256: digest }, /for another change/);
  const ofRequest = discharge({ operation: 'generate', requestSha256: digest });
  await refused(approvals, ofRequest, { ...generation, keyId }, /for another change/);
  await refused(approvals, ofRequest, { ...generation, requestSha256: 'b'.repeat(64) }, /for another change/);
  await refused(
    approvals,
    ofRequest,
    { tenant: 'acme', operation: 'generate', actor: caller },
    /another change/,
  );
  assert.equal(await outcome(approvals, ofRequest, generation), 'ok');
});

test('an approval that names a key and a request is for both', async () => {
  const { approvals, discharge } = await benchOf();
  const text = discharge({ keyId, requestSha256: digest });
  await refused(approvals, text, change, /for another change/);
  await refused(approvals, text, { ...change, requestSha256: 'b'.repeat(64) }, /for another change/);
  assert.equal(await outcome(approvals, text, { ...change, requestSha256: digest }), 'ok');
});

test('a token that names neither a key nor a request is for nothing', async () => {
  const key = await callerKey('a1');
  const { approvals } = await benchOf({ keys: [key] });
  const { key_id: _, ...others } = claims;
  const text = await tokenWith(key, others);
  const { keyId: __, ...without } = change;
  for (const asked of [change, without, { ...without, requestSha256: digest }]) {
    await refused(approvals, text, asked, /for another change/);
  }
});

test('nobody agrees to a change of its own', async () => {
  const key = await callerKey('a1');
  const { approvals, discharge } = await benchOf({ keys: [key] });
  await refused(approvals, discharge(), { ...change, actor: approver }, /of the caller itself/);
  const alice = pseudonymOf('acme', 'alice');
  const text = await tokenWith(key, claims);
  await refused(approvals, text, { ...change, actor: alice }, /of the caller itself/);
  assert.equal(await outcome(approvals, text), 'ok');
});

test('a discharge ends with its time, with its approver, and with its root key', async () => {
  const bench = await benchOf();
  const { approvals, discharge, revocations } = bench;
  const soon = discharge({ ttlMs: 60_000 });
  const later = discharge();
  const ofAnother = discharge({ actor: 'cap:ffffffffffffffff' });
  bench.wait(60_000 + toleranceMs);
  await refused(approvals, soon, change, /has expired/);
  await revocations.revoke({ by: 'actor', tenant: 'acme', actor: approver });
  await refused(approvals, later, change, /does not hold/);
  assert.equal(await outcome(approvals, ofAnother), 'ok');
  const last = discharge({ actor: 'cap:ffffffffffffffff' });
  await revocations.revoke({ by: 'root_key', rootKeyId: 0 });
  await refused(approvals, last, change, /does not hold/);
  const none = bench.authority.discharge({
    ...{ tenant: 'acme', approver, caveatId: undefined, expiresAtMs: startMs + 900_000 },
    call: { operation: 'rotate', kids: [keyId], changes: true },
  });
  assert.equal(!none.ok && none.failure.code, 'Conflict', 'there is no root key to make one with');
});

test('an approval that would hold for more than an hour is refused', async () => {
  const key = await callerKey('a1');
  const { approvals, discharge } = await benchOf({ keys: [key] });
  await refused(approvals, discharge({ ttlMs: 3_600_000 + toleranceMs + 1 }), change, /an hour at the most/);
  const long = await tokenWith(key, { ...claims, exp: nowS + 3_603 });
  await refused(approvals, long, change, /an hour at the most/);
  assert.equal(await outcome(approvals, await tokenWith(key, { ...claims, exp: nowS + 3_600 })), 'ok');
});

test('a discharge with a bit altered, or with caveats that nobody made, does not hold', async () => {
  const { approvals, discharge } = await benchOf();
  const text = discharge();
  for (let at = 0; at < text.length; at += 7) {
    const other = text[at] === 'A' ? 'B' : 'A';
    await refused(approvals, text.slice(0, at) + other + text.slice(at + 1), change, /does not hold/);
  }
  for (const caveat of [
    'environment = dev',
    'scope = kms:sign',
    'tenant = acme',
    'operation = rotate',
    'x = y',
  ]) {
    const presented = decodeDischarge(text);
    assert.ok(presented !== undefined);
    presented.macaroon.addFirstPartyCaveat(caveat);
    const widened = encodeToken(presented.macaroon, [...presented.caveats, caveat]);
    await refused(approvals, widened, change, /does not hold/);
  }
  assert.equal(await outcome(approvals, text), 'ok');
});

test('the discharge of a capability is no approval, and a capability is none either', async () => {
  const { approvals, authority } = await benchOf();
  const minted = authority.mint({
    ...{ tenant: 'acme', scopes: ['kms:rotate'], caveats: [], dualControl: true },
    expiresAtMs: startMs + 900_000,
  });
  assert.ok(minted.ok);
  const { token } = minted.value;
  const inspected = inspectToken(token);
  const asked = inspected.ok ? inspected.value.third_party?.[0]?.id : undefined;
  const agreed = authority.discharge({
    caveatId: Buffer.from(asked ?? '', 'base64url'),
    ...{ tenant: 'acme', approver, expiresAtMs: startMs + 900_000 },
    call: { operation: 'rotate', kids: [keyId], changes: true, opId: keyId },
  });
  assert.ok(agreed.ok);
  const together = bindToken(token, agreed.value);
  assert.ok(together.ok);
  for (const text of [token, agreed.value, together.value]) {
    await refused(approvals, text, change, /does not hold/);
  }
});

test('signed tokens that do not hold are refused, whatever is wrong with them', async () => {
  const [key, foreign, wide] = await Promise.all([
    callerKey('a1'),
    callerKey('a1'),
    callerKey('r1', 'RS256'),
  ]);
  const { approvals } = await benchOf({ keys: [key, wide], audience: 'kms.test' });
  const good = await tokenWith(key, { ...claims, aud: 'kms.test' });
  const [head = '', body = '', signature = ''] = good.split('.');
  const text = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const written = JSON.stringify(claims);
  const { exp: _, ...endless } = claims;
  const { sub: __, ...nameless } = claims;
  const wrong: Readonly<Record<string, string>> = {
    'of another key with the same kid': await tokenWith(foreign, claims),
    'of an unknown kid': await tokenWith({ ...key, jwk: { ...key.jwk, kid: 'a2' } }, claims),
    'an algorithm that is not allowed': await tokenWith(wide, claims),
    'no algorithm': `${text({ alg: 'none' })}.${body}.`,
    'other claims': `${head}.${text({ ...claims, operation: 'revoke' })}.${signature}`,
    'no end': await tokenWith(key, endless),
    'an end that is past': await tokenWith(key, { ...claims, exp: nowS - 3 }),
    'an end that is a text': await tokenWith(key, { ...claims, exp: `${claims.exp}` }),
    'a beginning to come': await tokenWith(key, { ...claims, nbf: nowS + 3 }),
    'no approver': await tokenWith(key, nameless),
    'no tenant': await tokenWith(key, { ...claims, tenant_id: undefined }),
    'a tenant that is none': await tokenWith(key, { ...claims, tenant_id: 'a/b' }),
    'an operation that is no text': await tokenWith(key, { ...claims, operation: ['rotate'] }),
    'a key that is no text': await tokenWith(key, { ...claims, key_id: [keyId] }),
    'a claim that nobody looks at': await tokenWith(key, { ...claims, environment: 'dev' }),
    'a claim twice': await tokenOver(key, written.replace('{', '{"operation":"revoke",')),
    'for another service': await tokenWith(key, { ...claims, aud: 'other.test' }),
  };
  for (const [what, token] of Object.entries(wrong)) {
    const checked = await approvals.check(token, change);
    assert.equal(!checked.ok && checked.failure.hint, 'the approval does not hold', what);
  }
  assert.equal(await outcome(approvals, good), 'ok');
  const unnamed = await benchOf({ keys: [key] });
  await refused(
    unnamed.approvals,
    await tokenWith(key, { ...claims, aud: 'kms.test' }),
    change,
    /does not hold/,
  );
});

test('texts of development agree to everything, again and again, and only they do', async () => {
  const { approvals } = await benchOf({ development: ['approval-token-123', 'second'] });
  for (let round = 0; round < 3; round++) {
    const checked = await approvals.check('approval-token-123', change);
    assert.deepEqual(checked, { ok: true, value: { approver: 'development', id: 'development' } });
    assert.equal(await outcome(approvals, 'second', generation), 'ok');
  }
  for (const text of ['approval-token-12', 'approval-token-1234', 'Second', 'approval-token-123,second']) {
    await refused(approvals, text, change, /does not hold/);
  }
});

test('an account that cannot be kept is no approval', async () => {
  const { open, discharge } = await benchOf();
  const broken = { enter: async () => refuse('StoreUnavailable') } as unknown as StoreLedger;
  const checked = await open(broken).check(discharge(), change);
  assert.equal(!checked.ok && checked.failure.code, 'StoreUnavailable');
});
