import assert from 'node:assert/strict';
import test, { after, before, describe } from 'node:test';
import {
  aeadAlgorithms,
  base64,
  codeOf,
  flippedBit,
  idOf,
  kemAlgorithms,
  type SealingClient,
  sealingClient,
  wrappingAlgorithms,
} from '../support/sealing-client.ts';
import type { InProcessService } from '../support/service.ts';
import { testedServices } from '../support/tested-services.ts';

const plaintext_b64 = base64(Buffer.alloc(32, 9));
const largest = 64 * 1024;
const kwp = 'aes-256-kwp';
/** KWP has no aad. */
const aadOf = (alg: string) => (alg === kwp ? {} : { aad_b64: base64('record 7') });

for (const tested of testedServices) {
  describe(`wrapping with ${tested.name}`, { timeout: 120_000 }, () => {
    let service: InProcessService;
    let client: SealingClient;

    before(async () => {
      service = await tested.start();
      client = sealingClient(service);
    });
    after(() => service.stop());

    for (const alg of wrappingAlgorithms.filter(tested.covers)) {
      test(`${alg}: what is wrapped unwraps, and names the version that wrapped`, async () => {
        const kid = await client.create(alg);
        const wrapped = await client.good('/wrap', { kid: idOf(kid), plaintext_b64, ...aadOf(alg) });
        assert.deepEqual(Object.keys(wrapped), ['kid', 'wrapped_b64']);
        assert.equal(wrapped.kid, kid);
        const opened = await client.good('/unwrap', { ...wrapped, ...aadOf(alg) });
        assert.deepEqual(opened, { kid, plaintext_b64 });
        const again = await client.good('/wrap', { kid, plaintext_b64, ...aadOf(alg) });
        // KWP is deterministic (RFC 5649): equal keys give equal wraps.
        assert.equal(again.wrapped_b64 === wrapped.wrapped_b64, alg === kwp);
      });

      test(`${alg}: a key of 16, 32 or 64 bytes that nobody is told, and a data key with its plaintext`, async () => {
        const kid = await client.create(alg);
        for (const size of [16, 32, 64]) {
          const blind = await client.good('/wrap', { kid, size, ...aadOf(alg) });
          assert.deepEqual(Object.keys(blind), ['kid', 'wrapped_b64']);
          const unwrapped = await client.good('/unwrap', { ...blind, ...aadOf(alg) });
          assert.equal(Buffer.from(unwrapped.plaintext_b64, 'base64').length, size);

          const silent = await client.good('/datakey', { kid, size, ...aadOf(alg) });
          assert.deepEqual(Object.keys(silent), ['kid', 'wrapped_b64']);
          const told = await client.good('/datakey', { kid, size, plaintext: true, ...aadOf(alg) });
          const { plaintext_b64: key, ...rest } = told;
          assert.deepEqual(await client.good('/unwrap', { ...rest, ...aadOf(alg) }), {
            kid,
            plaintext_b64: key,
          });
          assert.notEqual(key, unwrapped.plaintext_b64);
        }
      });

      test(`${alg}: what does not open has one status, code and text`, async () => {
        const kid = await client.create(alg);
        const other = await client.create(alg);
        const made = {
          ...(await client.good('/wrap', { kid, plaintext_b64, ...aadOf(alg) })),
          ...aadOf(alg),
        };
        const bytes = Buffer.from(made.wrapped_b64, 'base64');
        const spoilt: Record<string, object> = {
          'another key': { kid: other },
          'the first bit': { wrapped_b64: flippedBit(made.wrapped_b64, 0) },
          'the last bit': { wrapped_b64: flippedBit(made.wrapped_b64, -1) },
          'a bit in the middle': { wrapped_b64: flippedBit(made.wrapped_b64, bytes.length >> 1) },
          'a byte less': { wrapped_b64: base64(bytes.subarray(0, -1)) },
          'a byte more': { wrapped_b64: base64(Buffer.concat([bytes, Buffer.alloc(1)])) },
          'half of it': { wrapped_b64: base64(bytes.subarray(0, bytes.length >> 1)) },
          'eight bytes': { wrapped_b64: base64(bytes.subarray(0, 8)) },
          'nothing at all': { wrapped_b64: '' },
          ...(alg === kwp
            ? {}
            : { 'another aad': { aad_b64: base64('record 8') }, 'no aad': { aad_b64: undefined } }),
        };
        const texts = new Set<string>();
        for (const [what, change] of Object.entries(spoilt)) {
          const answer = await client.post('/unwrap', { ...made, ...change });
          assert.equal(codeOf(answer), '400 BadRequest', what);
          texts.add(`${answer.body.error.message}; ${answer.body.error.hint}`);
        }
        assert.deepEqual([...texts], ['the request is not valid; this does not open with this key and aad']);
      });

      test(`${alg}: the current version wraps, every version that is not destroyed unwraps`, async () => {
        const first = await client.create(alg);
        const old = await client.good('/wrap', { kid: first, plaintext_b64 });
        const second = await client.rotate(first);
        assert.equal(codeOf(await client.post('/wrap', { kid: first, plaintext_b64 })), '409 Conflict');
        assert.equal(codeOf(await client.post('/datakey', { kid: first, size: 16 })), '409 Conflict');
        assert.equal((await client.good('/wrap', { kid: idOf(first), plaintext_b64 })).kid, second);
        assert.deepEqual(await client.good('/unwrap', old), { kid: first, plaintext_b64 });
        const unnamed = await client.post('/unwrap', { ...old, kid: idOf(first) });
        assert.equal(codeOf(unnamed), '400 BadRequest', 'only the current version is tried');
        await client.destroy(first, 1);
        assert.equal(codeOf(await client.post('/unwrap', old)), '409 Conflict');
        await client.destroy(first);
        assert.equal(codeOf(await client.post('/wrap', { kid: second, plaintext_b64 })), '409 Conflict');
      });

      test(`${alg}: rewrap moves what an old version wrapped to the current one`, async () => {
        const first = await client.create(alg);
        const old = await client.good('/wrap', { kid: first, plaintext_b64, ...aadOf(alg) });
        const second = await client.rotate(first);
        const moved = await client.good('/rewrap', { ...old, ...aadOf(alg) });
        assert.deepEqual(Object.keys(moved), ['kid', 'wrapped_b64']);
        assert.equal(moved.kid, second);
        assert.notEqual(moved.wrapped_b64, old.wrapped_b64);
        await client.destroy(first, 1);
        const opened = await client.good('/unwrap', { ...moved, ...aadOf(alg) });
        assert.deepEqual(opened, { kid: second, plaintext_b64 });
        const anew = await client.good('/rewrap', { ...moved, ...aadOf(alg) });
        assert.equal(anew.kid, second, 'the current version wraps anew what it wrapped');
        assert.equal(codeOf(await client.post('/rewrap', { ...old, ...aadOf(alg) })), '409 Conflict');
        const spoilt = { ...moved, wrapped_b64: flippedBit(moved.wrapped_b64, -1), ...aadOf(alg) };
        assert.equal(codeOf(await client.post('/rewrap', spoilt)), '400 BadRequest');
      });

      test(`${alg}: 64 KiB, and not a byte more`, async () => {
        const kid = await client.create(alg);
        const lengths = alg === kwp && tested.wrapsWholeBlocks ? [8, 24, largest] : [1, 7, 8, 9, largest];
        for (const length of lengths) {
          const plaintext = base64(Buffer.alloc(length, 7));
          const made = await client.good('/wrap', { kid, plaintext_b64: plaintext });
          assert.equal((await client.good('/unwrap', made)).plaintext_b64, plaintext, `${length} bytes`);
        }
        const long = base64(Buffer.alloc(largest + 1));
        assert.equal(codeOf(await client.post('/wrap', { kid, plaintext_b64: long })), '413 TooLarge');
        const empty = await client.post('/wrap', { kid, plaintext_b64: '' });
        assert.equal(codeOf(empty), alg === kwp ? '400 BadRequest' : 'ok');
      });
    }

    test('a KEM key shows its public key and the suite in which it wraps, with the document that it follows', async () => {
      const suites: Record<string, [number, RegExp]> = {
        'x25519+ml-kem-768': [0x647a, /draft-ietf-hpke-pq-05/],
        x25519: [0x0020, /RFC 9180/],
        'ml-kem-768': [0x0041, /draft-ietf-hpke-pq-05/],
        'ml-kem-1024': [0x0042, /draft-ietf-hpke-pq-05/],
      };
      for (const alg of kemAlgorithms) {
        const kid = await client.create(alg);
        const { body } = await client.get(`/keys/${encodeURIComponent(idOf(kid))}`);
        const [kemId, source] = suites[alg] as [number, RegExp];
        const { hpke, pubkey_b64 } = body.versions[0].public;
        assert.ok(pubkey_b64.length > 40);
        assert.deepEqual([hpke.kem_id, hpke.kdf_id, hpke.aead_id], [kemId, 1, 2]);
        assert.match(hpke.source, source);
      }
    });

    for (const alg of aeadAlgorithms.filter(tested.covers)) {
      test(`${alg}: rewrap moves what an old version encrypted to the current one`, async () => {
        const first = await client.create(alg);
        const aad_b64 = base64('row 1');
        const old = await client.good('/encrypt', { kid: first, plaintext_b64, aad_b64 });
        const second = await client.rotate(first);
        const moved = await client.good('/rewrap', { ...old, aad_b64 });
        assert.deepEqual(Object.keys(moved), ['kid', 'nonce_b64', 'ciphertext_b64']);
        assert.equal(moved.kid, second);
        assert.deepEqual(await client.good('/decrypt', { ...moved, aad_b64 }), {
          kid: second,
          plaintext_b64,
        });
        assert.equal(codeOf(await client.post('/rewrap', { ...old })), '400 BadRequest', 'without its aad');
        const both = { ...old, aad_b64, wrapped_b64: base64('x') };
        assert.equal(codeOf(await client.post('/rewrap', both)), '400 BadRequest');
      });
    }

    test('a key that wraps by RFC 5649 refuses an aad', async () => {
      const kid = await client.create(kwp);
      const { wrapped_b64 } = await client.good('/wrap', { kid, plaintext_b64 });
      const aad_b64 = base64('x');
      for (const [path, body] of [
        ['/wrap', { plaintext_b64 }],
        ['/datakey', { size: 32 }],
        ['/unwrap', { wrapped_b64 }],
        ['/rewrap', { wrapped_b64 }],
      ] as const) {
        const { status, body: answer } = await client.post(path, { kid, aad_b64, ...body });
        assert.equal(status, 400, path);
        assert.match(answer.error.hint, /no aad/, path);
      }
    });

    test('keys of other kinds neither wrap nor unwrap', async () => {
      for (const alg of ['ed25519', 'hmac-sha256', 'hkdf-sha256']) {
        const kid = await client.create(alg);
        for (const [path, body] of [
          ['/wrap', { plaintext_b64 }],
          ['/wrap', { size: 32 }],
          ['/datakey', { size: 32 }],
          ['/unwrap', { wrapped_b64: plaintext_b64 }],
          ['/rewrap', { wrapped_b64: plaintext_b64 }],
          ['/rewrap', { ciphertext_b64: plaintext_b64, nonce_b64: plaintext_b64 }],
        ] as const) {
          assert.equal(
            codeOf(await client.post(path, { kid, ...body })),
            '400 Unsupported',
            `${alg} ${path}`,
          );
        }
      }
      const kem = await client.create('x25519');
      const encrypted = { ciphertext_b64: plaintext_b64, nonce_b64: base64(Buffer.alloc(12)) };
      assert.equal(codeOf(await client.post('/rewrap', { kid: kem, ...encrypted })), '400 Unsupported');
    });

    test('each route asks for its scopes, and those that do two things for both', async () => {
      const kid = await client.create('aes-256-gcm');
      const wrapped = await client.good('/wrap', { kid, plaintext_b64 });
      const encrypted = await client.good('/encrypt', { kid, plaintext_b64 });
      const needed: readonly (readonly [string, object, string])[] = [
        ['/encrypt', { kid, plaintext_b64 }, 'kms:encrypt'],
        ['/encrypt/batch', { items: [{ kid, plaintext_b64 }] }, 'kms:encrypt'],
        ['/decrypt', encrypted, 'kms:decrypt'],
        ['/decrypt/batch', { items: [encrypted] }, 'kms:decrypt'],
        ['/wrap', { kid, size: 32 }, 'kms:wrap'],
        ['/unwrap', wrapped, 'kms:unwrap'],
        ['/datakey', { kid, size: 32 }, 'kms:wrap'],
        ['/datakey', { kid, size: 32, plaintext: false }, 'kms:wrap'],
        ['/datakey', { kid, size: 32, plaintext: true }, 'kms:wrap,kms:unwrap'],
        ['/rewrap', wrapped, 'kms:unwrap,kms:wrap'],
        ['/rewrap', encrypted, 'kms:decrypt,kms:encrypt'],
        ['/random', { size: 32 }, 'kms:read'],
      ];
      const all = [
        'kms:encrypt',
        'kms:decrypt',
        'kms:wrap',
        'kms:unwrap',
        'kms:read',
        'kms:sign',
        'kms:admin',
      ];
      for (const [path, body, scopes] of needed) {
        const enough = sealingClient(service, await service.mint('default', scopes));
        assert.equal(codeOf(await enough.post(path, body)), 'ok', `${path} with ${scopes}`);
        for (const scope of scopes.split(',')) {
          const lacking = all.filter((other) => other !== scope).join(',');
          const { status, body: answer } = await sealingClient(
            service,
            await service.mint('default', lacking),
          ).post(path, body);
          assert.equal(status, 403, `${path} without ${scope}`);
          assert.equal(answer.error.code, 'NoCapability');
          assert.match(answer.error.hint, new RegExp(scope));
        }
      }
    });

    test('random bytes are of the size asked for, and others each time', async () => {
      const seen = new Set<string>();
      for (const size of [1, 32, 32, 1024]) {
        const { random_b64 } = await client.good('/random', { size });
        assert.equal(Buffer.from(random_b64, 'base64').length, size);
        seen.add(random_b64);
      }
      assert.equal(seen.size, 4);
    });
  });
}
