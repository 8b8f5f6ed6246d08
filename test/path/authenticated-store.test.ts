import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign as signWith } from 'node:crypto';
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { versionKey } from '../../src/keys/codec.ts';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, type InProcessService, temporaryDirectory } from '../support/service.ts';
import { acceptTampered, storeRefusal, withStore } from '../support/tampered-store.ts';

const fixture = join(import.meta.dirname, '..', 'fixtures', 'unauthenticated-store');

interface Signed {
  readonly kid: string;
  readonly sigs: readonly { readonly kid: string; readonly alg: string; readonly signature_b64: string }[];
}
const expected: { keys: Record<string, { signed: Signed; destroyed?: true }> } = JSON.parse(
  readFileSync(join(fixture, 'expected.json'), 'utf8'),
);

/** A data directory as the version before wrote it. */
function oldDataDirectory(): string {
  const dataDir = temporaryDirectory();
  cpSync(join(fixture, 'data'), dataDir, { recursive: true });
  chmodSync(dataDir, 0o700);
  for (const entry of readdirSync(dataDir, { recursive: true, withFileTypes: true })) {
    chmodSync(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o700 : 0o600);
  }
  return dataDir;
}

const idOf = (kid: string) => kid.slice(0, kid.indexOf('#'));
const verify = (service: InProcessService, sigs: unknown) =>
  call(service, service.token, 'POST', '/v1/kms/verify', { payload_b3: helloWorldB3, sigs });
const sign = (service: InProcessService, kid: string) =>
  call(service, service.token, 'POST', '/v1/kms/sign', { kid: idOf(kid), payload_b3: helloWorldB3 });
const digestOf = (publicKeyB64: string) =>
  createHash('sha256').update(Buffer.from(publicKeyB64, 'base64')).digest('hex');

// biome-ignore lint/suspicious/noExplicitAny: records of several types.
async function recordsOf(service: InProcessService, type: string): Promise<any[]> {
  const { status, body } = await call(service, service.token, 'GET', '/v1/kms/audit/records?limit=1000');
  assert.equal(status, 200);
  return body.records
    .map((each: { record: unknown }) => each.record)
    .filter((r: { type?: string }) => r.type === type);
}

/** An Ed25519 key of somebody else, and a version record in the old form that claims it for this version. */
function forgery(id: string, version: number) {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const pub = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('base64');
  const parts = [{ pub, sealed: 'AAAA' }];
  const record = { v: 1, id, version, state: 'active', created: 1_735_689_600_000, parts };
  const signature_b64 = signWith(null, Buffer.from(helloWorldB3, 'hex'), privateKey).toString('base64');
  return {
    pub,
    record: Buffer.from(JSON.stringify(record)),
    sig: { kid: `${id}#v${version}`, signature_b64 },
  };
}

const plainEcdsa = Object.keys(expected.keys).find((kid) => kid.includes('/plain/ecdsa-p256/'))!;
const plainEd25519 = Object.keys(expected.keys).find((kid) => kid.includes('/plain/ed25519/'))!;

test('a store of the version before is taken as it is, once, and the log says with which public keys', async () => {
  const dataDir = oldDataDirectory();
  const service = await startInProcess({ dataDir });
  for (const [kid, { signed, destroyed }] of Object.entries(expected.keys)) {
    const verified = await verify(service, signed.sigs);
    assert.equal(verified.status, 200, kid);
    assert.equal(verified.body.ok, destroyed === undefined, `${kid}: ${JSON.stringify(verified.body)}`);
    assert.equal((await sign(service, kid)).status, destroyed ? 409 : 200, kid);
  }
  const ids = new Set(Object.keys(expected.keys).map(idOf));
  let found = await recordsOf(service, 'key.found');
  for (let waited = 0; found.length < ids.size; waited++) {
    assert.ok(waited < 600, 'the keys that were taken are not on the log');
    await new Promise((resolve) => setTimeout(resolve, 50));
    found = await recordsOf(service, 'key.found');
  }
  assert.deepEqual(new Set(found.map(({ key_id }) => key_id)), ids);
  for (const { key_id, key_version, data } of found) {
    const { body } = await call(service, service.token, 'GET', `/v1/kms/keys/${encodeURIComponent(key_id)}`);
    const newest = body.versions.find((each: { version: number }) => each.version === key_version);
    assert.equal(data.public_key_sha256, digestOf(newest.public.pubkey_b64));
    assert.equal(data.versions, key_id.includes('/rotated/') ? 3 : 1);
  }
  assert.equal((await recordsOf(service, 'store.sealed')).length, 1, 'it had no head until now');
  // What changes from here on is as in a new store.
  const rotated = await call(
    service,
    service.token,
    'POST',
    `/v1/kms/keys/${encodeURIComponent(idOf(plainEd25519))}/rotate`,
    {},
  );
  assert.equal(rotated.status, 200);
  const [record] = await recordsOf(service, 'key.rotate').then((all) => all.slice(-1));
  assert.equal(record.data.public_key_sha256, digestOf(rotated.body.public.pubkey_b64));
  assert.equal(await service.stop(), 0);

  const again = await startInProcess({ dataDir });
  assert.equal(again.log.filter((line) => line.includes('taken as they are')).length, 0);
  assert.equal((await call(again, undefined, 'GET', '/readyz')).status, 200);
  assert.equal((await verify(again, expected.keys[plainEd25519]?.signed.sigs)).body.ok, true);
  assert.equal((await sign(again, plainEd25519)).status, 200);
  assert.equal((await recordsOf(again, 'key.found')).length, ids.size);
  assert.equal(await again.stop(), 0);
});

