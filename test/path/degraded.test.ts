import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test, { type TestContext } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { MemoryContact, MemoryHome } from '../support/memory-home.ts';
import { call, callForBytes, helloWorldB3, type JsonAnswer } from '../support/service.ts';

/** A service with a home `vault` that can be away, and a key there and in software. */
async function setUp(t: TestContext, env: Readonly<Record<string, string>> = {}, twin = false) {
  const contact = new MemoryContact();
  const vault = new MemoryHome('vault', { contact });
  const others = twin ? [new MemoryHome('twin', { contact: new MemoryContact(), twin: vault })] : [];
  const service = await startInProcess({ env, homes: [vault, ...others] });
  t.after(() => service.stop());
  const ask = (method: string, path: string, body?: unknown): Promise<JsonAnswer> =>
    call(service, service.token, method, `/v1/kms${path}`, body);
  const makeKey = async (policy?: object): Promise<string> => {
    const made = await ask('POST', '/keys', { purpose: 'p', alg: 'ed25519', ...(policy && { policy }) });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    return made.body.kid;
  };
  const sign = (kid: string) => ask('POST', '/sign', { kid, payload_b3: helloWorldB3 });
  const verify = (kid: string, signature: string) =>
    ask('POST', '/verify', { payload_b3: helloWorldB3, sigs: [{ kid, signature_b64: signature }] });
  const signatureOf = async (kid: string): Promise<string> => {
    const made = await sign(kid);
    assert.equal(made.status, 200, JSON.stringify(made.body));
    return made.body.sigs[0].signature_b64;
  };
  const metric = async (name: string): Promise<string | undefined> => {
    const { text } = await service.send({ method: 'GET', path: '/metrics' });
    const line = text.split('\n').find((each) => each.startsWith(`${name} `));
    return line?.slice(name.length + 1);
  };
  const ready = async () => JSON.parse((await service.send({ method: 'GET', path: '/readyz' })).text);
  return { ...{ service, contact, vault, ask, makeKey, sign, verify, signatureOf, metric, ready } };
}

test('keys of a backend that is away are refused at once with 503, and those of others go on', async (t) => {
  const { contact, vault, makeKey, sign, ask, metric, ready } = await setUp(t);
  const [theirs, ours] = [await makeKey({ backend: 'vault' }), await makeKey()];
  contact.set(false);
  const carried = vault.carried.length;
  const refused = await sign(theirs);
  assert.deepEqual([refused.status, refused.body.error.code], [503, 'StoreUnavailable']);
  assert.match(refused.body.error.hint, /backend of this key/);
  assert.equal(refused.headers.get('retry-after'), '1');
  assert.equal(refused.body.error.retryable, true);
  assert.equal((await sign(ours)).status, 200);
  const batch = await ask('POST', '/sign/batch', {
    items: [theirs, ours].map((kid) => ({ kid, payload_b3: helloWorldB3 })),
  });
  assert.deepEqual(
    batch.body.results.map((result: { error?: { code: string } }) => result.error?.code),
    ['StoreUnavailable', undefined],
  );
  assert.equal(vault.carried.length, carried);
  assert.deepEqual((await ready()).degraded.includes('backend_vault'), true);
  assert.equal((await ready()).ready, true);
  assert.equal(await metric('kms_backend_up{backend="vault"}'), '0');
  assert.equal(await metric('kms_backend_breaker_state{backend="vault",state="open"}'), '1');
  assert.equal(await metric('kms_backend_losses_total{backend="vault"}'), '1');
  assert.equal(await metric('kms_reject_total{reason="store_unavailable"}'), '1');
  contact.set(true);
  assert.equal((await sign(theirs)).status, 200);
  assert.equal((await ready()).degraded.includes('backend_vault'), false);
});

test('what waits for a backend when it is lost is refused then, and not at its deadline', async (t) => {
  const { contact, vault, makeKey, sign } = await setUp(t);
  const kid = await makeKey({ backend: 'vault' });
  const hang = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  vault.beforeJob = () => {
    begun.resolve();
    return hang.promise;
  };
  const first = sign(kid);
  await begun.promise;
  // The home takes one job at a time, so that these wait.
  const waiting = Array.from({ length: 20 }, () => sign(kid));
  await new Promise((resolve) => setTimeout(resolve, 20));
  contact.set(false);
  for (const { status } of await Promise.all(waiting)) assert.equal(status, 503);
  hang.resolve();
  assert.equal((await first).status, 200);
});

