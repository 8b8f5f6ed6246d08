import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test from 'node:test';
import { createMacaroonAuthenticator } from '../../src/auth/macaroon/authenticator.ts';
import { StoreLedger } from '../../src/auth/macaroon/ledger.ts';
import { inspectToken, mintToken } from '../../src/auth/macaroon/mint.ts';
import { StoreRevocations } from '../../src/auth/macaroon/revocations.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Store } from '../../src/store/store.ts';
import { bearing } from '../support/credentials.ts';
import { FaultyStore } from '../support/faulty-store.ts';

const hourMs = 3_600_000;
const startMs = Date.UTC(2027, 0, 15, 12);

function benchOf(store: Store = new MemoryStore()) {
  let utcMs = startMs;
  const clock = { utcMs: () => utcMs, monotonicMs: () => utcMs };
  return {
    store,
    clock,
    pass: (ms: number) => {
      utcMs += ms;
    },
    async open() {
      const opened = await StoreRevocations.open(store, clock);
      assert.ok(opened.ok);
      return opened.value;
    },
  };
}

const rootKey = randomBytes(32);
const capability = { tenant: 'acme', actor: 'cap:0123456789abcdef', rootKeyId: 3, issuedAtMs: startMs };

test('a revocation is in force when it resolves, in other instances too, and after a restart', async () => {
  const bench = benchOf();
  const [one, other] = [await bench.open(), await bench.open()];
  for (const revocation of [
    { by: 'actor', tenant: 'acme', actor: capability.actor },
    { by: 'actor', tenant: undefined, actor: 'cap:ffffffffffffffff' },
    { by: 'root_key', rootKeyId: 3 },
    { by: 'issued_before', tenant: 'timed', beforeMs: startMs },
  ] as const) {
    assert.ok((await one.revoke(revocation)).ok);
  }
  for (const revocations of [one, other, await bench.open()]) {
    const revokes = (changed: Partial<typeof capability>) =>
      revocations.revokes({ ...capability, rootKeyId: 0, ...changed });
    assert.equal(revokes({}), true);
    assert.equal(revokes({ tenant: 'other' }), false);
    assert.equal(revokes({ tenant: 'other', actor: 'cap:ffffffffffffffff' }), true);
    assert.equal(revokes({ tenant: 'other', rootKeyId: 3 }), true);
    assert.equal(revokes({ tenant: 'timed', actor: 'cap:1' }), true);
    assert.equal(revokes({ tenant: 'timed', actor: 'cap:1', issuedAtMs: startMs + 1 }), false);
    assert.deepEqual(revocations.counts(), { actors: 2, root_keys: 1, issued_before: 1 });
  }
});

test('what has expired is removed, and what has not stays', async () => {
  const bench = benchOf();
  const revocations = await bench.open();
  await revocations.revoke({ by: 'actor', tenant: 'acme', actor: 'cap:1', expiresAtMs: startMs + hourMs });
  await revocations.revoke({
    by: 'actor',
    tenant: 'acme',
    actor: 'cap:2',
    expiresAtMs: startMs + 9 * hourMs,
  });
  await revocations.revoke({ by: 'actor', tenant: 'acme', actor: 'cap:3' });
  await revocations.revoke({ by: 'root_key', rootKeyId: 1 });
  await revocations.revoke({ by: 'root_key', rootKeyId: 2 });
  await revocations.prune();
  assert.equal(revocations.counts().actors, 3);
  bench.pass(2 * hourMs);
  await revocations.prune();
  for (const each of [revocations, await bench.open()])
    assert.deepEqual(each.counts(), { actors: 2, root_keys: 2, issued_before: 0 });
});

test('of times that are revoked at once the latest holds', async () => {
  const bench = benchOf();
  const revocations = await bench.open();
  await Promise.all(
    [1, 3, 2].map((beforeMs) => revocations.revoke({ by: 'issued_before', tenant: 'acme', beforeMs })),
  );
  for (const each of [revocations, await bench.open()]) {
    assert.equal(each.revokes({ ...capability, issuedAtMs: 3 }), true);
    assert.equal(each.revokes({ ...capability, issuedAtMs: 4 }), false);
  }
});

test('a record that is no revocation stops the start, because it could be one that is forgotten', async () => {
  for (const [key, value] of [
    ['auth/revoked/actor/acme/cap:1', 'nonsense'],
    ['auth/revoked/actor/acme/cap:1', '{"at_ms":"never"}'],
    ['auth/revoked/planet/earth', '{"at_ms":1}'],
    ['auth/revoked/issued_before/acme', '{"at_ms":1}'],
  ] as const) {
    const bench = benchOf();
    await bench.store.commit([{ key, value: Buffer.from(value) }]);
    assert.equal((await StoreRevocations.open(bench.store, bench.clock)).ok, false, key);
  }
});

test('a tenant that revokes what was never made leaves room for the others', async () => {
  const bench = benchOf();
  const value = Buffer.from(JSON.stringify({ at_ms: startMs }));
  const changes = Array.from({ length: 10_000 }, (_, n) => ({
    ...{ key: `auth/revoked/actor/acme/cap:${n.toString(16).padStart(16, '0')}`, value },
  }));
  for (let at = 0; at < changes.length; at += 1_000) {
    assert.ok((await bench.store.commit(changes.slice(at, at + 1_000))).ok);
  }
  const revocations = await bench.open();
  const revoke = (tenant: string | undefined, actor: string) =>
    revocations.revoke({ by: 'actor', tenant, actor });
  const refused = await revoke('acme', 'cap:ffffffffffffffff');
  assert.equal(!refused.ok && refused.failure.code, 'Conflict');
  // One that is revoked already is no more than it was.
  assert.ok((await revoke('acme', 'cap:0000000000000000')).ok);
  assert.ok((await revoke('other', 'cap:ffffffffffffffff')).ok);
  assert.ok((await revoke(undefined, 'cap:ffffffffffffffff')).ok);
});

