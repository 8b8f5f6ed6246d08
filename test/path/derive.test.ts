import assert from 'node:assert/strict';
import { createHmac, createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import test, { after, before, describe } from 'node:test';
import { ml_dsa65 } from '@noble/post-quantum/ml-dsa.js';
import { servedEngines } from '../support/engines.ts';
import { hkdf, wrapFor } from '../support/import-material.ts';
import { startInProcess } from '../support/in-process.ts';
import { base64, idOf } from '../support/sealing-client.ts';
import {
  call,
  callForBytes,
  helloWorldB3,
  type InProcessService,
  type JsonAnswer,
} from '../support/service.ts';

const context = { origin: 'edge-1.example', instance: 'a~1', epoch: 7 };

for (const { name: engine } of servedEngines()) {
  describe(`deriving keys with the ${engine} engine`, { timeout: 120_000 }, () => {
    let service: InProcessService;
    let parent: string;
    const secret = randomBytes(32);

    const ask = (method: string, path: string, body?: unknown, token = service.token) =>
      call(service, token, method, `/v1/kms${path}`, body);
    const good = async (method: string, path: string, body?: unknown, status = 200) => {
      const answer = await ask(method, path, body);
      assert.equal(answer.status, status, `${path}: ${JSON.stringify(answer.body)}`);
      return answer.body;
    };
    const codeOf = ({ status, body }: JsonAnswer) => (status < 300 ? 'ok' : `${status} ${body.error.code}`);
    const derive = (alg: string, more: object = {}, kid = parent) =>
      ask('POST', '/derive', { kid, context: { ...context, ...more }, alg });
    const derived = async (alg: string, more: object = {}, kid = parent) => {
      const { status, body } = await derive(alg, more, kid);
      assert.equal(status, 201, JSON.stringify(body));
      return body;
    };
    const labelOf = (alg: string, { origin, instance, epoch } = context) =>
      `ron-kms::default::p::derive::${alg}::${origin}::${instance}::${epoch}`;
    const importKey = async (alg: string, bytes: Uint8Array): Promise<string> => {
      const wrapping = await good('GET', '/keys/import/wrapping-key');
      const material = {
        wrapping_key_id: wrapping.wrapping_key_id,
        material_b64: base64(wrapFor(wrapping, bytes)),
      };
      return (await good('POST', '/keys/import', { purpose: 'p', alg, ...material }, 201)).kid;
    };
    const mac = async (kid: string) =>
      (await good('POST', '/mac', { kid, message_b64: base64('m') })).mac_b64 as string;

    before(async () => {
      service = await startInProcess({ env: { KMS_ENGINE: engine } });
      parent = await importKey('hkdf-sha256', secret);
    });
    after(() => service.stop());

    test('a derived key is HKDF-SHA256 of its parent’s secret with the label as info, whatever it is for', async () => {
      const ofHmac = await derived('hmac-sha256');
      const key = hkdf(secret, labelOf('hmac-sha256'), 32);
      assert.equal(await mac(ofHmac.kid), createHmac('sha256', key).update('m').digest('base64'));
      const ofEd25519 = await derived('ed25519');
      const seed = hkdf(secret, labelOf('ed25519'), 32);
      const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
      const pair = createPublicKey(createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' }));
      const spki = pair.export({ format: 'der', type: 'spki' });
      assert.equal(ofEd25519.public.spki_b64, base64(spki));
      const ofMlDsa = await derived('ml-dsa-65');
      const expected = ml_dsa65.keygen(hkdf(secret, labelOf('ml-dsa-65'), 32)).publicKey;
      assert.equal(ofMlDsa.public.pubkey_b64, base64(expected));
      const { sigs } = await good('POST', '/sign', { kid: ofMlDsa.kid, payload_b3: helloWorldB3 });
      const signature = Buffer.from(sigs[0].signature_b64, 'base64');
      assert.ok(ml_dsa65.verify(signature, Buffer.from(helloWorldB3, 'hex'), expected));
    });

    test('every algorithm whose secret is plain bytes is derived, and no other', async () => {
      const plain = [
        ...['ed25519', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87', 'x25519', 'ml-kem-768', 'ml-kem-1024'],
        ...['x25519+ml-kem-768', 'hmac-sha256', 'aes-256-gcm', 'chacha20-poly1305', 'xaes-256-gcm'],
        ...['aes-256-kwp', 'hkdf-sha256'],
      ];
      for (const alg of plain) {
        const { kid } = await derived(alg);
        assert.match(
          kid,
          new RegExp(`^default/p/${alg.replace('+', '\\+')}/[0-9a-f-]{14}8[0-9a-f-]{21}#v1$`),
        );
      }
      for (const alg of ['ecdsa-p256', 'ecdsa-p384', 'rsa-2048', 'rsa-4096', 'ed25519+ml-dsa-65'])
        assert.equal(codeOf(await derive(alg)), '400 Unsupported', alg);
      for (const alg of ['mldsa65-ed25519', 'mldsa44-ed25519', 'mldsa65-p256', 'rot13'])
        assert.equal(codeOf(await derive(alg)), '400 Unsupported', alg);
    });

    test('the same input is the same key, once, also at the same time and after a restart', async () => {
      const asked = { epoch: 100 };
      const answers = await Promise.all([1, 2, 3, 4, 5].map(() => derived('aes-256-gcm', asked)));
      for (const answer of answers) assert.deepEqual(answer, answers[0]);
      const listed = async () =>
        (await good('GET', '/keys?alg=aes-256-gcm')).keys.filter(
          ({ kid }: { kid: string }) => kid === answers[0].kid,
        );
      assert.equal((await listed()).length, 1);
      const before = await mac((await derived('hmac-sha256', asked)).kid);
      assert.equal(await service.stop(), 0);
      service = await startInProcess({ env: { KMS_ENGINE: engine }, dataDir: service.dataDir });
      assert.deepEqual(await derived('aes-256-gcm', asked), answers[0]);
      assert.equal((await listed()).length, 1);
      assert.equal(await mac((await derived('hmac-sha256', asked)).kid), before);
    });

    test('another node with the same parent derives the same secret', async () => {
      const kid = await importKey('hkdf-sha256', secret);
      const here = await derived('hmac-sha256', { epoch: 5 });
      const there = await derived('hmac-sha256', { epoch: 5 }, kid);
      assert.notEqual(here.kid, there.kid, 'another key record, as the parent is another');
      assert.equal(await mac(here.kid), await mac(there.kid));
    });

    test('another origin, instance, epoch, algorithm or parent is another key', async () => {
      const other = await importKey('hkdf-sha256', randomBytes(32));
      const macs = [
        await mac((await derived('hmac-sha256')).kid),
        await mac((await derived('hmac-sha256', { origin: 'edge-2' })).kid),
        await mac((await derived('hmac-sha256', { instance: 'b' })).kid),
        await mac((await derived('hmac-sha256', { epoch: 8 })).kid),
        await mac((await derived('hmac-sha256', {}, other)).kid),
      ];
      assert.equal(new Set(macs).size, macs.length);
      const algs = await Promise.all(['x25519', 'ed25519', 'aes-256-gcm'].map((alg) => derived(alg)));
      assert.equal(new Set(algs.map(({ kid }) => idOf(kid).split('/').at(-1))).size, 3);
    });

    test('a derived key says so, does not rotate, and is exported as little as others', async () => {
      const { kid } = await derived('ed25519', { epoch: 20 });
      const read = await good('GET', `/keys/${idOf(kid)}`);
      assert.deepEqual([read.versions[0].source, read.versions[0].derived_from], ['derived', parent]);
      assert.equal(codeOf(await ask('POST', `/keys/${idOf(kid)}/rotate`)), '409 Conflict');
      assert.equal(codeOf(await ask('GET', `/keys/${idOf(kid)}/export`)), '403 ExportForbidden');
      const { records } = await good('GET', '/audit/records?limit=1000');
      const own = records.map(({ record }: { record: { key_id: string } }) => record);
      const created = own.find(
        ({ key_id, type }: { key_id: string; type?: string }) =>
          key_id === idOf(kid) && type === 'key.create',
      );
      assert.deepEqual(
        [created.purpose, created.data.source, created.data.derived_from],
        ['derive', 'derived', parent],
      );
      const use = own.find(
        ({ key_id, purpose }: { key_id: string; purpose: string }) =>
          key_id === idOf(parent) && purpose === 'derive',
      );
      assert.equal(use.result, 'ok');
    });

    test('a rotated parent derives others; by its version the same as before, until that is destroyed', async () => {
      const own = await importKey('hkdf-sha256', randomBytes(32));
      const first = await derived('hmac-sha256', {}, idOf(own));
      await good('POST', `/keys/${idOf(own)}/rotate`);
      const second = await derived('hmac-sha256', {}, idOf(own));
      assert.notEqual(second.kid, first.kid);
      assert.notEqual(await mac(second.kid), await mac(first.kid));
      assert.deepEqual(await derived('hmac-sha256', {}, own), first);
      assert.equal(codeOf(await derive('hmac-sha256', { epoch: 9 }, own)), 'ok');
      await good('POST', `/keys/${encodeURIComponent(own)}/destroy`);
      assert.equal(codeOf(await derive('hmac-sha256', {}, own)), '409 Conflict');
      assert.ok(await mac(first.kid), 'what was derived from it before is a key of its own');
    });

    test('a derived key that was destroyed is not derived again', async () => {
      const { kid } = await derived('hmac-sha256', { epoch: 30 });
      await good('POST', `/keys/${idOf(kid)}/destroy`);
      assert.equal(codeOf(await derive('hmac-sha256', { epoch: 30 })), '409 Conflict');
      assert.equal(codeOf(await ask('POST', '/mac', { kid, message_b64: '' })), '409 Conflict');
    });

    test('a context of another form, another kind of key and another tenant are refused', async () => {
      for (const more of [
        ...['', 'a:b', 'a b', 'ä', 'a/b', 'x'.repeat(129), 7, null].map((origin) => ({ origin })),
        ...['', '::', 'x'.repeat(129), undefined].map((instance) => ({ instance })),
        ...[-1, 0.5, 2 ** 53, '7', null, undefined].map((epoch) => ({ epoch })),
        { more: 1 },
      ])
        assert.equal(codeOf(await derive('hmac-sha256', more)), '400 BadRequest', JSON.stringify(more));
      const { kid } = await good('POST', '/keys', { purpose: 'p', alg: 'hmac-sha256' }, 201);
      assert.equal(codeOf(await derive('ed25519', {}, kid)), '400 Unsupported');
      const acme = await service.mint('acme', 'kms:derive');
      const body = { kid: parent, context, alg: 'ed25519' };
      assert.equal(codeOf(await ask('POST', '/derive', body, acme)), '404 NotFound');
      const signer = await service.mint('default', 'kms:sign,kms:create');
      assert.equal(codeOf(await ask('POST', '/derive', body, signer)), '403 NoCapability');
      const { kid: useless } = await good(
        'POST',
        '/keys',
        { purpose: 'p', alg: 'hkdf-sha256', policy: { usages: ['derive'] } },
        201,
      );
      assert.equal(codeOf(await derive('ed25519', {}, useless)), 'ok');
    });

    test('derivations are counted by origin, which is shown to the tenant’s own alone', async () => {
      await derived('hmac-sha256', { origin: 'counted.example', epoch: 1 });
      await derived('hmac-sha256', { origin: 'counted.example', epoch: 2 });
      const shown = async (token?: string) =>
        (await callForBytes(service, token, 'GET', '/metrics')).text
          .split('\n')
          .filter((line) => line.startsWith('kms_derivations_total'));
      const line = 'kms_derivations_total{tenant="default",origin="counted.example"} 2';
      assert.ok((await shown(service.token)).includes(line), String(await shown(service.token)));
      const [nameless = '', ...others] = await shown();
      assert.deepEqual(others, []);
      assert.match(nameless, /^kms_derivations_total \d+$/);
    });
  });
}

test('keys that are derived count among those that a tenant may make', { timeout: 60_000 }, async () => {
  const service = await startInProcess({ env: { KMS_CREATE_RATE_LIMIT: '1' } });
  const ask = (path: string, body: object) => call(service, service.token, 'POST', `/v1/kms${path}`, body);
  const { kid } = (await ask('/keys', { purpose: 'p', alg: 'hkdf-sha256' })).body;
  const codes: number[] = [];
  for (let epoch = 0; epoch < 30 && !codes.includes(429); epoch++)
    codes.push((await ask('/derive', { kid, context: { ...context, epoch }, alg: 'hmac-sha256' })).status);
  assert.ok(codes.includes(429), String(codes));
  const again = await ask('/derive', { kid, context: { ...context, epoch: 0 }, alg: 'hmac-sha256' });
  assert.equal(again.status, 201, 'one that is there costs no place');
  await service.stop();
});
