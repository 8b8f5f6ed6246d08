import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before, describe, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { failures } from '../../src/core/failure.ts';
import {
  InMemoryKms,
  Kms,
  KmsError,
  type KmsErrorKind,
  KmsOpenError,
  type ServiceEvent,
} from '../../src/index.ts';
import { startInProcess } from '../support/in-process.ts';
import { call } from '../support/service.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const hello = Buffer.from('hello world');
const missing = 'default/x/ed25519/00000000-0000-4000-8000-000000000000';
const idOf = (kid: string) => kid.split('#')[0] as string;

async function errorOf(asked: Promise<unknown>): Promise<KmsError> {
  const error = await asked.then(
    () => assert.fail('it was not refused'),
    (cause: unknown) => cause,
  );
  assert.ok(error instanceof KmsError, String(error));
  return error;
}

const kindOf = async (asked: Promise<unknown>): Promise<KmsErrorKind> => (await errorOf(asked)).kind;

/** Settled like a call, whatever a wrong argument does. */
const attempt = async (ask: () => Promise<unknown>) => ask();

function openDirectory(t: TestContext, more: object = {}) {
  const directory = temporaryDirectory(t);
  return { directory, open: () => Kms.open({ directory, workers: 'inline', ...more }) };
}

describe('a Kms in memory', () => {
  let kms: InMemoryKms;
  before(async () => {
    kms = await InMemoryKms.open();
  });
  after(() => kms.close());
  const make = async (alg: string, more: object = {}) =>
    (await kms.createKey({ purpose: 'tests', alg, ...more })).kid;

  test('signs payloads, messages and digests, and verifies them', async () => {
    const kid = await make('ecdsa-p256');
    const digest = Buffer.alloc(32, 7);
    for (const form of [{ payload: hello }, { message: hello }, { digest, hash: 'sha256' as const }]) {
      const made = await kms.sign({ kid, ...form });
      const signatures = made.signatures.map(({ kid: by, alg, signature }) => ({ kid: by, alg, signature }));
      assert.equal((await kms.verify({ ...form, signatures })).valid, true);
      const altered = signatures.map((each) => ({ ...each, signature: Uint8Array.from(each.signature) }));
      (altered[0]?.signature as Uint8Array)[9] = 1 ^ ((altered[0]?.signature[9] as number) ?? 0);
      assert.equal((await kms.verify({ ...form, signatures: altered })).valid, false);
    }
  });

  test('what it signs, others verify: node:crypto with the key in PEM', async () => {
    const kid = await make('ed25519');
    const { signatures } = await kms.sign({ kid, message: hello });
    const key = createPublicKey(Buffer.from(await kms.publicKey(kid, 'pem')).toString());
    assert.ok(verify(null, hello, key, (signatures[0] as { signature: Uint8Array }).signature));
    const { keys } = await kms.jwks();
    assert.ok(keys.some((each) => each.kid === kid));
  });

  test('encrypts, wraps, seals, and opens only what is its own', async () => {
    const aead = await make('xaes-256-gcm');
    const kem = await make('x25519+ml-kem-768');
    const aad = Buffer.from('about');
    const encrypted = await kms.encrypt(aead, hello, aad);
    assert.deepEqual(Buffer.from(await kms.decrypt(encrypted, aad)), hello);
    assert.equal(await kindOf(kms.decrypt(encrypted, Buffer.from('other'))), 'Crypto');
    const wrapped = await kms.wrap(kem, hello, aad);
    assert.deepEqual(Buffer.from(await kms.unwrap(wrapped, aad)), hello);
    assert.equal(
      await kindOf(kms.unwrap({ ...wrapped, wrapped: wrapped.wrapped.subarray(1) }, aad)),
      'Crypto',
    );
    const sealed = await kms.seal('config', hello);
    assert.deepEqual(Buffer.from(await kms.unseal(sealed)), hello);
    assert.equal(await kindOf(kms.unseal(sealed, aad)), 'Crypto');
    assert.equal((await kms.encrypt(aead, new Uint8Array())).ciphertext.length, 16);
  });

  test('derives the same key from the same input, and tags with it', async () => {
    const parent = await make('hkdf-sha256');
    const context = { origin: 'edge-1.example', instance: 'a', epoch: 7 };
    const first = await kms.derive(parent, context, 'hmac-sha256');
    assert.equal((await kms.derive(parent, context, 'hmac-sha256')).kid, first.kid);
    assert.notEqual((await kms.derive(parent, { ...context, epoch: 8 }, 'hmac-sha256')).kid, first.kid);
    const { tag } = await kms.mac(first.kid, hello);
    assert.equal(await kms.verifyMac(first.kid, hello, tag), true);
    assert.equal(await kms.verifyMac(first.kid, Buffer.from('x'), tag), false);
  });

  test('rotates, lists page by page, shows and destroys', async () => {
    const kid = await make('ed25519', { purpose: 'listed' });
    await make('ed25519', { purpose: 'listed' });
    const next = await kms.rotate(idOf(kid));
    assert.equal(next.previous, kid);
    const page = await kms.keys({ purpose: 'listed', limit: 1 });
    assert.equal(page.keys.length, 1);
    assert.ok(page.nextCursor);
    assert.equal((await kms.keys({ purpose: 'listed', cursor: page.nextCursor })).keys.length, 1);
    const shown = await kms.key(idOf(kid));
    assert.deepEqual([shown.currentVersion, shown.versions.length, shown.backend], [2, 2, 'software']);
    await kms.destroy(idOf(kid));
    assert.equal((await kms.key(idOf(kid))).state, 'destroyed');
    assert.notEqual((await errorOf(kms.sign({ kid: idOf(kid), payload: hello }))).kind, 'Crypto');
  });

  test('the same op_id makes one key', async () => {
    const opId = '5e2b7a1c-3c0e-4f6e-9a52-0d8a3f2f1b11';
    const [one, two] = [await make('ed25519', { opId }), await make('ed25519', { opId })];
    assert.equal(one, two);
    assert.equal((await errorOf(make('ml-dsa-44', { opId }))).code, 'Conflict');
  });

  test('errors have a kind and a code, and hold nothing of what was given', async () => {
    const kid = await make('ed25519');
    const kem = await make('x25519');
    const cases: readonly (readonly [KmsErrorKind, () => Promise<unknown>])[] = [
      ['UnknownKey', () => kms.key(missing)],
      ['UnknownKey', () => kms.sign({ kid: missing, payload: hello })],
      ['Unsupported', () => kms.createKey({ purpose: 'p', alg: 'rot13' })],
      ['Unsupported', () => kms.publicKey(kem, 'ssh')],
      ['Unsupported', () => kms.encrypt(kid, hello)],
      ['Unsupported', () => kms.createKey({ purpose: 'p', alg: 'ed25519', backend: 'nowhere' })],
      ['Invalid', () => kms.createKey({ purpose: 'Not A Purpose', alg: 'ed25519' })],
      ['Invalid', () => kms.keys({ limit: 5000 })],
      ['Invalid', () => kms.rotate(`${idOf(kid)}#v9`)],
    ];
    for (const [kind, ask] of cases) assert.equal(await kindOf(attempt(ask)), kind, String(ask));
    const secret = 'CANARY-3f7a';
    const texts: string[] = [];
    for (const ask of [
      () => kms.key(secret),
      () => kms.createKey({ purpose: secret, alg: secret }),
      () => kms.decrypt({ kid: idOf(kid), nonce: Buffer.from(secret), ciphertext: Buffer.from(secret) }),
      () => kms.createKey({ purpose: 'p', alg: 'ed25519', [secret]: 1 } as never),
    ]) {
      const error = await errorOf(attempt(ask));
      texts.push(`${error} ${error.stack} ${JSON.stringify(error)}`);
    }
    assert.ok(!texts.join('\n').includes(secret));
  });

  test('arguments of a wrong form are refused before anything is done', async () => {
    const kid = await make('ed25519');
    const wrong: readonly unknown[] = [
      undefined,
      null,
      7,
      'text',
      [],
      {},
      { kid },
      { kid: 7, payload: hello },
      { kid: [], payload: hello },
      { kid, payload: 'text' },
      { kid, payload: hello, message: hello },
      { kid, digest: hello },
      { kid, digest: hello, hash: 'md5' },
      { kid, payload: hello, mode: 'nor' },
      { kid, payload: hello, opId: 'x', unknown: 1 },
      { kid, message: Buffer.alloc(65_537) },
      { kid, message: hello, context: Buffer.alloc(256) },
    ];
    for (const [index, given] of wrong.entries()) {
      const error = await errorOf(attempt(() => kms.sign(given as never)));
      assert.ok(['Invalid', 'Unsupported'].includes(error.kind), `${index}: ${error}`);
    }
    for (const given of [undefined, 7, {}, null])
      assert.equal(await kindOf(attempt(() => kms.encrypt(kid, given as never))), 'Invalid');
    assert.equal(
      await kindOf(attempt(() => kms.sign({ kid, payload: hello }, { deadlineMs: -1 }))),
      'Invalid',
    );
    assert.equal(await kindOf(attempt(() => kms.rotate(kid, { opId: 'no uuid' }))), 'Invalid');
    for (const keepVersions of [0, 3])
      assert.equal(
        await kindOf(attempt(() => kms.createKey({ purpose: 'p', alg: 'ed25519', keepVersions }))),
        'Invalid',
      );
  });

  test('no tenant sees another’s keys', async () => {
    const kid = await make('ed25519');
    const other = kms.forTenant('other');
    assert.equal(await kindOf(other.key(kid)), 'UnknownKey');
    assert.equal(await kindOf(other.sign({ kid, payload: hello })), 'UnknownKey');
    assert.deepEqual((await other.keys()).keys, []);
    assert.throws(() => kms.forTenant('Not A Tenant'), KmsError);
    const own = await other.createKey({ purpose: 'p', alg: 'ed25519' });
    assert.equal(await kindOf(kms.key(own.kid)), 'UnknownKey');
  });

  test('bytes that it gives and takes are nobody else’s', async () => {
    const kid = await make('aes-256-gcm');
    const [one, two] = await Promise.all([kms.encrypt(kid, hello), kms.encrypt(kid, hello)]);
    one.ciphertext.fill(0);
    one.nonce.fill(0);
    assert.deepEqual(Buffer.from(await kms.decrypt(two)), hello);
    assert.notEqual(one.ciphertext.buffer, two.ciphertext.buffer);
  });

  test('an aborted call is refused, and its signal is let go', async () => {
    const kid = await make('ed25519');
    const error = await errorOf(kms.sign({ kid, payload: hello }, { signal: AbortSignal.abort() }));
    assert.equal(error.kind, 'Unavailable');
    const { signal } = new AbortController();
    let listeners = 0;
    const watched = new Proxy(signal, {
      get(target, name) {
        if (name === 'addEventListener') return () => void listeners++;
        if (name === 'removeEventListener') return () => void listeners--;
        return Reflect.get(target, name);
      },
    });
    await kms.sign({ kid, payload: hello }, { signal: watched });
    assert.equal(listeners, 0);
  });

  test('hundreds of calls at once all end', async () => {
    const kid = await make('ed25519');
    const outcomes = await Promise.allSettled(
      Array.from({ length: 400 }, () => kms.sign({ kid, payload: hello })),
    );
    const bad = outcomes.filter(({ status }) => status === 'rejected');
    assert.equal(bad.length, 0, String((bad[0] as PromiseRejectedResult | undefined)?.reason));
  });
});

