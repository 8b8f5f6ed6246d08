import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import test, { after, before, suite, type TestContext } from 'node:test';
import { registry } from '../../src/algorithms/registry.ts';
import type { Signature } from '../../src/client/index.ts';
import {
  KmsClient,
  KmsError,
  kmsErrorCodes,
  locallyVerified,
  UnreachableError,
} from '../../src/client/index.ts';
import { failures } from '../../src/core/failure.ts';
import { publicCode } from '../../src/http/dialects/intaglio/failures.ts';
import { startInProcess } from '../support/in-process.ts';
import { type ListeningService, temporaryDirectory } from '../support/service.ts';

const everything = { deadlineMs: 60_000 } as const;

let service: ListeningService;
let client: KmsClient;

before(async () => {
  service = await startInProcess({ listen: true });
  client = new KmsClient({ url: service.url, token: service.token, ...everything });
});

after(async () => {
  await client.close();
  await service.stop();
});

/** A server that answers what the test says, and counts. */
async function answering(context: TestContext, answer: RequestListener, options: object = {}) {
  const asked: { path: string; body: Record<string, unknown>; deadline: string | undefined }[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    asked.push({
      path: request.url ?? '',
      body: body === '' ? {} : JSON.parse(body),
      deadline: request.headers['x-deadline-ms'] as string | undefined,
    });
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const own = new KmsClient({ url, token: 't', ...options });
  context.after(async () => {
    await own.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { own, asked, url };
}

const refusal = (code: string, retryable: boolean, retry_after_ms?: number) =>
  JSON.stringify({ error: { code, message: 'm', retryable, hint: 'h', retry_after_ms } });

test('the codes of errors are those that the service answers', () => {
  const spoken = new Set(Object.keys(failures).map((code) => publicCode(code as keyof typeof failures)));
  assert.deepEqual(new Set(kmsErrorCodes), spoken);
});

test('every way of the signing keys but Ed25519ph is verified locally', () => {
  const ways = registry
    .filter(({ kind }) => kind === 'signature')
    .flatMap(({ components }) => components.flatMap(({ schemes }) => schemes.map(({ alg }) => alg)));
  const missing = [...new Set(ways)].filter((alg) => !locallyVerified.includes(alg));
  assert.deepEqual(missing, ['ed25519ph']);
});

suite('signatures', () => {
  for (const { name, components } of registry.filter(({ kind }) => kind === 'signature')) {
    test(`${name}: signs a payload in all its ways; service and client verify it, and no other payload`, async () => {
      const { kid } = await client.createKey({ purpose: 'client', alg: name });
      const ways = components.length > 1 ? [undefined] : components[0]!.schemes.map(({ alg }) => alg);
      for (const alg of ways.filter((way) => way !== 'ed25519ph')) {
        const payload = Buffer.from(`pay ${alg}`);
        const { sigs } = await client.sign({ kid, payload, ...(alg === undefined ? {} : { alg }) });
        assert.equal((await client.verify({ payload, sigs })).ok, true, alg);
        assert.equal(await client.verifyLocally({ payload }, sigs), true, alg);
        assert.equal(await client.verifyLocally({ payload: Buffer.from('other') }, sigs), false, alg);
        assert.equal((await client.verify({ payload: Buffer.from('other'), sigs })).ok, false, alg);
        if (sigs.length > 1) assert.equal(await client.verifyLocally({ payload }, sigs.slice(0, 1)), false);
      }
    });
  }

  test('bytes, a stream, a web stream, a Blob and a file of one content have one digest', async () => {
    const content = randomBytes(300_000);
    const file = join(temporaryDirectory(), 'payload');
    writeFileSync(file, content);
    const { kid } = await client.createKey({ purpose: 'client', alg: 'ed25519' });
    const { sigs } = await client.sign({ kid, payload: content });
    const blob = new Blob([content]);
    for (const payload of [
      Readable.from([content.subarray(0, 7), content.subarray(7)]),
      blob.stream(),
      blob,
      { file },
    ])
      assert.equal(await client.verifyLocally({ payload }, sigs), true);
  });

  test('a message goes as it is, with a context, and is verified locally', async () => {
    const { kid } = await client.createKey({ purpose: 'client', alg: 'ml-dsa-44' });
    const [message, context] = [Buffer.from('hello'), Buffer.from('of me')];
    const { sigs } = await client.sign({ kid, message, context });
    assert.equal(await client.verifyLocally({ message, context }, sigs), true);
    assert.equal(await client.verifyLocally({ message }, sigs), false);
  });

  test('a long message of ML-DSA goes as its mu, of ECDSA as its digest, where the engine has them', async () => {
    const message = randomBytes(100_000);
    for (const alg of ['ml-dsa-65', 'ecdsa-p256']) {
      const { kid } = await client.createKey({ purpose: 'client', alg });
      const signing = client.sign({ kid: kid.split('#')[0] as string, message });
      if (service.engine === 'openssl') await assert.rejects(signing, { code: 'Unsupported' });
      else assert.equal(await client.verifyLocally({ message }, (await signing).sigs), true);
    }
    const { kid } = await client.createKey({ purpose: 'client', alg: 'ed25519' });
    await assert.rejects(client.sign({ kid, message }), /at most 65536 bytes/);
  });

  test('a signature under the name of another key, or of another algorithm, verifies nothing', async () => {
    const one = await client.createKey({ purpose: 'client', alg: 'ed25519' });
    const other = await client.createKey({ purpose: 'client', alg: 'ecdsa-p256' });
    const payload = Buffer.from('x');
    const [sig] = (await client.sign({ kid: one.kid, payload })).sigs as [Signature];
    const wrong: Signature[] = [
      { ...sig, kid: other.kid },
      { ...sig, alg: 'ecdsa-p256' },
      { ...sig, signature_b64: '!' },
    ];
    for (const each of wrong) assert.equal(await client.verifyLocally({ payload }, [each]), false);
    assert.equal(await client.verifyLocally({ payload }, []), false);
  });
});

test('keys are made, listed, read, rotated and destroyed; a repeated op_id is done once', async () => {
  const opId = '6d1c0c8e-0000-4000-8000-000000000001';
  const made = await client.createKey({ purpose: 'listed', alg: 'ed25519', usages: ['sign'] }, { opId });
  assert.deepEqual(
    await client.createKey({ purpose: 'listed', alg: 'ed25519', usages: ['sign'] }, { opId }),
    made,
  );
  const next = await client.rotateKey(made.kid.split('#')[0] as string);
  assert.equal(next.previous, made.kid);
  const listed = await Array.fromAsync(client.listKeys({ purpose: 'listed' }));
  assert.deepEqual(
    listed.map(({ kid }) => kid),
    [next.kid],
  );
  assert.equal((await client.getKey(next.kid)).versions.length, 1);
  assert.equal((await client.destroyKey(next.kid.split('#')[0] as string)).state, 'destroyed');
});

test('what is encrypted, wrapped, sealed and tagged opens again', async () => {
  const { kid } = await client.createKey({ purpose: 'sealing', alg: 'xaes-256-gcm' });
  const plaintext = Buffer.from('secret');
  const aad = Buffer.from('about');
  const encrypted = await client.encrypt(kid, plaintext, { aad });
  assert.deepEqual(Buffer.from(await client.decrypt(encrypted, { aad })), plaintext);
  await assert.rejects(client.decrypt(encrypted), KmsError);
  assert.deepEqual(Buffer.from(await client.unwrap(await client.wrap(kid, plaintext))), plaintext);
  assert.equal((await client.unwrap(await client.wrap(kid, 32))).length, 32);
  const { plaintext_b64, ...wrapped } = await client.dataKey(kid);
  assert.equal(
    Buffer.from(await client.unwrap(await client.rewrap(wrapped))).toString('base64'),
    plaintext_b64,
  );
  assert.deepEqual(Buffer.from(await client.unseal(await client.seal('sealing', plaintext))), plaintext);
  const mac = await client.createKey({ purpose: 'sealing', alg: 'hmac-sha256' });
  assert.equal(await client.verifyMac(mac.kid, plaintext, await client.mac(mac.kid, plaintext)), true);
  assert.equal((await client.random(17)).length, 17);
  const parent = await client.createKey({ purpose: 'sealing', alg: 'hkdf-sha256' });
  const context = { origin: 'o', instance: 'i', epoch: 1 };
  const derived = await client.derive(parent.kid, 'aes-256-gcm', context);
  assert.equal((await client.derive(parent.kid, 'aes-256-gcm', context)).kid, derived.kid);
});

test('a secret that is imported makes the tags that it made before', async () => {
  const secret = randomBytes(32);
  const { kid } = await client.importSecret({ purpose: 'brought', alg: 'hmac-sha256' }, secret);
  const { createHmac } = await import('node:crypto');
  const expected = createHmac('sha256', secret).update('m').digest();
  assert.deepEqual(Buffer.from(await client.mac(kid, Buffer.from('m'))), expected);
});

test('gathered calls go as one batch, and each has its own answer or error', async (context) => {
  const gathering = new KmsClient({ url: service.url, token: service.token, gatherMs: 1, ...everything });
  context.after(() => gathering.close());
  const { kid } = await client.createKey({ purpose: 'client', alg: 'ed25519' });
  const missing = kid.replace(/[0-9a-f]{8}-/, '00000000-');
  const payloads = Array.from({ length: 300 }, (_, n) => Buffer.from(String(n)));
  const failing = assert.rejects(gathering.sign({ kid: missing, payload: Buffer.from('x') }), {
    code: 'NotFound',
  });
  const answers = await Promise.all(payloads.map((payload) => gathering.sign({ kid, payload })));
  await failing;
  for (const [n, { sigs }] of answers.entries())
    assert.equal(await client.verifyLocally({ payload: payloads[n]! }, sigs), true);
});

test('a gatherer sends what came within its time in one request', async (context) => {
  const results = (count: number) =>
    JSON.stringify({ results: Array.from({ length: count }, () => ({ ok: true })) });
  const { own, asked } = await answering(context, (_, response) => response.end(results(3)), { gatherMs: 5 });
  const payloadB3 = 'a'.repeat(64);
  await Promise.all([1, 2, 3].map(() => own.verify({ payloadB3, sigs: [] })));
  assert.deepEqual(
    asked.map(({ path, body }) => [path, (body.items as unknown[]).length]),
    [['/v1/kms/verify/batch', 3]],
  );
});

test('a refusal has its code, status, hint and request id', async () => {
  const error = await client.getKey('default/x/ed25519/11111111-2222-4333-8444-555555555555').catch((e) => e);
  assert.ok(error instanceof KmsError);
  assert.deepEqual([error.code, error.status, error.retryable], ['NotFound', 404, false]);
  assert.match(error.requestId ?? '', /^[0-9a-f-]{36}$/);
});

test('what passes is repeated after the time that the answer gives, under one op_id and a deadline that shrinks', async (context) => {
  let calls = 0;
  const { own, asked } = await answering(context, (_, response) => {
    if (++calls > 2) return void response.end('{"kid":"k"}');
    response.writeHead(429, calls === 1 ? { 'retry-after': '1' } : {});
    response.end(refusal('Backpressure', true, calls === 1 ? undefined : 20));
  });
  const startedMs = performance.now();
  await own.createKey({ purpose: 'p', alg: 'ed25519' });
  assert.ok(performance.now() - startedMs >= 1_010);
  assert.equal(asked.length, 3);
  assert.equal(new Set(asked.map(({ body }) => body.op_id)).size, 1);
  assert.match(String(asked[0]?.body.op_id), /^[0-9a-f-]{36}$/);
  assert.ok(Number(asked[2]?.deadline) < Number(asked[0]?.deadline) - 1_000);
});

test('what does not pass is asked once, and a wait beyond the deadline is not begun', async (context) => {
  const forbidden = await answering(context, (_, response) =>
    response.writeHead(403).end(refusal('PolicyViolation', false)),
  );
  await assert.rejects(forbidden.own.random(1), { code: 'PolicyViolation', status: 403 });
  assert.equal(forbidden.asked.length, 1);
  const busy = await answering(context, (_, response) =>
    response.writeHead(503).end(refusal('NotReady', true, 60_000)),
  );
  await assert.rejects(busy.own.random(1), { code: 'NotReady', retryAfterMs: 60_000 });
  assert.equal(busy.asked.length, 1);
});

test('retries are bounded, and none are made where the caller wants none', async (context) => {
  for (const retries of [0, 2]) {
    const { own, asked } = await answering(
      context,
      (_, response) => response.writeHead(503).end(refusal('StoreUnavailable', true, 1)),
      { retries },
    );
    await assert.rejects(own.random(1), { code: 'StoreUnavailable' });
    assert.equal(asked.length, retries + 1);
  }
});

test('a connection that breaks is made anew; an answer of a proxy is an error of its status', async (context) => {
  let calls = 0;
  const broken = await answering(context, (request, response) => {
    if (++calls === 1) request.socket.destroy();
    else response.end('{"random_b64":"AA=="}');
  });
  assert.equal((await broken.own.random(1)).length, 1);
  const proxy = await answering(context, (_, response) => response.writeHead(418).end('<html>'));
  await assert.rejects(proxy.own.random(1), { code: 'Internal', status: 418, retryable: false });
});

test('a deadline ends a call that is not answered, and a signal any', async (context) => {
  const { own } = await answering(context, () => undefined, { retries: 5 });
  const late = await own.random(1, { deadlineMs: 30 }).catch((error) => error);
  assert.ok(late instanceof UnreachableError);
  assert.equal(late.code, 'DEADLINE');
  const controller = new AbortController();
  const asking = own.random(1, { signal: controller.signal });
  controller.abort(new Error('enough'));
  await assert.rejects(asking, /enough/);
});

test('a wrapping key of RSA, which takes seconds to make, has a minute where the caller says nothing', async (context) => {
  const { own, asked, url } = await answering(context, (_, response) => response.end('{}'));
  const said = new KmsClient({ url, token: 't', deadlineMs: 2_000 });
  await own.wrappingKey();
  await own.wrappingKey('rsa-4096');
  await said.wrappingKey('rsa-4096');
  await own.wrappingKey('rsa-4096', { deadlineMs: 1_000 });
  await said.close();
  const inSeconds = asked.map(({ deadline }) => Math.ceil(Number(deadline) / 1_000));
  assert.deepEqual(inSeconds, [10, 60, 2, 1]);
});

test('nobody there is an UnreachableError with the code of the system', async () => {
  const nobody = new KmsClient({ url: 'http://127.0.0.1:1', token: 't', retries: 0 });
  await assert.rejects(nobody.random(1), { name: 'UnreachableError', code: 'ECONNREFUSED' });
  await nobody.close();
  assert.throws(() => new KmsClient({ url: 'ftp://x', token: 't' }), /http:\/\/host:port/);
  assert.throws(
    () => new KmsClient({ url: 'http://x', token: 't', tls: { serverName: 'x' } }),
    /tls goes with https/,
  );
});

test('a token is asked for at each call where it is a function', async (context) => {
  const renewed = new KmsClient({ url: service.url, token: async () => service.token });
  context.after(() => renewed.close());
  assert.equal((await renewed.random(2)).length, 2);
});

test('mu is that of FIPS 204', async () => {
  const { muOf } = await import('../../src/client/index.ts');
  const shake = (...parts: Uint8Array[]) =>
    createHash('shake256', { outputLength: 64 }).update(Buffer.concat(parts)).digest();
  const [key, message, context] = [randomBytes(1_952), randomBytes(99), Buffer.from('c')];
  const expected = shake(shake(key), Buffer.of(0, 1), context, message);
  assert.deepEqual(Buffer.from(await muOf(key, message, context)), expected);
});
