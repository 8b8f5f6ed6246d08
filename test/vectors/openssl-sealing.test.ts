import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  randomBytes,
} from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { type BatchItem, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { type KeyTypeName, keyTypes, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { keySchedule } from '../../src/engine/openssl/hpke-labels.ts';
import { aad, runBatch, tenant } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';

// OPENSSL names another command than the one of the path; `npm run openssl:interop` makes one of OpenSSL 3.5, which has ML-KEM.
const command = process.env.OPENSSL ?? 'openssl';
const skip = spawnSync(command, ['version']).status !== 0 && 'there is no openssl command';
const hasMlKem = /ML-KEM-768/.test(
  spawnSync(command, ['list', '-kem-algorithms'], { encoding: 'utf8' }).stdout ?? '',
);

const directory = mkdtempSync(join(tmpdir(), 'intaglio-openssl-'));
after(() => rmSync(directory, { recursive: true }));
const path = (name: string) => join(directory, name);
const file = (name: string, bytes: Uint8Array) => {
  writeFileSync(path(name), bytes);
  return path(name);
};
function openssl(...args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  assert.equal(status, 0, `openssl ${args.join(' ')}: ${stderr}`);
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const none = new Uint8Array(0);
const info = new Uint8Array(Buffer.from('ron-kms::acme::web::wrap::0196c1d2-7a3b-7c4d-8e5f-0123456789ab#v1'));

for (const { name, create } of availableEngines()) {
  const engine = create();
  const root = engine.openRoot({ kind: 'memory' });
  const run = (item: Omit<BatchItem, 'keyNumber'>) => {
    const [result] = runBatch(engine, root, [{ keyNumber: 0, ...item }]);
    assert.equal(result?.status, batchStatuses.ok);
    return (result?.outputs ?? []).map((output) => Buffer.from(output));
  };
  const known = (alg: KeyTypeName, secret: Uint8Array) => {
    const key = engine.importKey(root, keyTypes[alg], tenant, aad, Uint8Array.from(secret));
    return { ...key, reference: buildKeyReference(tenant, aad, key.sealed) };
  };

  test(`${name}: openssl's command unwraps AES-KWP of ours, and we its own`, { skip }, () => {
    const secret = randomBytes(32);
    const { reference: key } = known('aes-256-kwp', secret);
    const scheme = schemes['aes-256-kwp'];
    const options = ['enc', '-id-aes256-wrap-pad', '-K', hex(secret), '-iv', 'a65959a6'];
    for (const bytes of [1, 8, 20, 32, 1_190]) {
      const plaintext = randomBytes(bytes);
      const [ours] = run({ op: batchOps.wrap, scheme, key, inputs: [plaintext, info, none] });
      openssl(...options, '-d', '-in', file('wrapped', ours as Buffer), '-out', path('unwrapped'));
      assert.deepEqual(readFileSync(path('unwrapped')), plaintext);
      openssl(...options, '-in', file('plaintext', plaintext), '-out', path('wrapped'));
      const inputs = [readFileSync(path('wrapped')), info, none];
      assert.deepEqual(run({ op: batchOps.unwrap, scheme, key, inputs }), [plaintext]);
    }
  });

  // The command has no mode of AES-GCM: it has its two halves, CTR from block 2 on, and GMAC.
  test(`${name}: openssl's command decrypts AES-256-GCM of ours by CTR, and computes its tag over an aad by GMAC`, {
    skip,
  }, () => {
    const secret = randomBytes(32);
    const { reference: key } = known('aes-256-gcm', secret);
    const encrypt = (...inputs: Uint8Array[]) =>
      run({ op: batchOps.encrypt, scheme: schemes['aes-256-gcm'], key, inputs }) as [Buffer, Buffer];
    const plaintext = randomBytes(1_024);
    const [nonce, ciphertext] = encrypt(plaintext, none);
    const options = ['enc', '-d', '-aes-256-ctr', '-K', hex(secret), '-iv', `${hex(nonce)}00000002`];
    openssl(...options, '-in', file('ciphertext', ciphertext.subarray(0, -16)), '-out', path('decrypted'));
    assert.deepEqual(readFileSync(path('decrypted')), plaintext);

    const data = randomBytes(100);
    const [iv, tag] = encrypt(none, data);
    const of = ['-cipher', 'AES-256-GCM', '-macopt', `hexkey:${hex(secret)}`, '-macopt', `hexiv:${hex(iv)}`];
    openssl('mac', ...of, '-binary', '-in', file('aad', data), '-out', path('tag'), 'GMAC');
    assert.deepEqual(readFileSync(path('tag')), tag);
  });

  if (!hasMlKem) continue;
  for (const [alg, kemId, encBytes] of [
    ['ml-kem-768', 0x0041, 1_088],
    ['ml-kem-1024', 0x0042, 1_568],
  ] as const) {
    test(`${name}: ${alg} encapsulates and decapsulates with openssl's command`, () => {
      const seed = randomBytes(64);
      const { reference, publicKey } = known(alg, seed);
      const scheme = schemes[alg];
      const spki = createPublicKey({
        key: Buffer.from(publicKey),
        format: 'raw-public',
        asymmetricKeyType: alg,
      });
      const own = createPrivateKey({ key: seed, format: 'raw-seed', asymmetricKeyType: alg });
      const der = { format: 'der' } as const;
      const publicFile = file('public.der', spki.export({ ...der, type: 'spki' }));
      const privateFile = file('private.der', own.export({ ...der, type: 'pkcs8' }));
      const plaintext = randomBytes(32);

      const to = ['-out', path('enc'), '-secret', path('shared')];
      openssl('pkeyutl', '-encap', '-pubin', '-keyform', 'DER', '-inkey', publicFile, ...to);
      const sealing = keySchedule(kemId, readFileSync(path('shared')), info);
      const cipher = createCipheriv('aes-256-gcm', sealing.key, sealing.nonce);
      const sealed = [cipher.update(plaintext), cipher.final(), cipher.getAuthTag()];
      const theirs = Buffer.concat([readFileSync(path('enc')), ...sealed]);
      const unwrap = { op: batchOps.unwrap, scheme, key: reference, inputs: [theirs, info, none] };
      assert.deepEqual(run(unwrap), [plaintext]);

      const wrap = { op: batchOps.wrap, scheme, key: publicKey, inputs: [plaintext, info, none] };
      const [ours] = run(wrap) as [Buffer];
      const enc = file('enc', ours.subarray(0, encBytes));
      const from = ['-in', enc, '-secret', path('shared')];
      openssl('pkeyutl', '-decap', '-keyform', 'DER', '-inkey', privateFile, ...from);
      const opening = keySchedule(kemId, readFileSync(path('shared')), info);
      const decipher = createDecipheriv('aes-256-gcm', opening.key, opening.nonce);
      decipher.setAuthTag(ours.subarray(-16));
      const opened = [decipher.update(ours.subarray(encBytes, -16)), decipher.final()];
      assert.deepEqual(Buffer.concat(opened), plaintext);
    });
  }
}
