import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test, { type TestContext } from 'node:test';
import { loadCryptoki } from '../../src/custody/pkcs11/cryptoki.ts';
import { attributes as a, mechanisms as m } from '../../src/custody/pkcs11/numbers.ts';
import { createRootWrapping, type WrappingToken } from '../../src/custody/pkcs11/root-wrapping.ts';
import { createSoftHsm, noSoftHsm, openSession } from '../support/softhsm.ts';

const pin = Buffer.from('123456');
const flags = (types: readonly number[], value: boolean) => types.map((type) => ({ type, value }));

/** A token with an AES key `wrapper` and an RSA pair `officer`, as an operator makes them. */
async function tokenWithKeys(t: TestContext) {
  const softHsm = createSoftHsm();
  t.after(() => softHsm.remove());
  const { module } = softHsm.settings(softHsm.makeToken('root'));
  const { cryptoki, session, close } = await openSession('root');
  const own = [
    ...flags([a.token, a.private, a.sensitive, a.decrypt], true),
    ...flags([a.extractable], false),
    { type: a.id, value: Buffer.from('cafe', 'hex') },
  ];
  await cryptoki.C_GenerateKeyAsync(session, { mechanism: m.aesKeyGen, parameter: null }, [
    ...[...own, { type: a.encrypt, value: true }, { type: a.valueLen, value: 32 }],
    { type: a.label, value: 'wrapper' },
  ]);
  const rsa = [
    { type: a.modulusBits, value: 2_048 },
    { type: a.publicExponent, value: Buffer.from('010001', 'hex') },
    { type: a.label, value: 'officer' },
    ...flags([a.token, a.encrypt], true),
  ];
  const mechanism = { mechanism: m.rsaKeyPairGen, parameter: null };
  const label = { type: a.label, value: 'officer' };
  await cryptoki.C_GenerateKeyPairAsync(session, mechanism, rsa, [...own, label]);
  close();
  const wrapping = createRootWrapping((await loadCryptoki())!);
  const where = (key: WrappingToken['key'], by: WrappingToken['mechanism']): WrappingToken => ({
    ...{ module, token: { label: 'root' }, key, mechanism: by },
  });
  return { wrapping, where };
}

test('the root key is wrapped by an AES key or an RSA key of a token, and comes back', {
  skip: noSoftHsm,
}, async (t) => {
  const { wrapping, where } = await tokenWithKeys(t);
  const secret = randomBytes(32);
  for (const place of [
    where({ label: 'wrapper' }, 'aes-gcm'),
    where({ idHex: 'cafe' }, 'aes-gcm'),
    where({ label: 'officer' }, 'rsa-oaep'),
  ]) {
    const wrapped = await wrapping.wrap(place, pin, secret);
    assert.ok(!Buffer.from(wrapped, 'base64').includes(secret));
    assert.deepEqual(await wrapping.unwrap({ ...place, wrapped }, pin), secret);
    const spoilt = Buffer.from(wrapped, 'base64');
    spoilt[spoilt.length - 1]! ^= 1;
    const other = { ...place, wrapped: spoilt.toString('base64') };
    await assert.rejects(wrapping.unwrap(other, pin));
  }
});

test('a PIN, a key, a token or a module that is not the right one is named', {
  skip: noSoftHsm,
}, async (t) => {
  const { wrapping, where } = await tokenWithKeys(t);
  const place = where({ label: 'wrapper' }, 'aes-gcm');
  const secret = randomBytes(32);
  await assert.rejects(wrapping.wrap(place, Buffer.from('999999'), secret), /CKR_PIN_INCORRECT/);
  await assert.rejects(wrapping.wrap(where({ label: 'other' }, 'aes-gcm'), pin, secret), /no such key/);
  await assert.rejects(
    wrapping.wrap({ ...place, token: { label: 'x' } }, pin, secret),
    /no token with label x/,
  );
  const fresh = createRootWrapping((await loadCryptoki())!);
  await assert.rejects(fresh.wrap({ ...place, module: '/nowhere.so' }, pin, secret), /cannot be loaded/);
});
