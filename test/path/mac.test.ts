import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test, { after, before, describe } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, type InProcessService, type JsonAnswer } from '../support/service.ts';
import { testedServices } from '../support/tested-services.ts';

const base64 = (bytes: Uint8Array | string) => Buffer.from(bytes).toString('base64');
const hello = base64('hello world');

for (const tested of testedServices) {
  describe(`message authentication with ${tested.name}`, { timeout: 60_000 }, () => {
    let service: InProcessService;
    let kid: string;

    const ask = (method: string, path: string, body?: unknown, token = service.token) =>
      call(service, token, method, `/v1/kms${path}`, body);
    const answered = ({ status, body }: JsonAnswer, expected = 200) => {
      assert.equal(status, expected, JSON.stringify(body));
      return body;
    };
    const refused = ({ status, body }: JsonAnswer, expected: number, code: string) => {
      assert.equal(status, expected, JSON.stringify(body));
      assert.equal(body.error.code, code);
    };
    const create = async (alg = 'hmac-sha256') =>
      answered(await ask('POST', '/keys', { purpose: 'web', alg }), 201);
    const macOf = async (key: string, message = hello): Promise<string> =>
      answered(await ask('POST', '/mac', { kid: key, message_b64: message })).mac_b64;
    const verify = async (key: string, mac: string, message = hello) =>
      answered(await ask('POST', '/mac/verify', { kid: key, message_b64: message, mac_b64: mac }));

    before(async () => {
      service = await tested.start();
      ({ kid } = await create());
    });
    after(() => service.stop());

    test('a new key shows no public part, wherever it is shown', async () => {
      const made = await create();
      assert.deepEqual(Object.keys(made), ['kid', 'created_at']);
      const id = made.kid.replace('#v1', '');
      const read = answered(await ask('GET', `/keys/${id}`));
      assert.equal(read.alg, 'hmac-sha256');
      assert.equal(read.versions[0].public, undefined);
      const rotated = answered(await ask('POST', `/keys/${id}/rotate`));
      assert.deepEqual(Object.keys(rotated), ['kid', 'previous']);
      assert.doesNotMatch(JSON.stringify(answered(await ask('GET', '/keys'))), /pubkey|sealed|secret/);
    });

    test('a tag verifies over its message and no other, and names the version that made it', async () => {
      const id = kid.replace('#v1', '');
      const made = answered(await ask('POST', '/mac', { kid: id, message_b64: hello }));
      assert.equal(made.kid, `${id}#v1`);
      assert.equal(Buffer.from(made.mac_b64, 'base64').length, 32);
      assert.deepEqual(await verify(id, made.mac_b64), { ok: true });
      assert.deepEqual(await verify(id, made.mac_b64, base64('hello World')), { ok: false });
      const other = (await create()).kid;
      assert.notEqual(await macOf(other), made.mac_b64);
      assert.deepEqual(await verify(other, made.mac_b64), { ok: false });
    });

    test('a tag of another length is not ok, and neither is one with a flipped bit', async () => {
      const tag = Buffer.from(await macOf(kid), 'base64');
      for (const length of [0, 1, 31]) {
        assert.deepEqual(await verify(kid, base64(tag.subarray(0, length))), { ok: false });
      }
      assert.deepEqual(await verify(kid, base64(Buffer.concat([tag, Buffer.of(0)]))), { ok: false });
      assert.deepEqual(await verify(kid, base64(randomBytes(256))), { ok: false });
      tag[31] = (tag[31] as number) ^ 1;
      assert.deepEqual(await verify(kid, base64(tag)), { ok: false });
    });

    test('messages have 0 to 65,536 bytes', async () => {
      for (const length of [0, 1, 1_024, 1_025, 65_536]) {
        const message = base64(randomBytes(length));
        assert.deepEqual(await verify(kid, await macOf(kid, message), message), { ok: true });
      }
      const tooLong = base64(randomBytes(65_537));
      refused(await ask('POST', '/mac', { kid, message_b64: tooLong }), 400, 'BadRequest');
    });

    test('after a rotation the older version makes no tag and verifies its own', async () => {
      const first = (await create()).kid;
      const tag = await macOf(first);
      const id = first.replace('#v1', '');
      const second = answered(await ask('POST', `/keys/${id}/rotate`)).kid;
      refused(await ask('POST', '/mac', { kid: first, message_b64: hello }), 409, 'Conflict');
      assert.deepEqual(await verify(first, tag), { ok: true });
      assert.deepEqual(await verify(id, tag), { ok: false });
      assert.deepEqual(await verify(second, await macOf(id)), { ok: true });
      answered(await ask('POST', `/keys/${id}/destroy`, { version: 1 }));
      refused(
        await ask('POST', '/mac/verify', { kid: first, message_b64: hello, mac_b64: tag }),
        409,
        'Conflict',
      );
    });

    test('requests of the wrong form are refused', async () => {
      const bodies: [string, unknown][] = [
        ['/mac', { kid }],
        ['/mac', { message_b64: hello }],
        ['/mac', { kid, message_b64: 'not base64' }],
        ['/mac', { kid, message_b64: 5 }],
        ['/mac', { kid, message_b64: hello, more: 1 }],
        ['/mac', []],
        ['/mac/verify', { kid, message_b64: hello }],
        ['/mac/verify', { kid, message_b64: hello, mac_b64: '%' }],
        ['/mac/verify', { kid, message_b64: hello, mac_b64: base64(randomBytes(257)) }],
      ];
      for (const [path, body] of bodies) refused(await ask('POST', path, body), 400, 'BadRequest');
      const { status } = await ask('GET', '/mac');
      assert.equal(status, 405);
    });

    test('a key does what its algorithm is for', async () => {
      const signing = (await create('ed25519')).kid;
      refused(await ask('POST', '/mac', { kid: signing, message_b64: hello }), 400, 'Unsupported');
      refused(await ask('POST', '/sign', { kid, payload_b3: helloWorldB3 }), 400, 'Unsupported');
      const sigs = [{ kid, signature_b64: await macOf(kid) }];
      refused(await ask('POST', '/verify', { payload_b3: helloWorldB3, sigs }), 400, 'Unsupported');
    });

    test('scopes and tenants hold as they do for signatures', async () => {
      const mac = await macOf(kid);
      const request = { kid, message_b64: hello };
      const signer = await service.mint('default', 'kms:sign');
      answered(await ask('POST', '/mac', request, signer));
      refused(await ask('POST', '/mac/verify', { ...request, mac_b64: mac }, signer), 403, 'NoCapability');
      const verifier = await service.mint('default', 'kms:verify');
      answered(await ask('POST', '/mac/verify', { ...request, mac_b64: mac }, verifier));
      refused(await ask('POST', '/mac', request, verifier), 403, 'NoCapability');
      const stranger = await service.mint('globex', 'kms:sign');
      refused(await ask('POST', '/mac', request, stranger), 404, 'NotFound');
    });

    test('each use is on the log, with a hash of its message and never the message', async () => {
      const own = (await create()).kid;
      const message = base64('a message that nobody else sends');
      await verify(own, await macOf(own, message), message);
      await verify(own, base64(randomBytes(32)), message);
      const page = answered(await ask('GET', '/audit/records?from=0&limit=1000'));
      const records = (page.records as { record: Record<string, unknown> }[])
        .map(({ record }) => record)
        .filter(({ key_id }) => key_id === own.replace('#v1', ''));
      const uses = records.filter(({ purpose }) => String(purpose).startsWith('mac'));
      assert.deepEqual(
        uses.map(({ purpose, alg, key_version, result }) => ({ purpose, alg, key_version, result })),
        [
          { purpose: 'mac', alg: 'hmac-sha256', key_version: 1, result: 'ok' },
          { purpose: 'mac_verify', alg: 'hmac-sha256', key_version: 1, result: 'ok' },
          { purpose: 'mac_verify', alg: 'hmac-sha256', key_version: 1, result: 'invalid' },
        ],
      );
      assert.match(String(uses[0]?.input_hash), /^hmac-sha256:1:[0-9a-f]{64}$/);
      assert.equal(uses[0]?.input_hash, uses[1]?.input_hash);
    });
  });
}

test('a limit of a key counts its tags and its verifications of tags', { timeout: 60_000 }, async () => {
  const service = await startInProcess({ env: { KMS_KEY_USES_PER_DAY: '2' } });
  try {
    const ask = (path: string, body: unknown) => call(service, service.token, 'POST', `/v1/kms${path}`, body);
    const { kid } = (await ask('/keys', { purpose: 'web', alg: 'hmac-sha256' })).body;
    const { mac_b64 } = (await ask('/mac', { kid, message_b64: hello })).body;
    assert.equal((await ask('/mac/verify', { kid, message_b64: hello, mac_b64 })).status, 200);
    assert.equal((await ask('/mac', { kid, message_b64: hello })).status, 429);
  } finally {
    await service.stop();
  }
});