test('wrong calls never end the process, also after the end, and are KmsErrors', async () => {
  const unhandled: unknown[] = [];
  const note = (cause: unknown) => void unhandled.push(cause);
  process.on('unhandledRejection', note);
  const kms = await InMemoryKms.open();
  const { kid } = await kms.createKey({ purpose: 'p', alg: 'ed25519' });
  const wrong: readonly (() => Promise<unknown>)[] = [
    () => kms.sign({ kid, payload: 'text' } as never, { deadlineMs: -1 }),
    () => kms.sign({ kid, payload: hello }, null as never),
    () => kms.sign({ kid, payload: hello }, { signal: {} } as never),
    () => kms.sign({ kid: new Array(1) as never, payload: hello }),
    () => kms.createKey({ purpose: 'p', alg: 'ed25519', usages: [undefined] as never }),
    () => kms.rotate(kid, null as never),
    () => kms.destroy(kid, 7 as never),
    () => kms.decrypt(undefined as never),
    () => kms.unwrap(null as never),
    () => kms.derive(kid, null as never, 'x25519'),
  ];
  for (const ask of wrong) await errorOf(attempt(ask));
  await kms.close();
  for (const ask of wrong) await errorOf(attempt(ask));
  await delay(20);
  process.off('unhandledRejection', note);
  assert.deepEqual(unhandled, []);
  for (const options of [null, 7, { settings: { rotation: 1n } }])
    await assert.rejects(InMemoryKms.open(options as never), KmsOpenError);
});

