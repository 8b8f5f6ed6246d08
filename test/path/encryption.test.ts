import assert from 'node:assert/strict';
import test, { after, before, describe } from 'node:test';
import {
  aeadAlgorithms,
  base64,
  codeOf,
  flippedBit,
  idOf,
  type SealingClient,
  sealingClient,
} from '../support/sealing-client.ts';
import type { InProcessService } from '../support/service.ts';
import { testedServices } from '../support/tested-services.ts';

const plaintext_b64 = base64('attack at dawn');
const aad_b64 = base64('order 7');
const largest = 64 * 1024;
const everything = 'kms:create,kms:read,kms:encrypt,kms:decrypt';

for (const tested of testedServices) {
  describe(`encryption with ${tested.name}`, { timeout: 120_000 }, () => {
    let service: InProcessService;
    let client: SealingClient;

    before(async () => {
      service = await tested.start();
      client = sealingClient(service);
    });
    after(() => service.stop());

    for (const alg of aeadAlgorithms.filter(tested.covers)) {
      const nonceBytes = alg === 'xaes-256-gcm' ? 24 : 12;

      test(`${alg}: what is encrypted decrypts, with its aad and no other`, async () => {
        const kid = await client.create(alg);
        const made = await client.good('/encrypt', { kid: idOf(kid), plaintext_b64, aad_b64 });
        assert.deepEqual(Object.keys(made), ['kid', 'nonce_b64', 'ciphertext_b64']);
        assert.equal(made.kid, kid, 'the version that encrypted');
        assert.equal(Buffer.from(made.nonce_b64, 'base64').length, nonceBytes);
        assert.equal(Buffer.from(made.ciphertext_b64, 'base64').length, 14 + 16);
        const opened = await client.good('/decrypt', { ...made, aad_b64 });
        assert.deepEqual(opened, { kid, plaintext_b64 });
        assert.deepEqual(await client.good('/decrypt', { ...made, kid: idOf(kid), aad_b64 }), opened);
      });

      test(`${alg}: what does not open has one status, code and text`, async () => {
        const kid = await client.create(alg);
        const other = await client.create(alg);
        const made = { ...(await client.good('/encrypt', { kid, plaintext_b64, aad_b64 })), aad_b64 };
        const { ciphertext_b64, nonce_b64 } = made;
        const cut = (text: string, bytes: number) => base64(Buffer.from(text, 'base64').subarray(0, bytes));
        const spoilt: Record<string, object> = {
          'another key': { kid: other },
          'another aad': { aad_b64: base64('order 8') },
          'no aad': { aad_b64: undefined },
          'the first bit': { ciphertext_b64: flippedBit(ciphertext_b64, 0) },
          'the last bit of the tag': { ciphertext_b64: flippedBit(ciphertext_b64, -1) },
          'a bit of the nonce': { nonce_b64: flippedBit(nonce_b64, 3) },
          'a byte less': { ciphertext_b64: cut(ciphertext_b64, 29) },
          'less than a tag': { ciphertext_b64: cut(ciphertext_b64, 15) },
          'nothing at all': { ciphertext_b64: '' },
          'no nonce': { nonce_b64: '' },
          'a nonce that is cut': { nonce_b64: cut(nonce_b64, 11) },
          'a nonce of another length': { nonce_b64: base64(Buffer.alloc(alg === 'xaes-256-gcm' ? 12 : 24)) },
        };
        const answers = new Set<string>();
        for (const [what, change] of Object.entries(spoilt)) {
          const { status, body } = await client.post('/decrypt', { ...made, ...change });
          assert.equal(status, 400, what);
          const { code, message, hint, retryable } = body.error;
          answers.add(JSON.stringify({ code, message, hint, retryable }));
        }
        assert.deepEqual(
          [...answers],
          [
            JSON.stringify({
              code: 'BadRequest',
              message: 'the request is not valid',
              hint: 'this does not open with this key and aad',
              retryable: false,
            }),
          ],
        );
      });

      test(`${alg}: the current version encrypts, every version that is not destroyed decrypts`, async () => {
        const first = await client.create(alg);
        const old = await client.good('/encrypt', { kid: first, plaintext_b64 });
        const second = await client.rotate(first);
        assert.equal(codeOf(await client.post('/encrypt', { kid: first, plaintext_b64 })), '409 Conflict');
        assert.equal((await client.good('/encrypt', { kid: idOf(first), plaintext_b64 })).kid, second);
        assert.deepEqual(await client.good('/decrypt', old), { kid: first, plaintext_b64 });
        const unnamed = await client.post('/decrypt', { ...old, kid: idOf(first) });
        assert.equal(codeOf(unnamed), '400 BadRequest', 'only the current version is tried');
        await client.destroy(first, 1);
        assert.equal(codeOf(await client.post('/decrypt', old)), '409 Conflict');
        const current = await client.good('/encrypt', { kid: second, plaintext_b64 });
        await client.destroy(first);
        assert.equal(codeOf(await client.post('/decrypt', current)), '409 Conflict');
        assert.equal(codeOf(await client.post('/encrypt', { kid: second, plaintext_b64 })), '409 Conflict');
      });

      test(`${alg}: nothing, and 64 KiB, and not a byte more`, async () => {
        const kid = await client.create(alg);
        for (const length of [0, 1, 15, 16, 17, largest]) {
          const plaintext = base64(Buffer.alloc(length, 7));
          const made = await client.good('/encrypt', { kid, plaintext_b64: plaintext });
          assert.equal((await client.good('/decrypt', made)).plaintext_b64, plaintext, `${length} bytes`);
        }
        const long = { kid, plaintext_b64: base64(Buffer.alloc(largest + 1)) };
        assert.equal(codeOf(await client.post('/encrypt', long)), '413 TooLarge');
        const batch = await client.good('/encrypt/batch', { items: [long, { kid, plaintext_b64 }] });
        assert.equal(batch.results[0].error.code, 'TooLarge');
        assert.equal(batch.results[1].kid, kid);
      });
    }

    test('every nonce is another, also in one batch', async () => {
      const kid = await client.create('aes-256-gcm');
      const items = Array.from({ length: 256 }, () => ({ kid, plaintext_b64 }));
      const { results } = await client.good('/encrypt/batch', { items });
      const nonces = new Set(results.map(({ nonce_b64 }: { nonce_b64: string }) => nonce_b64));
      assert.equal(nonces.size, 256);
      const ciphertexts = new Set(
        results.map(({ ciphertext_b64 }: { ciphertext_b64: string }) => ciphertext_b64),
      );
      assert.equal(ciphertexts.size, 256);
      assert.equal((await client.post('/encrypt/batch', { items: [...items, items[0]] })).status, 400);
    });

    test('one bad item of a batch fails no other', async () => {
      const kid = await client.create('xaes-256-gcm');
      const signer = await client.create('ed25519');
      const missing = idOf(kid).replace(/[^/]+$/, '00000000-0000-4000-8000-000000000000');
      const foreign = await sealingClient(service, await service.mint('other', everything)).create(
        'xaes-256-gcm',
      );
      const good = { kid, plaintext_b64, aad_b64 };
      const items = [
        good,
        { ...good, kid: missing },
        { ...good, kid: foreign },
        { ...good, kid: signer },
        { ...good, plaintext_b64: 'no base64' },
        { ...good, iv: 'AAAA' },
        null,
        { ...good, plaintext_b64: '' },
      ];
      const codes = (results: { error?: { code: string } }[]) =>
        results.map(({ error }) => error?.code ?? 'ok');
      const encrypted = await client.good('/encrypt/batch', { items });
      const bad = 'BadRequest';
      assert.deepEqual(codes(encrypted.results), [
        'ok',
        'NotFound',
        'NotFound',
        'Unsupported',
        bad,
        bad,
        bad,
        'ok',
      ]);
      const [first, , , , , , , last] = encrypted.results;
      const decrypted = await client.good('/decrypt/batch', {
        items: [
          { ...first, aad_b64 },
          { ...first, aad_b64, ciphertext_b64: last.ciphertext_b64 },
          { ...last, aad_b64 },
          { ...last },
        ],
      });
      assert.deepEqual(codes(decrypted.results), ['ok', bad, 'ok', bad]);
      assert.equal(decrypted.results[0].plaintext_b64, plaintext_b64);
      assert.equal(decrypted.results[2].plaintext_b64, '');
    });

    test('keys of other kinds neither encrypt nor decrypt', async () => {
      for (const alg of ['ed25519', 'hmac-sha256', 'x25519', 'ml-kem-768', 'aes-256-kwp']) {
        const kid = await client.create(alg);
        const nonce_b64 = base64(Buffer.alloc(24));
        assert.equal(codeOf(await client.post('/encrypt', { kid, plaintext_b64 })), '400 Unsupported', alg);
        const body = { kid, ciphertext_b64: base64(Buffer.alloc(32)), nonce_b64 };
        assert.equal(codeOf(await client.post('/decrypt', body)), '400 Unsupported', alg);
      }
    });

    test('a secret key has no public part, and no route gives it out', async () => {
      const kid = await client.create('xaes-256-gcm');
      const read = (await client.get(`/keys/${encodeURIComponent(idOf(kid))}`)).body;
      assert.equal(read.versions[0].public, undefined);
      for (const action of ['export', 'private', 'secret', 'backup']) {
        const { status, body } = await client.get(`/keys/${encodeURIComponent(idOf(kid))}/${action}`);
        assert.equal(status, 403);
        assert.equal(body.error.code, 'ExportForbidden');
      }
    });

    test('a key of another tenant does not exist', async () => {
      const kid = await client.create('aes-256-gcm');
      const made = await client.good('/encrypt', { kid, plaintext_b64 });
      const other = sealingClient(service, await service.mint('other', everything));
      const missing = kid.replace(/[0-9a-f]{12}#v1$/, '000000000000#v1');
      for (const named of [kid, missing]) {
        assert.equal(codeOf(await other.post('/encrypt', { kid: named, plaintext_b64 })), '404 NotFound');
        assert.equal(codeOf(await other.post('/decrypt', { ...made, kid: named })), '404 NotFound');
      }
    });
  });
}
