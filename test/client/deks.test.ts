import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import {
  DekClient,
  type DekProvider,
  decryptFields,
  encryptFields,
  FieldError,
  KmsError,
  UnreachableError,
} from '../../src/client/index.ts';
import { UnixListener } from '../../src/http/listeners/unix.ts';
import { EmbeddedDeks } from '../../src/index.ts';
import { testEngineOptions } from '../support/engines.ts';
import { startInProcess } from '../support/in-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const modes: Readonly<Record<string, (t: TestContext) => Promise<DekProvider>>> = {
  async external(t) {
    const path = join(temporaryDirectory(t), 'run', 'dek.sock');
    const service = await startInProcess({
      env: { KMS_DEK: 'true' },
      listen: true,
      makeListener: (limits) => new UnixListener({ ...limits, path, mode: 0o600, allowedUids: 'any' }),
    });
    t.after(() => service.stop());
    const scopes = 'kms:create,kms:read,kms:wrap,kms:unwrap,kms:encrypt,kms:decrypt,kms:rotate,kms:destroy';
    const client = new DekClient({ url: `unix:${path}`, token: await service.mint('dek', scopes) });
    t.after(() => client.close());
    return client;
  },
  async embedded(t) {
    const kms = await EmbeddedDeks.open({
      directory: temporaryDirectory(t),
      // The pages are the process's.
      settings: { key_cache_bytes: testEngineOptions.keyCacheBytes },
    });
    t.after(() => kms.close());
    return kms;
  },
};

for (const [mode, open] of Object.entries(modes))
  test(`${mode}: data encryption keys by the same calls`, async (t) => {
    const kms = await open(t);
    assert.equal(await kms.healthy(), true);
    const { keyId, kekVersion } = await kms.createDekForThread('thread-1');
    assert.equal(kekVersion, 1);
    const [plaintext, aad] = [randomBytes(1024), Buffer.from('aad')];
    const ciphertext = await kms.encrypt(keyId, plaintext, aad);
    assert.deepEqual(Buffer.from(await kms.decrypt(keyId, ciphertext, aad)), plaintext);
    await assert.rejects(kms.decrypt(keyId, ciphertext), { code: 'BadRequest' });
    await kms.createDek('k1');
    await assert.rejects(kms.createDek('k1'), { code: 'Conflict' });
    await assert.rejects(kms.getWrapped('k2'), { code: 'NotFound' });
    assert.equal((await kms.rotateKek()).rewrapped, 2);
    assert.equal((await kms.getWrapped('k1')).kekVersion, 2);
    assert.deepEqual(Buffer.from(await kms.decrypt(keyId, ciphertext, aad)), plaintext);

    const own = await kms.wrap(plaintext, aad);
    assert.equal(own.kekVersion, 2);
    assert.deepEqual(Buffer.from(await kms.unwrap(own.wrapped, aad)), plaintext);
    await assert.rejects(kms.unwrap(own.wrapped), { code: 'BadRequest' });
    assert.equal((await kms.rotateDek(keyId)).keyVersion, 2);
    assert.deepEqual(Buffer.from(await kms.decrypt(keyId, ciphertext, aad)), plaintext);

    const document = { name: 'Ada', contact: { email: 'ada@example.com', age: 36 }, tags: ['a'] };
    const paths = ['contact.email', 'tags', 'absent.field'];
    const hidden = await encryptFields(kms, 'k1', document, paths);
    assert.ok(!JSON.stringify(hidden).includes('ada@'));
    assert.equal(hidden.name, 'Ada');
    assert.deepEqual(await decryptFields(kms, 'k1', hidden, paths), document);
    // A field's ciphertext in another field's place, plaintext in a ciphertext's, one that is encrypted twice.
    const moved = { ...hidden, tags: (hidden.contact as { email: unknown }).email };
    await assert.rejects(decryptFields(kms, 'k1', moved, paths), FieldError);
    await assert.rejects(decryptFields(kms, 'k1', document, paths), /is not encrypted/);
    await assert.rejects(encryptFields(kms, 'k1', hidden, paths), /encrypted already/);
    await assert.rejects(encryptFields(kms, 'unknown', document, paths), FieldError);

    await kms.destroyDek(keyId);
    await assert.rejects(kms.decrypt(keyId, ciphertext, aad), { code: 'Conflict' });
  });

test('external: a deadline ends a call, and what is not there is told', async (t) => {
  const silent = createServer(() => {}).listen(0, '127.0.0.1');
  t.after(() => silent.closeAllConnections());
  t.after(() => silent.close());
  await new Promise((resolve) => silent.once('listening', resolve));
  const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const client = new DekClient({ url, deadlineMs: 50 });
  t.after(() => client.close());
  await assert.rejects(client.encrypt('k', Buffer.from('x')), UnreachableError);
  assert.equal(await client.healthy(), false);
  const nobody = new DekClient({ url: `unix:${join(temporaryDirectory(t), 'no.sock')}` });
  t.after(() => nobody.close());
  assert.equal(await nobody.healthy(), false);
  await assert.rejects(nobody.createDek(), UnreachableError);
  assert.throws(() => new DekClient({ url, deadlineMs: 0 }), TypeError);
  // A path alone, and none at all.
  for (const wrong of ['/run/dek.sock', undefined as unknown as string])
    assert.throws(() => new DekClient({ url: wrong }), /^TypeError: url: http:.* or unix:\/path$/);
  assert.ok(KmsError.prototype instanceof Error);
});

test('embedded: no directory, and a tenant, are refused before anything is made', async () => {
  const open = (options: unknown) => EmbeddedDeks.open(options as { directory: string });
  await assert.rejects(open({}), /directory is a path/);
  await assert.rejects(open(undefined), /directory is a path/);
  await assert.rejects(open({ directory: '/nowhere', tenant: 'acme' }), /DEKs are of no tenant/);
});

test('a field says why it could not be decrypted, and nothing of what was in it', async () => {
  const provider = { decrypt: async () => Buffer.from('secret text') };
  const document = { a: { _enc: 'gcm', v: '' } };
  const refused = await decryptFields(provider, 'k1', document, ['a']).catch((error) => error);
  assert.ok(refused instanceof FieldError);
  assert.equal(refused.field, 'a');
  assert.doesNotMatch(`${refused.message} ${refused.cause}`, /secret/);
  const away = { decrypt: () => Promise.reject(new UnreachableError('ENOENT', 'no answer: ENOENT')) };
  await assert.rejects(
    decryptFields(away, 'k1', document, ['a']),
    /^FieldError: a: could not be decrypted: .*ENOENT/,
  );
});

test('a path that leads through a list or a plain value is refused: nothing stays in the clear unseen', async () => {
  const provider = { encrypt: async (_id: string, plaintext: Uint8Array) => plaintext };
  const document = { contacts: [{ email: 'a@b' }], name: 'x' };
  for (const path of ['contacts.email', 'contacts.0.email.host', 'name.first', 'contacts.length'])
    await assert.rejects(encryptFields(provider, 'k1', document, [path]), /leads through/, path);
  const made = await encryptFields(provider, 'k1', document, ['contacts.0.email', 'contacts.7.email']);
  assert.equal((made as { contacts: { email: { _enc: string } }[] }).contacts[0]?.email._enc, 'gcm');
});