test('what is signed is what was given at the call, whatever becomes of the bytes', async (t) => {
  const kms = await InMemoryKms.open();
  t.after(() => kms.close());
  const { kid } = await kms.createKey({ purpose: 'p', alg: 'ed25519' });
  for (const form of ['payload', 'message'] as const) {
    const given = Buffer.from('as it was');
    const asked = kms.sign({ kid, [form]: given });
    given.fill(0);
    const signatures = (await asked).signatures.map(({ kid: by, signature }) => ({ kid: by, signature }));
    assert.equal((await kms.verify({ [form]: Buffer.from('as it was'), signatures })).valid, true, form);
  }
});

test('every refusal of the service has a kind, and its words', () => {
  for (const code of Object.keys(failures) as (keyof typeof failures)[]) {
    const error = new KmsError({ code });
    assert.ok(error.kind, code);
    assert.equal(error.retryable, failures[code].retryable);
  }
  assert.equal(new KmsError({ code: 'BadRequest' }).kind, 'Invalid');
  assert.equal(new KmsError({ code: 'BadRequest' }, true).kind, 'Crypto');
});

test('hooks tell of rotations and derivations, and a failing one harms nobody', async (t) => {
  const kms = await InMemoryKms.open();
  t.after(() => kms.close());
  const seen: ServiceEvent[] = [];
  kms.onKeyRotated(() => {
    throw new Error('a bug of the listener');
  });
  kms.onKeyRotated((event) => void seen.push(event));
  kms.onKeyDerived((event) => void seen.push(event));
  const { kid } = await kms.createKey({ purpose: 'p', alg: 'hkdf-sha256' });
  await kms.rotate(idOf(kid));
  await kms.derive(idOf(kid), { origin: 'o', instance: 'i', epoch: 1 }, 'hmac-sha256');
  for (let waited = 0; seen.length < 2 && waited < 1_000; waited++) await delay(1);
  assert.deepEqual(
    seen.map(({ kind, tenant, version }) => [kind, tenant, version]),
    [
      ['key.rotated', 'default', 2],
      ['key.derived', 'default', 1],
    ],
  );
});

