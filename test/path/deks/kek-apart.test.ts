import assert from 'node:assert/strict';
import test from 'node:test';
import { startInProcess } from '../../support/in-process.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';

test('the KEK is no key of the canonical calls: they neither open a DEK, nor rotate or destroy it', async (t) => {
  const service = await startInProcess({ dataDir: temporaryDirectory(t), env: { KMS_DEK: 'true' } });
  t.after(() => service.stop());
  const token = await service.mint(
    'dek',
    'kms:create,kms:read,kms:wrap,kms:unwrap,kms:encrypt,kms:decrypt,kms:rotate,kms:destroy',
  );
  const ask = async (path: string, body: unknown) => {
    const { status, text } = await service.send({ method: 'POST', path, token, body: JSON.stringify(body) });
    return { status, body: JSON.parse(text) };
  };
  const made = (await ask('/deks', { key_id: 'k1' })).body;
  const kid = `${made.kek_id}#v1`;
  const ciphertext = Buffer.from(made.wrapped, 'base64').subarray(5).toString('base64');
  const aads = ['intaglio::dek::2::k1::v1', 'intaglio::dek::k1::v1'];
  const b64 = (text: string) => Buffer.from(text).toString('base64');
  for (const [path, body] of [
    ...aads.map((aad) => ['unwrap', { kid, wrapped_b64: ciphertext, aad_b64: b64(aad) }] as const),
    ['wrap', { kid, plaintext_b64: b64('x') }],
    ['encrypt', { kid, plaintext_b64: b64('x') }],
    [`keys/${made.kek_id}/rotate`, {}],
    [`keys/${made.kek_id}/destroy`, {}],
  ] as const) {
    const refused = await ask(`/v1/kms/${path}`, body);
    assert.equal(refused.body.error?.code, 'NotFound', `${path} ${JSON.stringify(refused)}`);
  }
  assert.equal((await ask('/encrypt', { key_id: 'k1', plaintext: b64('x') })).status, 200);
});