test('verification goes on, says how old its knowledge is, and from the limit on that it is stale', async (t) => {
  const { contact, makeKey, verify, signatureOf, ask, metric } = await setUp(t, {
    KMS_VERIFY_CACHE_TTL_MS: '60000',
  });
  const [theirs, ours] = [await makeKey({ backend: 'vault' }), await makeKey()];
  const [signature, own] = [await signatureOf(theirs), await signatureOf(ours)];
  const plain = await verify(ours, own);
  assert.deepEqual([plain.body.cache_age_ms, plain.headers.get('x-kms-cache-age')], [undefined, null]);
  const near = await verify(theirs, signature);
  assert.equal(near.body.ok, true);
  assert.ok(near.body.cache_age_ms < 60_000 && near.body.stale === undefined);
  assert.equal(near.headers.get('x-kms-cache-age'), String(near.body.cache_age_ms));

  contact.set(false, 59_000 - 20_000);
  const away = await verify(theirs, signature);
  assert.equal(away.body.ok, true);
  assert.ok(away.body.cache_age_ms >= 39_000 && away.body.stale === undefined, JSON.stringify(away.body));
  assert.equal((await verify(theirs, own)).body.ok, false);

  contact.set(false, 60_001);
  const late = await verify(theirs, signature);
  assert.deepEqual([late.status, late.body.ok, late.body.stale], [200, true, true]);
  const batch = await ask('POST', '/verify/batch', {
    items: [
      { payload_b3: helloWorldB3, sigs: [{ kid: ours, signature_b64: own }] },
      { payload_b3: helloWorldB3, sigs: [{ kid: theirs, signature_b64: signature }] },
    ],
  });
  assert.deepEqual(
    batch.body.results.map(({ stale }: { stale?: true }) => stale),
    [undefined, true],
  );
  assert.equal(batch.headers.get('x-kms-cache-age'), String(batch.body.results[1].cache_age_ms));
  assert.equal(await metric('kms_verify_cache_hits_total{backend="vault",stale="false"}'), '2');
  assert.equal(await metric('kms_verify_cache_hits_total{backend="vault",stale="true"}'), '2');
  assert.ok(Number(await metric('verify_cache_age_ms{backend="vault"}')) > 60_000);
});

test('KMS_VERIFY_STALE=refuse answers 503 from the limit on, KMS_BACKENDS_REQUIRED=true is not ready meanwhile', async (t) => {
  const { contact, makeKey, verify, signatureOf, ready } = await setUp(t, {
    KMS_VERIFY_CACHE_TTL_MS: '60000',
    KMS_VERIFY_STALE: 'refuse',
    KMS_BACKENDS_REQUIRED: 'true',
  });
  const kid = await makeKey({ backend: 'vault' });
  const signature = await signatureOf(kid);
  contact.set(false, 30_000);
  assert.equal((await verify(kid, signature)).body.ok, true);
  assert.deepEqual((await ready()).missing, ['backend_vault']);
  contact.set(false, 60_001);
  const refused = await verify(kid, signature);
  assert.deepEqual([refused.status, refused.body.error.code], [503, 'StoreUnavailable']);
  contact.set(true);
  assert.equal((await verify(kid, signature)).status, 200);
});

test('another backend of the same attestation class signs where the key allows it, and the answer says which', async (t) => {
  const { contact, makeKey, sign, verify, ask, metric } = await setUp(t, {}, true);
  const free = await makeKey({ backend: 'vault', allow_sign_fallback: true });
  const bound = await makeKey({ backend: 'vault' });
  const read = await ask('GET', `/keys/${encodeURIComponent(free)}`);
  assert.equal(read.body.policy.allow_sign_fallback, true);
  assert.equal((await sign(free)).body.sigs[0].backend, undefined);
  contact.set(false);
  assert.equal((await sign(bound)).status, 503);
  const signed = await sign(free);
  assert.equal(signed.status, 200, JSON.stringify(signed.body));
  assert.deepEqual([signed.body.kid, signed.body.sigs[0].backend], [free, 'twin']);
  assert.equal((await verify(free, signed.body.sigs[0].signature_b64)).body.ok, true);
  assert.equal(await metric('kms_sign_fallbacks_total{backend="vault",by="twin"}'), '1');
});

test('evidence beside a signature is of the backend that signed, also where it signs for another', async (t) => {
  const { service, contact, makeKey, sign } = await setUp(t, {}, true);
  const policy = { backend: 'vault', allow_sign_fallback: true, attest: true };
  const kid = await makeKey(policy);
  const backendsOf = async () => {
    const { status, body } = await sign(kid);
    assert.equal(status, 200, JSON.stringify(body));
    const claims = JSON.parse(Buffer.from(body.attestation[0].evidence.payload, 'base64url').toString());
    const digest = createHash('sha256').update(body.attestation[0].evidence.payload, 'base64url');
    const { text } = await callForBytes(service, service.token, 'GET', '/v1/kms/audit/records?limit=1000');
    assert.ok(text.includes(digest.digest('hex')), 'the record of the use names it');
    return [body.sigs[0].backend ?? 'vault', claims.intaglio_key.backend];
  };
  assert.deepEqual(await backendsOf(), ['vault', 'vault']);
  contact.set(false);
  assert.deepEqual(await backendsOf(), ['twin', 'twin']);
  contact.set(true);
  assert.deepEqual(await backendsOf(), ['vault', 'vault']);
});

test('a backend that does not have the very same key stands in for none', async (t) => {
  const contact = new MemoryContact();
  const vault = new MemoryHome('vault', { contact });
  const stranger = new MemoryHome('stranger', { contact: new MemoryContact() });
  const service = await startInProcess({ homes: [vault, stranger] });
  t.after(() => service.stop());
  const ask = (path: string, body: unknown) => call(service, service.token, 'POST', `/v1/kms${path}`, body);
  const policy = { backend: 'vault', allow_sign_fallback: true };
  const { kid } = (await ask('/keys', { purpose: 'p', alg: 'ed25519', policy })).body;
  contact.set(false);
  const sign = async () => (await ask('/sign', { kid, payload_b3: helloWorldB3 })).status;
  assert.equal(await sign(), 503);
  // One of the same name but with another secret: its signature is thrown away.
  stranger.takeOtherKeysOf(vault);
  assert.equal(await sign(), 503);
  assert.ok(stranger.carried.length >= 2);
});