test('calls after the end are refused, and ends are one', async () => {
  const kms = await InMemoryKms.open();
  const { kid } = await kms.createKey({ purpose: 'p', alg: 'ed25519' });
  const underWay = kms.sign({ kid, payload: hello });
  await Promise.all([kms.close(), kms.close()]);
  assert.equal((await underWay).signatures.length, 1);
  assert.equal((await errorOf(kms.key(kid))).code, 'NotReady');
  assert.equal((await errorOf(kms.forTenant('other').keys())).code, 'NotReady');
});

test('two in one process share nothing', async (t) => {
  const [one, two] = await Promise.all([InMemoryKms.open(), InMemoryKms.open({ tenant: 'default' })]);
  t.after(() => Promise.all([one.close(), two.close()]));
  const { kid } = await one.createKey({ purpose: 'p', alg: 'ed25519' });
  assert.equal(await kindOf(two.key(kid)), 'UnknownKey');
  await two.close();
  assert.equal((await one.sign({ kid, payload: hello })).signatures.length, 1);
});

test('a Kms over a directory keeps its keys and its log, and holds the directory alone', async (t) => {
  const { directory, open } = openDirectory(t);
  const first = await open();
  const { kid } = await first.createKey({ purpose: 'p', alg: 'ml-dsa-44' });
  const signed = await first.sign({ kid, payload: hello });
  assert.equal(signed.receipts.length, 1);
  await assert.rejects(open(), KmsOpenError);
  await first.close();
  assert.ok(readdirSync(join(directory, 'audit')).length > 0);
  await using second = await open();
  const signatures = signed.signatures.map(({ kid: by, signature }) => ({ kid: by, signature }));
  assert.equal((await second.verify({ payload: hello, signatures })).valid, true);
});