test('a store that fails revokes nothing and says so', async () => {
  const bench = benchOf();
  const revocations = await bench.open();
  await bench.store.close();
  const revoked = await revocations.revoke({ by: 'actor', tenant: 'acme', actor: 'cap:1' });
  assert.ok(!revoked.ok);
  assert.equal(revoked.failure.code, 'StoreUnavailable');
  assert.equal(revocations.revokes({ ...capability, actor: 'cap:1' }), false);
});

test('a capability that is in the cache ends with its revocation, and its siblings stay in the cache', async () => {
  const bench = benchOf();
  const revocations = await bench.open();
  const subject = createMacaroonAuthenticator({ rootKey, timeSkewToleranceMs: 0, revocations });
  const mint = () => {
    const minted = mintToken({ rootKey, tenant: 'acme', scopes: ['kms:sign'] });
    assert.ok(minted.ok);
    return minted.value;
  };
  const [token, sibling] = [mint(), mint()];
  const at = { utcMs: startMs };
  const before = subject.authenticate(bearing(sibling), at);
  assert.ok(subject.authenticate(bearing(token), at).ok && before.ok);
  const inspected = inspectToken(token);
  assert.ok(inspected.ok);
  await revocations.revoke({ by: 'actor', tenant: 'acme', actor: inspected.value.actor });
  for (let round = 0; round < 2; round++) {
    const refused = subject.authenticate(bearing(token), at);
    assert.ok(!refused.ok);
    assert.match(refused.failure.hint ?? '', /revoked/);
    assert.equal(subject.authenticate(bearing(sibling), at), before);
  }
});

test('the ledger forgets what nobody can use any more', async () => {
  const bench = benchOf();
  const ledger = new StoreLedger(bench.store, bench.clock);
  const entry = (endMs: number, name: string) =>
    ledger.enter({
      tenant: 'acme',
      uses: [{ name, most: 5, items: 1 }],
      agreed: [`${name}digest`],
      usesEndMs: endMs,
      agreedEndMs: endMs,
    });
  await entry(startMs + hourMs, 'soon');
  await entry(startMs + 9 * hourMs, 'later');
  await entry(Number.POSITIVE_INFINITY, 'never');
  bench.pass(2 * hourMs);
  await ledger.prune();
  const left = await bench.store.list({ prefix: 'auth/', limit: 100 });
  assert.ok(left.ok);
  assert.deepEqual(
    left.value.map(({ key }) => key),
    [
      'auth/agreed/acme/laterdigest',
      'auth/agreed/acme/neverdigest',
      'auth/uses/acme/later',
      'auth/uses/acme/never',
    ],
  );
  assert.notEqual(await entry(startMs + 9 * hourMs, 'later'), undefined);
});

test('of agreements that are entered at the same moment one goes through', async () => {
  const bench = benchOf();
  const ledger = new StoreLedger(bench.store, bench.clock);
  const entered = await Promise.all(
    Array.from({ length: 30 }, () =>
      ledger.enter({
        tenant: 'acme',
        uses: [],
        agreed: ['digest'],
        usesEndMs: 0,
        agreedEndMs: startMs + hourMs,
      }),
    ),
  );
  assert.equal(entered.filter((refused) => refused === undefined).length, 1);
});

test('a store that fails once: a revocation is refused, or holds though it was refused; the next one holds', async () => {
  const store = new FaultyStore(new MemoryStore());
  const bench = benchOf(store);
  const revocations = await bench.open();
  const revoke = (actor: string) => revocations.revoke({ by: 'actor', tenant: 'acme', actor });
  const revokes = (actor: string) => revocations.revokes({ ...capability, rootKeyId: 0, actor });
  for (const [fault, holds] of [
    ['commit', false],
    ['commit-after', true],
  ] as const) {
    store.failing.add(fault);
    const refused = await revoke(`cap:${fault}`);
    assert.equal(!refused.ok && refused.failure.code, 'StoreUnavailable');
    store.failing.clear();
    assert.equal(revokes(`cap:${fault}`), holds, fault);
    assert.ok((await revoke(`cap:${fault}`)).ok);
    assert.equal(revokes(`cap:${fault}`), true);
  }
  assert.equal((await bench.open()).counts().actors, 2);
});

test('a store that fails once: an agreement is unused where nothing was written, and used where it was', async () => {
  const store = new FaultyStore(new MemoryStore());
  const bench = benchOf(store);
  const ledger = new StoreLedger(store, bench.clock);
  const enter = async (digest: string) => {
    const until = startMs + hourMs;
    const uses = [{ name: 'counted', most: 4, items: 1 }];
    const entry = { tenant: 'acme', uses, agreed: [digest], usesEndMs: until, agreedEndMs: until };
    return (await ledger.enter(entry))?.failure.code;
  };
  for (const [fault, then] of [
    ['get', undefined],
    ['commit', undefined],
    ['commit-after', 'Conflict'],
  ] as const) {
    store.failing.add(fault);
    assert.equal(await enter(fault), 'StoreUnavailable', fault);
    store.failing.clear();
    assert.equal(await enter(fault), then, fault);
  }
  // Three of its uses are on disk, one of them of the call that was refused.
  assert.deepEqual([await enter('more'), await enter('one-too-many')], [undefined, 'NoCapability']);
});
