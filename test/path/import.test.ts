import assert from 'node:assert/strict';
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from 'node:crypto';
import test, { after, before, describe } from 'node:test';
import { ml_dsa65 } from '@noble/post-quantum/ml-dsa.js';
import { servedEngines } from '../support/engines.ts';
import { padWrap, type WrappingKey, wrapFor } from '../support/import-material.ts';
import { startInProcess } from '../support/in-process.ts';
import { base64, flippedBit, idOf } from '../support/sealing-client.ts';
import { call, helloWorldB3, type InProcessService, type JsonAnswer } from '../support/service.ts';

interface LoggedKey {
  readonly record: {
    readonly key_id: string;
    readonly type?: string;
    readonly purpose: string;
    readonly data?: { readonly source?: string };
  };
}

const payload = Buffer.from(helloWorldB3, 'hex');
const pkcs8 = (key: KeyObject) => key.export({ format: 'der', type: 'pkcs8' });
const spki = (key: KeyObject) => base64(key.export({ format: 'der', type: 'spki' }));
const wrappingAlgs = ['x25519+ml-kem-768', 'rsa-4096'] as const;
const opId = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

for (const { name: engine } of servedEngines()) {
  describe(`importing keys with the ${engine} engine`, { timeout: 120_000 }, () => {
    let service: InProcessService;
    const wrapping = new Map<string, WrappingKey>();

    const ask = (method: string, path: string, body?: unknown, token = service.token) =>
      call(service, token, method, `/v1/kms${path}`, body);
    const good = async (method: string, path: string, body?: unknown, status = 200) => {
      const answer = await ask(method, path, body);
      assert.equal(answer.status, status, `${path}: ${JSON.stringify(answer.body)}`);
      return answer.body;
    };
    const codeOf = ({ status, body }: JsonAnswer) => (status < 300 ? 'ok' : `${status} ${body.error.code}`);
    const wrapped = (secret: Uint8Array, alg: string = wrappingAlgs[0]) => {
      const key = wrapping.get(alg)!;
      return { wrapping_key_id: key.wrapping_key_id, material_b64: base64(wrapFor(key, secret)) };
    };
    const importKey = async (alg: string, material: object, more: object = {}): Promise<string> =>
      (await good('POST', '/keys/import', { purpose: 'p', alg, ...material, ...more }, 201)).kid;
    const signed = async (kid: string) => {
      const { sigs } = await good('POST', '/sign', { kid, payload_b3: helloWorldB3 });
      return Buffer.from(sigs[0].signature_b64, 'base64');
    };
    const verified = async (kid: string, signature: Uint8Array) =>
      (
        await good('POST', '/verify', {
          payload_b3: helloWorldB3,
          sigs: [{ kid, signature_b64: base64(signature) }],
        })
      ).ok;

    before(async () => {
      service = await startInProcess({ env: { KMS_ENGINE: engine } });
      for (const alg of wrappingAlgs) {
        const path = `/keys/import/wrapping-key?alg=${encodeURIComponent(alg)}`;
        wrapping.set(alg, await good('GET', path));
      }
    });
    after(() => service.stop());

    for (const by of wrappingAlgs) {
      test(`keys that were wrapped by ${by} sign and make tags as they did where they come from`, async () => {
        const ed25519 = generateKeyPairSync('ed25519');
        const raw = ed25519.privateKey.export({ format: 'jwk' }).d!;
        for (const secret of [Buffer.from(raw, 'base64url'), pkcs8(ed25519.privateKey)]) {
          const kid = await importKey('ed25519', wrapped(secret, by));
          assert.ok((await signed(kid)).equals(sign(null, payload, ed25519.privateKey)));
        }
        const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
        const ofP256 = await importKey('ecdsa-p256', wrapped(pkcs8(p256.privateKey), by));
        assert.ok(verify('sha256', payload, p256.publicKey, await signed(ofP256)));
        const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
        const ofRsa = await importKey('rsa-2048', wrapped(pkcs8(rsa.privateKey), by));
        assert.ok(await verified(ofRsa, await signed(ofRsa)));
        const seed = randomBytes(32);
        const pair = ml_dsa65.keygen(seed);
        const ofMlDsa = await importKey('ml-dsa-65', wrapped(seed, by));
        assert.ok(ml_dsa65.verify(await signed(ofMlDsa), payload, pair.publicKey));
        const secret = randomBytes(32);
        const ofHmac = await importKey('hmac-sha256', wrapped(secret, by));
        const { mac_b64 } = await good('POST', '/mac', { kid: ofHmac, message_b64: base64(payload) });
        assert.equal(mac_b64, createHmac('sha256', secret).update(payload).digest('base64'));
      });
    }

    test('a secret key of another system opens what that system wrapped', async () => {
      const secret = randomBytes(32);
      const kid = await importKey('aes-256-kwp', wrapped(secret));
      const plaintext = randomBytes(40);
      const answer = await good('POST', '/unwrap', { kid, wrapped_b64: base64(padWrap(secret, plaintext)) });
      assert.equal(answer.plaintext_b64, base64(plaintext));
    });

    test('seeds come raw or as PKCS#8, and the public key is that of the seed', async () => {
      const pkcs8Of: [string, string, number][] = [
        ['x25519', '302e020100300506032b656e04220420', 32],
        ['ml-dsa-44', '3034020100300b060960864801650304031104228020', 32],
        ['ml-dsa-65', '3034020100300b060960864801650304031204228020', 32],
        ['ml-dsa-87', '3034020100300b060960864801650304031304228020', 32],
        ['ml-kem-768', '3054020100300b060960864801650304040204428040', 64],
        ['ml-kem-1024', '3054020100300b060960864801650304040304428040', 64],
      ];
      for (const [alg, prefix, bytes] of pkcs8Of) {
        const seed = randomBytes(bytes);
        const der = Buffer.concat([Buffer.from(prefix, 'hex'), seed]);
        const publicKey = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
        for (const secret of [seed, der]) {
          const kid = await importKey(alg, wrapped(secret));
          const read = await good('GET', `/keys/${idOf(kid)}`);
          assert.equal(read.versions[0].public.spki_b64, spki(publicKey), alg);
        }
        const other = Buffer.from(der);
        other[12]! ^= 1;
        const body = { purpose: 'p', alg, ...wrapped(other) };
        assert.equal(codeOf(await ask('POST', '/keys/import', body)), '400 BadRequest', alg);
        await renew(wrappingAlgs[0]);
      }
    });

    test('a key is marked as imported in its metadata and on the audit log, and one of this service is not', async () => {
      const kid = await importKey('hmac-sha256', wrapped(randomBytes(32)));
      const read = await good('GET', `/keys/${idOf(kid)}`);
      assert.equal(read.versions[0].source, 'imported');
      await good('POST', `/keys/${idOf(kid)}/rotate`);
      const rotated = await good('GET', `/keys/${idOf(kid)}`);
      assert.deepEqual(
        rotated.versions.map(({ source }: { source?: string }) => source),
        [undefined, 'imported'],
      );
      const { records } = await good('GET', '/audit/records?limit=1000');
      assert.deepEqual(
        records.flatMap(({ record: { key_id, type, data, purpose } }: LoggedKey) =>
          key_id === idOf(kid) ? [[type, data?.source, purpose]] : [],
        ),
        [
          ['key.create', 'imported', 'import'],
          ['key.rotate', undefined, 'rotate'],
        ],
      );
    });

    test('the next version of a key is brought too, and what the one before signed still verifies', async () => {
      const { kid } = await good('POST', '/keys', { purpose: 'p', alg: 'ed25519' }, 201);
      const old = await signed(kid);
      const pair = generateKeyPairSync('ed25519');
      const path = `/keys/${encodeURIComponent(idOf(kid))}/import`;
      const next = await good('POST', path, wrapped(pkcs8(pair.privateKey), 'rsa-4096'));
      assert.deepEqual([next.kid, next.previous], [`${idOf(kid)}#v2`, kid]);
      assert.equal(next.public.spki_b64, spki(pair.publicKey));
      assert.ok((await signed(idOf(kid))).equals(sign(null, payload, pair.privateKey)));
      assert.equal(await verified(kid, old), true);
    });

    test('the same material a second time is a conflict, and a repeated op_id the same answer', async () => {
      const material = wrapped(randomBytes(32));
      const body = { purpose: 'p', alg: 'hmac-sha256', ...material, op_id: opId(1) };
      const first = await good('POST', '/keys/import', body, 201);
      assert.deepEqual(await good('POST', '/keys/import', body, 201), first);
      const { op_id: _, ...unnamed } = body;
      assert.equal(codeOf(await ask('POST', '/keys/import', unnamed)), '409 Conflict');
      assert.equal(codeOf(await ask('POST', '/keys/import', { ...body, op_id: opId(2) })), '409 Conflict');
      assert.equal(codeOf(await ask('POST', '/keys/import', { ...body, purpose: 'q' })), '409 Conflict');
      const again = { ...body, ...wrapped(randomBytes(32)) };
      assert.equal(codeOf(await ask('POST', '/keys/import', again)), '409 Conflict', 'another request');
      const path = `/keys/${idOf(first.kid)}/import`;
      assert.equal(codeOf(await ask('POST', path, material)), '409 Conflict');
    });

    test('of imports of one material at the same time one is done', async () => {
      const body = { purpose: 'p', alg: 'hmac-sha256', ...wrapped(randomBytes(32)) };
      const codes = await Promise.all(
        [1, 2, 3, 4].map(async () => codeOf(await ask('POST', '/keys/import', body))),
      );
      assert.deepEqual(codes.toSorted(), ['409 Conflict', '409 Conflict', '409 Conflict', 'ok']);
    });

    test('a key of another algorithm, size or form, and what does not unwrap, make no key', async () => {
      const p384 = pkcs8(generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey);
      const ed25519 = pkcs8(generateKeyPairSync('ed25519').privateKey);
      const rsa3072 = pkcs8(generateKeyPairSync('rsa', { modulusLength: 3072 }).privateKey);
      const wrong: [string, Uint8Array][] = [
        ['ecdsa-p256', p384],
        ['ecdsa-p256', ed25519],
        ['ecdsa-p256', randomBytes(32)],
        ['rsa-2048', rsa3072],
        ['ed25519', randomBytes(31)],
        ['ed25519', randomBytes(33)],
        ['ed25519', randomBytes(64)],
        ['ed25519', pkcs8(generateKeyPairSync('x25519').privateKey)],
        ['ml-dsa-65', randomBytes(64)],
        ['ml-kem-768', randomBytes(32)],
        ['aes-256-gcm', randomBytes(16)],
        ['aes-256-gcm', Buffer.of(7)],
      ];
      const count = async () => (await good('GET', '/keys?purpose=wrong')).keys.length;
      for (const [alg, secret] of wrong) {
        for (const by of wrappingAlgs) {
          const body = { purpose: 'wrong', alg, ...wrapped(secret, by) };
          assert.equal(
            codeOf(await ask('POST', '/keys/import', body)),
            '400 BadRequest',
            `${alg} ${secret.length}`,
          );
          await renew(by);
        }
      }
      const texts = new Set<string>();
      for (const by of wrappingAlgs) {
        for (const at of [0, 300, -1]) {
          const { material_b64, ...key } = wrapped(randomBytes(32), by);
          const flipped = {
            purpose: 'wrong',
            alg: 'aes-256-gcm',
            ...key,
            material_b64: flippedBit(material_b64, at),
          };
          const answer = await ask('POST', '/keys/import', flipped);
          assert.equal(codeOf(answer), '400 BadRequest', `${by} ${at}`);
          texts.add(answer.body.error.hint);
          await renew(by);
        }
        for (const material_b64 of ['', 'AAAA', base64(randomBytes(512)), base64(randomBytes(2_000))]) {
          const { wrapping_key_id } = wrapping.get(by)!;
          const body = { purpose: 'wrong', alg: 'aes-256-gcm', wrapping_key_id, material_b64 };
          const answer = await ask('POST', '/keys/import', body);
          assert.equal(codeOf(answer), '400 BadRequest');
          texts.add(answer.body.error.hint);
          await renew(by);
        }
      }
      assert.equal(texts.size, 1, [...texts].join('\n'));
      assert.equal(await count(), 0);
    });

    /** A wrapping key is withdrawn after some failures. */
    const renew = async (alg: string) =>
      void wrapping.set(alg, await good('GET', `/keys/import/wrapping-key?alg=${encodeURIComponent(alg)}`));

    test('a wrapping key is the tenant’s own, the same for the next caller, and withdrawn after 16 failures', async () => {
      const acme = await service.mint('acme', 'kms:create,kms:rotate');
      const of = async (token?: string) =>
        (await ask('GET', '/keys/import/wrapping-key', undefined, token)).body;
      const [one, two, theirs] = [await of(), await of(), await of(acme)];
      assert.equal(one.wrapping_key_id, two.wrapping_key_id);
      assert.equal(one.alg, 'x25519+ml-kem-768');
      assert.notEqual(theirs.wrapping_key_id, one.wrapping_key_id);
      const left = Date.parse(one.expires_at) - Date.now();
      assert.ok(left > 1_700_000 && left <= 3_600_000, `${left} ms`);
      const body = (key: WrappingKey, secret = randomBytes(32)) => ({
        ...{ purpose: 'p', alg: 'hmac-sha256', wrapping_key_id: key.wrapping_key_id },
        material_b64: base64(wrapFor(key, secret)),
      });
      assert.equal(codeOf(await ask('POST', '/keys/import', body(one), acme)), '404 NotFound');
      for (let n = 0; n < 16; n++) {
        const spoiled = { ...body(theirs), material_b64: base64(randomBytes(1_200)) };
        assert.equal(codeOf(await ask('POST', '/keys/import', spoiled, acme)), '400 BadRequest');
      }
      assert.equal(codeOf(await ask('POST', '/keys/import', body(theirs), acme)), '404 NotFound');
      assert.notEqual((await of(acme)).wrapping_key_id, theirs.wrapping_key_id);
    });

    test('a public key alone verifies, is marked so, and does nothing else', async () => {
      const pairs: [string, ReturnType<typeof generateKeyPairSync>][] = [
        ['ed25519', generateKeyPairSync('ed25519')],
        ['ecdsa-p256', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
        ['ml-dsa-65', generateKeyPairSync('ml-dsa-65')],
        ['rsa-2048', generateKeyPairSync('rsa', { modulusLength: 2048 })],
      ] as never;
      for (const [alg, pair] of pairs) {
        const { publicKey, privateKey } = pair as unknown as { publicKey: KeyObject; privateKey: KeyObject };
        const kid = await importKey(alg, { spki_b64: spki(publicKey) });
        const hash = alg.startsWith('e') && alg !== 'ed25519' ? 'sha256' : null;
        const signature =
          alg === 'rsa-2048'
            ? sign('sha256', payload, { key: privateKey, padding: 6, saltLength: 32 })
            : sign(hash, payload, privateKey);
        assert.equal(await verified(kid, signature), true, alg);
        signature[10]! ^= 1;
        assert.equal(await verified(kid, signature), false, alg);
        assert.equal(
          codeOf(await ask('POST', '/sign', { kid, payload_b3: helloWorldB3 })),
          '400 Unsupported',
        );
        assert.equal((await good('GET', `/keys/${idOf(kid)}`)).versions[0].source, 'imported_public');
        assert.equal(codeOf(await ask('POST', `/keys/${idOf(kid)}/rotate`)), '409 Conflict');
        const next = await good('POST', `/keys/${idOf(kid)}/import`, { spki_b64: spki(publicKey) });
        assert.equal(next.kid, `${idOf(kid)}#v2`);
        await good('POST', `/keys/${idOf(kid)}/destroy`);
      }
    });

    test('what is no public key of the algorithm is refused', async () => {
      const ofP256 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
      const der = ofP256.export({ format: 'der', type: 'spki' });
      const offCurve = Buffer.from(der);
      offCurve[offCurve.length - 1]! ^= 1;
      const rsa3072 = generateKeyPairSync('rsa', { modulusLength: 3072 }).publicKey;
      const wrong: [string, string, string][] = [
        ['ecdsa-p256', base64(offCurve), '400 BadRequest'],
        ['ecdsa-p256', base64(der.subarray(0, -1)), '400 BadRequest'],
        ['ecdsa-p256', base64(Buffer.concat([der, Buffer.of(0)])), '400 BadRequest'],
        ['ed25519', base64(der), '400 BadRequest'],
        ['ml-dsa-65', base64(der), '400 BadRequest'],
        ['rsa-2048', spki(rsa3072), '400 BadRequest'],
        ['rsa-2048', base64(randomBytes(294)), '400 BadRequest'],
        ['ed25519', '', '400 BadRequest'],
        ['x25519', spki(generateKeyPairSync('x25519').publicKey), '400 Unsupported'],
        ['hmac-sha256', base64(der), '400 Unsupported'],
        ['ed25519+ml-dsa-65', base64(der), '400 Unsupported'],
      ];
      for (const [alg, spki_b64, code] of wrong) {
        assert.equal(codeOf(await ask('POST', '/keys/import', { purpose: 'p', alg, spki_b64 })), code, alg);
      }
    });

    test('requests of another form are refused, and policy holds for what is brought', async () => {
      const material = wrapped(randomBytes(32));
      const body = { purpose: 'p', alg: 'hmac-sha256', ...material };
      const refused: [object, string][] = [
        [{ ...body, spki_b64: 'AAAA' }, '400 BadRequest'],
        [{ purpose: 'p', alg: 'hmac-sha256' }, '400 BadRequest'],
        [{ ...body, material_b64: undefined }, '400 BadRequest'],
        [{ ...body, wrapping_key_id: undefined }, '400 BadRequest'],
        [{ ...body, wrapping_key_id: 'mine' }, '400 BadRequest'],
        [{ ...body, wrapping_key_id: opId(99) }, '404 NotFound'],
        [{ ...body, material_b64: '!' }, '400 BadRequest'],
        [{ ...body, material_b64: 7 }, '400 BadRequest'],
        [{ ...body, material_b64: base64(randomBytes(9_000)) }, '413 TooLarge'],
        [{ ...body, alg: 'rot13' }, '400 Unsupported'],
        [{ ...body, alg: 'ed25519+ml-dsa-65' }, '400 Unsupported'],
        [{ ...body, purpose: 'P P' }, '400 BadRequest'],
        [{ ...body, secret: 'x' }, '400 BadRequest'],
        [{ ...body, policy: { usages: ['sign'] } }, '400 BadRequest'],
      ];
      for (const [asked, code] of refused) {
        assert.equal(
          codeOf(await ask('POST', '/keys/import', asked)),
          code,
          JSON.stringify(asked).slice(0, 90),
        );
      }
      for (const alg of ['ed25519', 'rsa-2048', 'rot13'])
        assert.equal(codeOf(await ask('GET', `/keys/import/wrapping-key?alg=${alg}`)), '400 Unsupported');
      assert.equal(codeOf(await ask('GET', '/keys/import/wrapping-key?kid=a')), '400 BadRequest');
      const reader = await service.mint('acme', 'kms:read,kms:sign');
      assert.equal(codeOf(await ask('POST', '/keys/import', body, reader)), '403 NoCapability');
      assert.equal(
        codeOf(await ask('GET', '/keys/import/wrapping-key', undefined, reader)),
        '403 NoCapability',
      );
      const limited = await importKey('hmac-sha256', material, { policy: { usages: ['mac_verify'] } });
      assert.equal(
        codeOf(await ask('POST', '/mac', { kid: limited, message_b64: '' })),
        '403 PolicyViolation',
      );
    });
  });
}
