import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test, { after, before, describe } from 'node:test';
import fc from 'fast-check';
import { sealedHeader } from '../../src/operations/sealing/sealed-form.ts';
import { servedEngines } from '../support/engines.ts';
import { startInProcess } from '../support/in-process.ts';
import { metric } from '../support/requests.ts';
import { base64, flippedBit, idOf } from '../support/sealing-client.ts';
import { call, type InProcessService, type JsonAnswer } from '../support/service.ts';

const secret = base64('a small secret');
const kidIn = (sealed: string) => {
  const bytes = Buffer.from(sealed, 'base64');
  return bytes.subarray(3, 3 + bytes[2]!).toString('latin1');
};

for (const { name: engine } of servedEngines()) {
  describe(`sealing with the ${engine} engine`, { timeout: 120_000 }, () => {
    let service: InProcessService;
    const texts = new Set<string>();

    const ask = (path: string, body?: unknown, token = service.token) =>
      call(service, token, 'POST', `/v1/kms${path}`, body);
    const good = async (path: string, body?: unknown, status = 200) => {
      const answer = await ask(path, body);
      assert.equal(answer.status, status, `${path}: ${JSON.stringify(answer.body)}`);
      return answer.body;
    };
    const codeOf = ({ status, body }: JsonAnswer) => (status < 300 ? 'ok' : `${status} ${body.error.code}`);
    const seal = async (purpose: string, plaintext_b64 = secret, aad_b64?: string): Promise<string> =>
      (await good('/seal', { purpose, plaintext_b64, ...(aad_b64 && { aad_b64 }) })).sealed_b64;
    const unseal = (sealed_b64: string, aad_b64?: string, token?: string) =>
      ask('/unseal', { sealed_b64, ...(aad_b64 && { aad_b64 }) }, token);
    const opened = async (sealed: string, aad?: string) => {
      const answer = await unseal(sealed, aad);
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      assert.deepEqual(Object.keys(answer.body), ['plaintext_b64']);
      return answer.body.plaintext_b64;
    };
    /** One text for all of them. */
    const assertUnopened = (answer: JsonAnswer, what: string) => {
      assert.equal(codeOf(answer), '400 BadRequest', what);
      texts.add(`${answer.body.error.message} ${answer.body.error.hint}`);
    };

    before(async () => {
      service = await startInProcess({ env: { KMS_ENGINE: engine } });
    });
    after(async () => {
      assert.ok(texts.size <= 1, [...texts].join('\n'));
      await service.stop();
    });

    test('what is sealed opens, empty and up to 64 KiB, with its aad and without', async () => {
      for (const bytes of [0, 1, 32, 65_536]) {
        const plaintext = base64(randomBytes(bytes));
        assert.equal(await opened(await seal('web', plaintext)), plaintext);
        assert.equal(await opened(await seal('web', plaintext, base64('aad')), base64('aad')), plaintext);
      }
      assert.notEqual(await seal('web'), await seal('web'));
      const more = { purpose: 'web', plaintext_b64: base64(randomBytes(65_537)) };
      assert.equal(codeOf(await ask('/seal', more)), '413 TooLarge');
    });

    test('the header names the form, the scheme and the version, and is authenticated', async () => {
      const sealed = await seal('web', secret, base64('aad'));
      const bytes = Buffer.from(sealed, 'base64');
      const kid = kidIn(sealed);
      assert.match(kid, /^default\/web\/xaes-256-gcm\/[0-9a-f-]{36}#v1$/);
      assert.deepEqual([...bytes.subarray(0, 3)], [1, 35, kid.length]);
      assert.equal(bytes.length, 3 + kid.length + 24 + 14 + 16);
      for (const at of [0, 1, 2, 3, 20, 3 + kid.length - 1, 3 + kid.length, -1, -17])
        assertUnopened(await unseal(flippedBit(sealed, at), base64('aad')), `a bit at ${at}`);
      for (const cut of [0, 1, 2, 3, 50, 3 + kid.length, bytes.length - 1])
        assertUnopened(await unseal(base64(bytes.subarray(0, cut)), base64('aad')), `cut to ${cut}`);
      assertUnopened(await unseal(base64(Buffer.concat([bytes, Buffer.of(0)])), base64('aad')), 'longer');
      assertUnopened(await unseal(sealed), 'no aad');
      assertUnopened(await unseal(sealed, base64('Aad')), 'another aad');
    });

    test('bytes of the header do not move into the aad, nor the other way round', async () => {
      const plain = Buffer.from(await seal('web'), 'base64');
      const header = sealedHeader(kidIn(base64(plain)));
      const body = plain.subarray(header.length);
      for (const aad of [header, Buffer.concat([header, header]), body])
        assertUnopened(await unseal(base64(plain), base64(aad)), 'the header as aad');
    });

    test('first uses at the same time make one key, which is limited to sealing', async () => {
      const sealed = await Promise.all(Array.from({ length: 8 }, () => seal('crowd')));
      assert.equal(new Set(sealed.map(kidIn)).size, 1);
      const { keys } = (await call(service, service.token, 'GET', '/v1/kms/keys?purpose=crowd')).body;
      assert.deepEqual(
        keys.map(({ kid, policy }: { kid: string; policy: unknown }) => [kid, policy]),
        [[kidIn(sealed[0]!), { usages: ['seal', 'unseal'] }]],
      );
      const [kid] = [kidIn(sealed[0]!)];
      for (const [path, body] of [
        ['/encrypt', { kid, plaintext_b64: secret }],
        ['/wrap', { kid, plaintext_b64: secret }],
        ['/datakey', { kid, size: 32, plaintext: true }],
        ['/decrypt', { kid, nonce_b64: base64(randomBytes(24)), ciphertext_b64: secret }],
        ['/unwrap', { kid, wrapped_b64: base64(randomBytes(80)) }],
      ] as const)
        assert.equal(codeOf(await ask(path, body)), '403 PolicyViolation', path);
    });

    test('what another operation made does not unseal, nor a body under the header of another key', async () => {
      const { kid } = await good('/keys', { purpose: 'mixed', alg: 'xaes-256-gcm' }, 201);
      const header = sealedHeader(kid);
      const { wrapped_b64 } = await good('/wrap', { kid, plaintext_b64: secret });
      const { nonce_b64, ciphertext_b64 } = await good('/encrypt', { kid, plaintext_b64: secret });
      const encrypted = Buffer.concat([nonce_b64, ciphertext_b64].map((text) => Buffer.from(text, 'base64')));
      const withHeader = await good('/wrap', { kid, plaintext_b64: secret, aad_b64: base64(header) });
      for (const body of [
        Buffer.from(wrapped_b64, 'base64'),
        Buffer.from(withHeader.wrapped_b64, 'base64'),
        encrypted,
      ])
        assertUnopened(await unseal(base64(Buffer.concat([header, body]))), 'of another operation');
      // The body of a sealed secret under the header of another purpose's key, and of a key of another algorithm.
      const sealed = Buffer.from(await seal('web'), 'base64');
      const body = sealed.subarray(sealedHeader(kidIn(base64(sealed))).length);
      const other = kidIn(await seal('mixed'));
      for (const named of [other, kid])
        assertUnopened(await unseal(base64(Buffer.concat([sealedHeader(named), body]))), named);
      const signer = (await good('/keys', { purpose: 'mixed', alg: 'ed25519' }, 201)).kid;
      assertUnopened(await unseal(base64(Buffer.concat([sealedHeader(signer), body]))), 'a signing key');
      const missing = other.replace(/[0-9a-f]{12}#/, '000000000000#');
      assertUnopened(await unseal(base64(Buffer.concat([sealedHeader(missing), body]))), 'no such key');
      assertUnopened(
        await unseal(base64(Buffer.concat([sealedHeader(other.replace('#v1', '#v9')), body]))),
        'v9',
      );
    });

    test('after a rotation and a restart older versions unseal; after their destruction nothing does', async () => {
      const first = await seal('turns');
      const id = idOf(kidIn(first));
      await good(`/keys/${id}/rotate`);
      const second = await seal('turns');
      assert.equal(kidIn(second), `${id}#v2`);
      assert.equal(await opened(first), secret);
      assert.equal(await service.stop(), 0);
      service = await startInProcess({ env: { KMS_ENGINE: engine }, dataDir: service.dataDir });
      assert.deepEqual([await opened(first), await opened(second)], [secret, secret]);
      await good(`/keys/${encodeURIComponent(`${id}#v1`)}/destroy`);
      assert.equal(codeOf(await unseal(first)), '409 Conflict');
      assert.equal(await opened(second), secret);
      await good(`/keys/${id}/destroy`);
      assert.equal(codeOf(await unseal(second)), '409 Conflict');
      const next = await seal('turns');
      assert.notEqual(idOf(kidIn(next)), id, 'a purpose goes on with another key');
      assert.equal(await opened(next), secret);
      assert.equal(idOf(kidIn(await seal('turns'))), idOf(kidIn(next)));
    });

    test('another tenant has a key of its own and opens nothing of others', async () => {
      const sealed = await seal('web');
      const acme = await service.mint('acme', 'kms:wrap,kms:unwrap');
      assertUnopened(await unseal(sealed, undefined, acme), 'another tenant');
      const theirs = await ask('/seal', { purpose: 'web', plaintext_b64: secret }, acme);
      assert.match(kidIn(theirs.body.sealed_b64), /^acme\/web\//);
      assertUnopened(await unseal(theirs.body.sealed_b64), 'theirs');
      const onlySeals = await service.mint('default', 'kms:wrap');
      assert.equal(codeOf(await unseal(sealed, undefined, onlySeals)), '403 NoCapability');
      const onlyOpens = await service.mint('default', 'kms:unwrap');
      assert.equal(
        codeOf(await ask('/seal', { purpose: 'web', plaintext_b64: '' }, onlyOpens)),
        '403 NoCapability',
      );
    });

    test('requests of another form are refused', async () => {
      for (const body of [
        {},
        { purpose: 'web' },
        { plaintext_b64: secret },
        { purpose: 'P P', plaintext_b64: secret },
        { purpose: '', plaintext_b64: secret },
        { purpose: 'x'.repeat(64), plaintext_b64: secret },
        { purpose: 'web', plaintext_b64: '!' },
        { purpose: 'web', plaintext_b64: 7 },
        { purpose: 'web', plaintext_b64: secret, aad_b64: null },
        { purpose: 'web', plaintext_b64: secret, kid: 'x' },
      ])
        assert.equal(codeOf(await ask('/seal', body)), '400 BadRequest', JSON.stringify(body));
      for (const body of [{}, { sealed_b64: 7 }, { sealed_b64: 'A' }, { sealed_b64: 'AAAA', more: 1 }])
        assert.equal(codeOf(await ask('/unseal', body)), '400 BadRequest', JSON.stringify(body));
      assert.equal(codeOf(await unseal(base64(randomBytes(70_000)))), '413 TooLarge');
    });

    test('no bytes open that were not sealed, and none are an error of ours', async () => {
      const sealed = Buffer.from(await seal('web'), 'base64');
      await fc.assert(
        fc.asyncProperty(
          fc.oneof(
            fc.uint8Array({ maxLength: 300 }),
            fc
              .tuple(fc.nat(sealed.length - 1), fc.integer({ min: 1, max: 255 }))
              .map(([at, by]) => Buffer.from(sealed.map((byte, index) => (index === at ? byte ^ by : byte)))),
            fc.uint8Array({ maxLength: 80 }).map((tail) => Buffer.concat([sealed.subarray(0, 60), tail])),
          ),
          async (bytes) => assertUnopened(await unseal(base64(bytes)), 'any bytes'),
        ),
        { numRuns: 150 },
      );
    });

    test('seals and unseals are counted by whether they succeeded', async () => {
      assert.ok((await metric(service, 'kms_seal_total', 'ok="true"')) > 0);
      assert.ok((await metric(service, 'kms_unseal_total', 'ok="true"')) > 0);
      assert.ok((await metric(service, 'kms_unseal_total', 'ok="false"')) > 0);
    });
  });
}

test('a service without XAES seals by the next algorithm that it allows, and by none where it allows none', {
  timeout: 60_000,
}, async () => {
  for (const [allowed, alg] of [
    ['aes-256-gcm,ed25519', 'aes-256-gcm'],
    ['chacha20-poly1305', 'chacha20-poly1305'],
    ['ed25519', undefined],
  ] as const) {
    const service = await startInProcess({ env: { KMS_ALLOWED_ALGS: allowed } });
    const body = { purpose: 'web', plaintext_b64: secret };
    const answer = await call(service, service.token, 'POST', '/v1/kms/seal', body);
    if (alg === undefined) assert.equal(answer.body.error.code, 'PolicyViolation');
    else assert.equal(kidIn(answer.body.sealed_b64).split('/')[2], alg);
    await service.stop();
  }
});