test('what the library signs the service verifies, and the other way round', async (t) => {
  const { directory, open } = openDirectory(t);
  const kms = await open();
  const { kid } = await kms.createKey({ purpose: 'p', alg: 'ed25519+ml-dsa-65' });
  const { signatures } = await kms.sign({ kid, payload: hello });
  await kms.close();
  const service = await startInProcess({
    dataDir: directory,
    // The pages of the native engine are the process's.
    env: { KMS_KEY_CACHE_BYTES: String(4 * 2 ** 20) },
  });
  const payload = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24';
  const sigs = signatures.map(({ kid: by, alg, signature }) => ({
    ...{ kid: by, alg, signature_b64: Buffer.from(signature).toString('base64') },
  }));
  const answer = await call(service, service.token, 'POST', '/v1/kms/verify', { payload_b3: payload, sigs });
  assert.equal(answer.body.ok, true);
  const theirs = await call(service, service.token, 'POST', '/v1/kms/sign', {
    kid: idOf(kid),
    payload_b3: payload,
  });
  await service.stop();
  await using again = await open();
  const taken = (theirs.body.sigs as { kid: string; alg: string; signature_b64: string }[]).map((each) => ({
    ...{ kid: each.kid, alg: each.alg, signature: Buffer.from(each.signature_b64, 'base64') },
  }));
  assert.equal((await again.verify({ payload: hello, signatures: taken })).valid, true);
});

test('options that are wrong are said, all of them and without their values', async (t) => {
  const { directory } = openDirectory(t);
  const cases: readonly [object | undefined, RegExp][] = [
    [undefined, /directory/],
    [{}, /directory/],
    [{ directory: 7 }, /directory/],
    [{ directory, engin: 'native' }, /engin/],
    [{ directory, engine: 'CANARY' }, /engine/],
    [{ directory, tenant: 'Not A Tenant' }, /tenant/],
    [{ directory, workers: 3 }, /workers/],
    [{ directory, settings: { nope: 1 } }, /nope/],
    [{ directory, settings: { sign_rate_limit: 'CANARY' } }, /sign_rate_limit/],
    [{ directory, settings: [] }, /settings/],
    [{ directory, log: 'CANARY' }, /log/],
  ];
  for (const [options, says] of cases) {
    const error = await Kms.open(options as never).catch((cause: unknown) => cause);
    assert.ok(error instanceof KmsOpenError, JSON.stringify(options));
    assert.match(error.message, says);
    assert.doesNotMatch(error.message, /CANARY/);
  }
  await assert.rejects(InMemoryKms.open({ directory } as never), KmsOpenError);
});

test('no environment is read', async () => {
  process.env.KMS_ENGINE = 'nonsense';
  process.env.KMS_ALLOWED_ALGS = 'nonsense';
  try {
    const kms = await InMemoryKms.open();
    await kms.createKey({ purpose: 'p', alg: 'ed25519' });
    await kms.close();
  } finally {
    delete process.env.KMS_ENGINE;
    delete process.env.KMS_ALLOWED_ALGS;
  }
});

test('settings hold as they do for the service', async (t) => {
  const kms = await InMemoryKms.open({ settings: { allowed_algs: 'ed25519', rotation: 'ed25519=365' } });
  t.after(() => kms.close());
  await kms.createKey({ purpose: 'p', alg: 'ed25519' });
  assert.equal(await kindOf(kms.createKey({ purpose: 'p', alg: 'ml-dsa-44' })), 'Policy');
});
