import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before, describe } from 'node:test';
import { CertificationRequest } from '@peculiar/asn1-csr';
import { AsnConvert } from '@peculiar/asn1-schema';
import { compactVerify, createLocalJWKSet, importJWK, type JSONWebKeySet, jwtVerify } from 'jose';
import { startInProcess } from '../support/in-process.ts';
import { call, type InProcessService, temporaryDirectory } from '../support/service.ts';

/** Every alg that JSON Web Signatures know, by the algorithm of the key. */
const jws: Readonly<Record<string, readonly string[]>> = {
  ed25519: ['EdDSA'],
  'ecdsa-p256': ['ES256'],
  'ecdsa-p384': ['ES384'],
  'rsa-2048': ['PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512'],
  'ml-dsa-44': ['ML-DSA-44'],
  'ml-dsa-65': ['ML-DSA-65'],
  'ml-dsa-87': ['ML-DSA-87'],
};
const composite = 'mldsa65-ed25519';
const withoutForm = ['ed25519+ml-dsa-65', 'hmac-sha256'];

describe('standard formats', { timeout: 240_000 }, () => {
  let service: InProcessService;
  const kids: Record<string, string> = {};
  const directory = temporaryDirectory();
  const ask = (path: string, body: unknown) => call(service, service.token, 'POST', `/v1/kms${path}`, body);
  const make = async (alg: string, purpose = 'web') => {
    const { status, body } = await ask('/keys', { purpose, alg });
    assert.equal(status, 201, JSON.stringify(body));
    return body.kid as string;
  };
  const get = (path: string, headers: Record<string, string> = {}) =>
    service.send({ method: 'GET', path: `/v1/kms${path}`, token: service.token, headers });
  const formatOf = (kid: string, format: string) => get(`/keys/${encodeURIComponent(kid)}?format=${format}`);
  const jwks = async (query = ''): Promise<JSONWebKeySet> => JSON.parse((await get(`/jwks${query}`)).text);
  const file = (name: string, bytes: string | Uint8Array) => {
    const path = join(directory, name);
    writeFileSync(path, bytes);
    return path;
  };
  const isRefused = async (path: string, body: unknown, status: number, code: string) => {
    const answer = await ask(path, body);
    assert.deepEqual(
      [answer.status, answer.body.error?.code],
      [status, code],
      JSON.stringify(body).slice(0, 200),
    );
  };

  before(async () => {
    service = await startInProcess();
    for (const alg of [...Object.keys(jws), composite, 'x25519', ...withoutForm]) kids[alg] = await make(alg);
  });
  after(() => service.stop());

  test('jose verifies a token of every alg by the key set', async () => {
    const keys = createLocalJWKSet(await jwks());
    for (const [name, algs] of Object.entries(jws)) {
      for (const [n, alg] of algs.entries()) {
        const header = n === 0 ? undefined : { alg };
        const { status, body } = await ask('/jwt', {
          kid: kids[name],
          header,
          claims: { sub: 'alice', exp: 4e9 },
        });
        assert.equal(status, 200, JSON.stringify(body));
        const verified = await jwtVerify(body.token, keys, { algorithms: [alg] });
        assert.equal(verified.payload.sub, 'alice');
        assert.deepEqual(verified.protectedHeader, { typ: 'JWT', alg, kid: kids[name] });
      }
    }
  });

  test('a key as jwk is the one of the set, and verifies', async () => {
    for (const name of Object.keys(jws)) {
      const answer = await formatOf(kids[name] as string, 'jwk');
      assert.equal(answer.headers['content-type'], 'application/jwk+json');
      const jwk = JSON.parse(answer.text);
      assert.deepEqual([jwk], (await jwks(`?kid=${encodeURIComponent(kids[name] as string)}`)).keys);
      const { token } = (await ask('/jwt', { kid: kids[name], claims: {} })).body;
      await compactVerify(token, await importJWK(jwk, jws[name]?.[0]));
    }
  });

  test('openssl reads pem and der of classical keys, and node those of ML-DSA', async () => {
    for (const name of [...Object.keys(jws), 'x25519']) {
      const pem = await formatOf(kids[name] as string, 'pem');
      const der = await formatOf(kids[name] as string, 'der');
      assert.deepEqual([pem.status, der.status], [200, 200]);
      const read = createPublicKey(pem.text).export({ format: 'der', type: 'spki' });
      assert.deepEqual(read, Buffer.from(der.bytes));
      if (name.startsWith('ml-dsa')) continue;
      const args = ['pkey', '-pubin', '-inform', 'DER', '-in', file('key.der', der.bytes)];
      assert.equal(execFileSync('openssl', args, { encoding: 'utf8' }), pem.text);
    }
  });

  test('openssl verifies certification requests; those of ML-DSA verify over their CertificationRequestInfo', async () => {
    for (const name of [...Object.keys(jws), composite]) {
      const { status, body } = await ask('/csr', {
        kid: kids[name],
        subject: 'CN=web.example,O=Example\\, Inc.',
      });
      assert.equal(status, 200, JSON.stringify(body));
      assert.equal(body.kid, kids[name]);
      const pem: string = body.csr_pem;
      const der = Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64');
      if (name.startsWith('ml')) {
        const request = AsnConvert.parse(der, CertificationRequest);
        const { certificationRequestInfo: info, signatureAlgorithm, signature } = request;
        assert.equal(signatureAlgorithm.algorithm, info.subjectPKInfo.algorithm.algorithm);
        assert.equal(signatureAlgorithm.parameters, undefined);
        const message = Buffer.from(AsnConvert.serialize(info));
        if (name === composite) {
          const sigs = [{ kid: kids[name], signature_b64: Buffer.from(signature).toString('base64') }];
          const verified = await ask('/verify', { message_b64: message.toString('base64'), sigs });
          assert.equal(verified.body.ok, true);
          continue;
        }
        const key = createPublicKey((await formatOf(kids[name] as string, 'pem')).text);
        assert.ok(verify(null, message, key, Buffer.from(signature)));
        continue;
      }
      const args = ['req', '-verify', '-noout', '-subject', '-in', file('csr.pem', pem)];
      const said = execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
      assert.match(said, /CN = web\.example, O = "Example, Inc\."/);
    }
  });

  test('formats that no standard has are Unsupported, unknown ones BadRequest', async () => {
    const refused = async (kid: string, format: string, code: string) => {
      const answer = await formatOf(kid, format);
      assert.deepEqual([answer.status, JSON.parse(answer.text).error.code], [400, code], `${kid} ${format}`);
    };
    for (const alg of withoutForm)
      for (const format of ['pem', 'der', 'jwk', 'ssh'])
        await refused(kids[alg] as string, format, 'Unsupported');
    await refused(kids['ml-dsa-65'] as string, 'ssh', 'Unsupported');
    await refused(kids.x25519 as string, 'ssh', 'Unsupported');
    await refused(kids[composite] as string, 'jwk', 'Unsupported');
    await refused(kids.ed25519 as string, 'p12', 'BadRequest');
    assert.equal(
      (await formatOf('acme/web/ed25519/00000000-0000-4000-8000-000000000000', 'pem')).status,
      404,
    );
    assert.equal((await formatOf((kids.ed25519 as string).replace('default', 'other'), 'pem')).status, 404);
  });

  test('a key set has an ETag and is answered with 304 where it is known', async () => {
    const first = await get('/jwks');
    assert.equal(first.headers['content-type'], 'application/jwk-set+json');
    assert.equal(first.headers['cache-control'], 'private, max-age=60');
    const etag = first.headers.etag as string;
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const again = await get('/jwks', { 'if-none-match': known });
      assert.deepEqual([again.status, again.text, again.headers.etag], [304, '', etag]);
    }
    await make('ed25519', 'changed');
    assert.equal((await get('/jwks', { 'if-none-match': etag })).status, 200);
  });

  test('a key set is narrowed, newest first, and without what is destroyed', async () => {
    const kid = await make('ed25519', 'narrow');
    const id = kid.slice(0, kid.indexOf('#'));
    const path = `/keys/${id}`;
    await ask(`${path}/rotate`, {});
    assert.deepEqual(
      (await jwks('?purpose=narrow')).keys.map((key) => key.kid),
      [`${id}#v2`, `${id}#v1`],
    );
    const one = await jwks(`?purpose=narrow&kid=${encodeURIComponent(kid)}`);
    assert.deepEqual(
      one.keys.map((key) => key.kid),
      [kid],
    );
    assert.deepEqual((await jwks(`?purpose=web&kid=${encodeURIComponent(kid)}`)).keys, []);
    await ask(`${path}/destroy`, { version: 1 });
    assert.deepEqual(
      (await jwks(`?kid=${id}`)).keys.map((key) => key.kid),
      [`${id}#v2`],
    );
    await ask(`${path}/destroy`, {});
    assert.deepEqual((await jwks('?purpose=narrow')).keys, []);
    await isRefused('/jwt', { kid: id, claims: {} }, 409, 'Conflict');
    await isRefused('/csr', { kid: id, subject: 'CN=a' }, 409, 'Conflict');
    for (const [query, status] of [
      ['?what=1', 400],
      ['?kid=nothing', 400],
      ['?purpose=A!', 400],
      ['?kid=other/web/ed25519/00000000-0000-4000-8000-000000000000', 404],
    ] as const)
      assert.equal((await get(`/jwks${query}`)).status, status, query);
  });

  test('a key set has the 500 newest versions', async () => {
    const kid = await make('ed25519', 'many');
    const id = kid.slice(0, kid.indexOf('#'));
    for (let n = 0; n < 504; n++) assert.equal((await ask(`/keys/${id}/rotate`, {})).status, 200);
    const { keys } = await jwks('?purpose=many');
    assert.deepEqual([keys.length, keys[0]?.kid, keys[499]?.kid], [500, `${id}#v505`, `${id}#v6`]);
  });

  test('tokens and requests that cannot be are refused', async () => {
    const kid = kids.ed25519 as string;
    const claims = {};
    for (const body of [
      {},
      { kid },
      { kid, claims: 'a' },
      { kid, claims, header: [] },
      { kid, claims, more: 1 },
      { kid, claims, header: { crit: ['exp'] } },
      { kid, claims, header: { b64: false } },
      { kid, claims, header: { kid: 'another' } },
      { kid, claims: { exp: '1' } },
    ])
      await isRefused('/jwt', body, 400, 'BadRequest');
    await isRefused('/jwt', { kid, claims, header: { alg: 'none' } }, 400, 'Unsupported');
    await isRefused('/jwt', { kid, claims, header: { alg: 'ES256' } }, 400, 'Unsupported');
    for (const alg of [...withoutForm, composite, 'x25519']) {
      await isRefused('/jwt', { kid: kids[alg], claims }, 400, 'Unsupported');
      if (alg !== composite) await isRefused('/csr', { kid: kids[alg], subject: 'CN=a' }, 400, 'Unsupported');
    }
    await isRefused('/jwt', { kid, claims: { a: 'x'.repeat(65_536) } }, 413, 'TooLarge');
    await isRefused('/jwt', { kid: kid.replace('default', 'other'), claims }, 404, 'NotFound');
    for (const body of [
      { kid },
      { kid, subject: 1 },
      { kid, subject: '' },
      { kid, subject: 'nothing' },
      { kid, subject: 'CN=a', more: 1 },
      { kid, subject: `CN=${'x'.repeat(1_100)}` },
    ])
      await isRefused('/csr', body, 400, 'BadRequest');
    await isRefused('/csr', { kid: kid.replace('default', 'other'), subject: 'CN=a' }, 404, 'NotFound');
  });
});

test('a known key set has no body behind its 304, and the connection goes on', {
  timeout: 60_000,
}, async () => {
  const listening = await startInProcess({ listen: true });
  const authorization = `Bearer ${listening.token}`;
  const url = `${listening.url}/v1/kms/jwks`;
  const first = await fetch(url, { headers: { authorization } });
  assert.deepEqual(await first.json(), { keys: [] });
  for (let n = 0; n < 3; n++) {
    const again = await fetch(url, {
      headers: { authorization, 'if-none-match': first.headers.get('etag') ?? '' },
    });
    assert.deepEqual([again.status, await again.text()], [304, '']);
  }
  assert.equal((await fetch(url, { headers: { authorization } })).status, 200);
  await listening.stop();
});
