import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { base64, flippedBit, type SealingClient, sealingClient } from '../support/sealing-client.ts';

/** Of few possible values, as a PIN is: any digest of it without a secret tells it. */
const secret = Buffer.from('PIN 4711 of the vault');
const plaintext_b64 = base64(secret);
const aad_b64 = base64('kanarienvogel-aad');

/** All forms in which it could be found. */
function formsOf(bytes: Buffer): Buffer[] {
  const digests = ['sha256', 'sha384', 'sha512', 'sha1', 'md5'].map((name) =>
    createHash(name).update(bytes).digest(),
  );
  return [bytes, ...digests].flatMap((form) => [
    form,
    ...['hex', 'base64', 'base64url'].map((encoding) =>
      Buffer.from(form.toString(encoding as BufferEncoding).replace(/=+$/, '')),
    ),
  ]);
}

function filesUnder(directory: string): { path: string; bytes: Buffer }[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path, bytes: readFileSync(path) }));
}

/** Everything that takes or gives a plaintext, and everything that can go wrong with it. */
async function useAll(client: SealingClient): Promise<{ refusals: string[]; keys: Buffer[] }> {
  const refusals: string[] = [];
  const keys: Buffer[] = [];
  const fails = async (path: string, body: object) => {
    const { status, body: answer } = await client.post(path, body);
    assert.ok(status >= 400, `${path}: ${status}`);
    refusals.push(JSON.stringify(answer));
  };
  for (const alg of ['xaes-256-gcm', 'aes-256-gcm', 'chacha20-poly1305']) {
    const kid = await client.create(alg);
    const made = { ...(await client.good('/encrypt', { kid, plaintext_b64, aad_b64 })), aad_b64 };
    await client.good('/decrypt', made);
    await client.good('/encrypt/batch', { items: [{ kid, plaintext_b64, aad_b64 }] });
    await client.good('/decrypt/batch', { items: [made, { ...made, aad_b64: plaintext_b64 }] });
    await client.rotate(kid);
    await client.good('/rewrap', made);
    await fails('/encrypt', { kid, plaintext_b64, aad_b64 });
    await fails('/decrypt', { ...made, ciphertext_b64: flippedBit(made.ciphertext_b64, 1) });
    await fails('/encrypt', { kid, plaintext_b64, [plaintext_b64]: plaintext_b64 });
    await fails('/encrypt', { kid: plaintext_b64, plaintext_b64 });
    await fails('/encrypt', { kid, plaintext_b64: `${plaintext_b64}!` });
  }
  for (const alg of ['x25519+ml-kem-768', 'aes-256-gcm', 'aes-256-kwp']) {
    const kid = await client.create(alg);
    const wrapped = await client.good('/wrap', { kid, plaintext_b64 });
    await client.good('/unwrap', wrapped);
    const told = await client.good('/datakey', { kid, size: 32, plaintext: true });
    keys.push(Buffer.from(told.plaintext_b64, 'base64'));
    await client.rotate(kid);
    await client.good('/rewrap', wrapped);
    await fails('/wrap', { kid, plaintext_b64 });
    await fails('/unwrap', { ...wrapped, wrapped_b64: flippedBit(wrapped.wrapped_b64, 1) });
  }
  const { random_b64 } = await client.good('/random', { size: 32 });
  keys.push(Buffer.from(random_b64, 'base64'));
  return { refusals, keys };
}

for (const mode of ['hmac', 'commit', 'plain']) {
  test(`no plaintext and no digest of one is in a log, a record, a file or an error; inputs are recorded by ${mode}`, {
    timeout: 120_000,
  }, async () => {
    const service = await startInProcess({ env: { KMS_AUDIT_INPUT_HASH: mode, KMS_LOG_LEVEL: 'debug' } });
    const client = sealingClient(service);
    const { refusals, keys } = await useAll(client);
    const { body } = await client.get('/audit/records?limit=1000');
    const records: { record: { purpose: string; input_hash: string } }[] = body.records;
    await service.stop();

    const files = filesUnder(service.dataDir).filter(({ path }) => !path.endsWith('.token'));
    assert.ok(files.some(({ path }) => path.endsWith('data.mdb')));
    const places = [
      { path: 'log', bytes: Buffer.from(service.log.join('\n')) },
      { path: 'records', bytes: Buffer.from(JSON.stringify(records)) },
      { path: 'refusals', bytes: Buffer.from(refusals.join('\n')) },
      ...files,
    ];
    const forms = [secret, ...keys].flatMap(formsOf);
    for (const { path, bytes } of places) {
      for (const form of forms) assert.ok(!bytes.includes(form), `${path} has ${form.toString('latin1')}`);
    }

    for (const { record } of records) {
      const { purpose, input_hash } = record;
      if (['encrypt', 'encrypt_batch', 'wrap', 'datakey'].includes(purpose))
        assert.equal(input_hash, 'none', purpose);
    }
    const opened = records.filter(({ record }) => ['decrypt', 'unwrap'].includes(record.purpose));
    assert.ok(opened.length >= 6);
    for (const { record } of opened)
      assert.notEqual(record.input_hash, 'none', 'what came is recorded, by a digest');
  });
}

test('a decryption, an unwrap and a rewrap that did not open are recorded as invalid', {
  timeout: 60_000,
}, async () => {
  const service = await startInProcess();
  const client = sealingClient(service);
  const kid = await client.create('aes-256-gcm');
  const encrypted = await client.good('/encrypt', { kid, plaintext_b64 });
  const wrapped = await client.good('/wrap', { kid, plaintext_b64 });
  for (const [path, body] of [
    ['/decrypt', encrypted],
    ['/unwrap', wrapped],
    ['/rewrap', wrapped],
    ['/rewrap', encrypted],
  ] as const) {
    await client.good(path, body);
    assert.equal((await client.post(path, { ...body, aad_b64 })).status, 400);
  }
  const { body } = await client.get('/audit/records?limit=1000');
  const results = body.records
    .map(
      ({ record }: { record: { purpose: string; result: string } }) => `${record.purpose} ${record.result}`,
    )
    .filter((result: string) => /^(decrypt|unwrap|rewrap) /.test(result));
  assert.deepEqual(results, [
    ...['decrypt ok', 'decrypt invalid', 'unwrap ok', 'unwrap invalid'],
    ...['rewrap ok', 'rewrap invalid', 'rewrap ok', 'rewrap invalid'],
  ]);
  await service.stop();
});