test('a private key that belongs to another public key is not taken: that version is refused, all others serve', async () => {
  const dataDir = oldDataDirectory();
  const storeKey = versionKey(idOf(plainEd25519), 1);
  const forged = forgery(idOf(plainEd25519), 1);
  await withStore(dataDir, async (store) => {
    const entry = await store.get(storeKey);
    assert.ok(entry.ok && entry.value !== undefined);
    const record = JSON.parse(Buffer.from(entry.value.value).toString());
    record.parts[0].pub = forged.pub;
    await store.commit([{ key: storeKey, value: Buffer.from(JSON.stringify(record)) }]);
  });
  const service = await startInProcess({ dataDir });
  await service.logged((line) => line.includes('not of one piece') && line.includes(storeKey));
  assert.notEqual((await verify(service, [forged.sig])).body.ok, true);
  assert.equal((await sign(service, plainEd25519)).status, 500);
  assert.equal((await sign(service, plainEcdsa)).status, 200);
  assert.equal(await service.stop(), 0);
});

test('whoever can write the store cannot make a signature of theirs verify', async () => {
  const dataDir = oldDataDirectory();
  const first = await startInProcess({ dataDir });
  assert.equal(await first.stop(), 0);

  // A private key that does not open cannot contradict the public one.
  const forged = forgery(idOf(plainEd25519), 1);
  const storeKey = versionKey(idOf(plainEd25519), 1);
  await withStore(dataDir, (store) => store.commit([{ key: storeKey, value: forged.record }]));
  assert.ok((await acceptTampered({ dataDir })).includes(storeKey));
  const second = await startInProcess({ dataDir });
  const answer = await verify(second, [forged.sig]);
  assert.notEqual(answer.body.ok, true);
  await second.logged((line) => line.includes('not authentic') && line.includes(storeKey));
  assert.equal((await verify(second, expected.keys[plainEcdsa]?.signed.sigs)).body.ok, true);
  assert.equal(await second.stop(), 0);

  // Nor does the store become an old one again, which would be taken as it is.
  await withStore(dataDir, (store) => store.commit([{ key: 'meta/authenticated', value: undefined }]));
  await acceptTampered({ dataDir });
  await assert.rejects(
    startInProcess({ dataDir }),
    /StartError: the store says no longer that its records are authenticated/,
  );
  await withStore(dataDir, (store) =>
    store.commit([{ key: 'meta/authenticated', value: Buffer.from('\x02forged') }]),
  );
  await acceptTampered({ dataDir });
  await assert.rejects(
    startInProcess({ dataDir }),
    /StartError: meta\/authenticated in the store is not authentic/,
  );
});

test('the record of a new key carries the digest of its public key, hybrid ones of both', async () => {
  const service = await startInProcess();
  for (const alg of ['ed25519', 'ed25519+ml-dsa-65']) {
    const made = await call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'test', alg });
    const record = (await recordsOf(service, 'key.create')).at(-1);
    assert.equal(record.key_id, idOf(made.body.kid));
    assert.equal(record.data.public_key_sha256, digestOf(made.body.public.pubkey_b64));
  }
  assert.ok(existsSync(join(service.dataDir, 'store.authenticated')));
  assert.equal(await service.stop(), 0);

  // A store that is gone is an older one: that of before the first key.
  rmSync(join(service.dataDir, 'store'), { recursive: true });
  assert.match(await storeRefusal({ dataDir: service.dataDir }), /the head over its records is gone/);
});
