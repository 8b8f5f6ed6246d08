import assert from 'node:assert/strict';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import test, { after, before, describe } from 'node:test';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import type { Result } from '../../src/core/result.ts';
import { attributes as a, mechanisms as m, objectClasses } from '../../src/custody/pkcs11/numbers.ts';
import type { KeyPart } from '../../src/keys/record.ts';
import { startInProcess } from '../support/in-process.ts';
import { mintFor } from '../support/requests.ts';
import { call, helloWorldB3, type InProcessService, type JsonAnswer } from '../support/service.ts';
import {
  createSoftHsm,
  noSoftHsm,
  openHome,
  openSession,
  type SoftHsm,
  type TokenSession,
} from '../support/softhsm.ts';

const algs = ['ed25519', 'ecdsa-p256', 'rsa-2048', 'hmac-sha256', 'aes-256-gcm', 'aes-256-kwp'];

describe('keys in tokens', { skip: noSoftHsm, timeout: 120_000 }, () => {
  let softHsm: SoftHsm;
  let service: InProcessService;
  let inside: TokenSession;

  const ask = (method: string, path: string, body?: unknown, token = service.token) =>
    call(service, token, method, `/v1/kms${path}`, body);
  const good = ({ status, body }: JsonAnswer, expected = 200) => {
    assert.equal(status, expected, JSON.stringify(body));
    return body;
  };
  const refused = ({ status, body }: JsonAnswer, expected: string, hint?: RegExp) => {
    assert.equal(`${status} ${body.error?.code}`, expected, JSON.stringify(body));
    if (hint !== undefined) assert.match(body.error.hint, hint);
  };
  const create = async (alg: string, policy: object = { backend: 'pkcs11' }): Promise<string> =>
    good(await ask('POST', '/keys', { purpose: 'web', alg, policy }), 201).kid;
  const keyPath = (kid: string) => `/keys/${encodeURIComponent(kid)}`;
  const labelOf = (kid: string) => ({ type: a.label, value: `intaglio:${kid}/0` });
  const secretOf = (kid: string) =>
    inside.find([labelOf(kid)]).filter((object) => [3, 4].includes(numberOf(inside, object, a.class)));

  before(async () => {
    softHsm = createSoftHsm();
    const first = softHsm.makeToken('first');
    const second = softHsm.makeToken('second', '654321');
    // Before the service has the token: SoftHSM does not always see what two programs make at the same time.
    inside = await openSession('first');
    makePair(inside, 'old-ca', '0a01', {});
    makePair(inside, 'loose', '0a02', { [a.extractable]: true });
    makePair(inside, 'mute', '0a03', { [a.sign]: false });
    makePair(inside, 'twice', '0a04', {});
    makePair(inside, 'twice', '0a05', {});
    // Two programs count their keys from the same number.
    makePair(inside, 'ours', '0a06', {});
    makePair(inside, 'theirs', '0a06', {});
    makePair(inside, 'alone', '0a07', {});
    makePair(inside, 'mixed', '0a08', {});
    mixUp(inside, 'alone', 'mixed', '0a08');
    await makeAes(inside, '0b02');
    const module = softHsm.settings(first).module;
    const more = { vault: { module, serial: second.serial, pin_file: second.pinFile, sessions: 2 } };
    service = await startInProcess({
      env: { ...softHsm.environment(first), KMS_PKCS11: JSON.stringify(more) },
    });
  });
  after(async () => {
    inside?.close();
    await service?.stop();
    softHsm?.remove();
  });

  test('each of two tokens has its own keys, and says so', async () => {
    for (const backend of ['pkcs11', 'vault']) {
      const kid = await create('ed25519', { backend });
      const read = good(await ask('GET', keyPath(kid)));
      assert.deepEqual([read.backend, read.policy], [backend, { backend }]);
      const { sigs } = good(await ask('POST', '/sign', { kid, payload_b3: helloWorldB3 }));
      assert.deepEqual(good(await ask('POST', '/verify', { payload_b3: helloWorldB3, sigs })).ok, true);
      assert.equal(secretOf(kid).length, backend === 'pkcs11' ? 1 : 0);
    }
    refused(
      await ask('POST', '/keys', { purpose: 'web', alg: 'ed25519', policy: { backend: 'cellar' } }),
      '400 Unsupported',
      /no backend of this name/,
    );
    refused(
      await ask('POST', '/keys', { purpose: 'web', alg: 'ml-dsa-65', policy: { backend: 'pkcs11' } }),
      '400 Unsupported',
      /holds no keys of this alg/,
    );
  });

  test('no route exports a key of a token, whatever its alg', async () => {
    for (const alg of algs) {
      const kid = await create(alg);
      for (const action of ['export', 'private', 'secret', 'backup']) {
        refused(await ask('POST', `${keyPath(kid)}/${action}`, {}), '403 ExportForbidden');
        refused(await ask('GET', `${keyPath(kid)}/${action}`), '403 ExportForbidden');
      }
      assert.doesNotMatch(JSON.stringify(good(await ask('GET', keyPath(kid)))), /private|sealed|secret/);
    }
  });

  test('no attribute, copy or wrapping gets a key out of the token for one who has its PIN', async () => {
    const { cryptoki, session } = inside;
    const wrapping = secretOf(await create('aes-256-kwp'))[0]!;
    for (const alg of algs) {
      for (const key of secretOf(await create(alg))) {
        for (const type of [a.value, privateExponent, prime1])
          assert.throws(() => cryptoki.C_GetAttributeValue(session, key, [{ type }]), alg);
        const flags = [a.sensitive, a.extractable, a.alwaysSensitive, a.neverExtractable, a.local];
        assert.deepEqual(
          flags.map((type) => cryptoki.C_GetAttributeValue(session, key, [{ type }])[0]?.value[0]),
          [1, 0, 1, 1, 1],
          alg,
        );
        const { C_CopyObject, C_SetAttributeValue } = cryptoki as unknown as Changing;
        for (const change of [
          { type: a.extractable, value: true },
          { type: a.sensitive, value: false },
        ]) {
          assert.throws(() => C_SetAttributeValue.call(cryptoki, session, key, [change]), alg);
          assert.throws(() => C_CopyObject.call(cryptoki, session, key, [change]), alg);
        }
        const mechanism = { mechanism: m.aesKeyWrapPad, parameter: null };
        await assert.rejects(
          async () => cryptoki.C_WrapKeyAsync(session, mechanism, wrapping, key, Buffer.alloc(4_096)),
          alg,
        );
      }
    }
  });

  test('rotating makes the next version in the token, and destroying leaves no object of a version there', async () => {
    for (const alg of algs) {
      const first = await create(alg);
      const id = first.replace('#v1', '');
      const second = good(await ask('POST', `${keyPath(id)}/rotate`)).kid;
      assert.ok(secretOf(first).length > 0 && secretOf(second).length > 0, alg);
      good(await ask('POST', `${keyPath(id)}/destroy`, { version: 1 }));
      assert.equal(inside.find([labelOf(first)]).length, 0, alg);
      good(await ask('POST', `${keyPath(id)}/destroy`));
      assert.equal(inside.find([labelOf(second)]).length, 0, alg);
    }
  });

  test('a key of the token is adopted once, by an administrator, and does the work of its alg', async () => {
    const body = {
      purpose: 'ca',
      alg: 'ecdsa-p256',
      policy: { backend: 'pkcs11', adopt: { label: 'old-ca' } },
    };
    const tenant = mintFor(service.dataDir, {
      tenant: 'acme',
      scopes: ['kms:create', 'kms:sign', 'kms:read'],
    });
    refused(await ask('POST', '/keys', body, tenant), '403 NoCapability');
    const made = good(await ask('POST', '/keys', body), 201);
    assert.equal(made.public.alg, 'ecdsa-p256');
    const read = good(await ask('GET', keyPath(made.kid)));
    assert.deepEqual(read.policy, { backend: 'pkcs11', adopt: { label: 'old-ca' } });
    const { sigs } = good(await ask('POST', '/sign', { kid: made.kid, payload_b3: helloWorldB3 }));
    assert.equal(good(await ask('POST', '/verify', { payload_b3: helloWorldB3, sigs })).ok, true);
    refused(await ask('POST', '/keys', body), '409 Conflict', /taken already/);
    const byId = { ...body, policy: { backend: 'pkcs11', adopt: { id_hex: '0A01' } } };
    refused(await ask('POST', '/keys', byId), '409 Conflict', /taken already/);

    const next = good(await ask('POST', `${keyPath(made.kid.replace('#v1', ''))}/rotate`)).kid;
    assert.equal(secretOf(next).length, 1, 'later versions are made in the token');
    good(await ask('POST', `${keyPath(made.kid.replace('#v1', ''))}/destroy`));
    assert.equal(inside.find([{ type: a.id, value: Buffer.from('0a01', 'hex') }]).length, 0);
    assert.equal(
      inside.find([{ type: a.application, value: Buffer.from('intaglio adopted key') }]).length,
      0,
    );
  });

  test('an AES key is adopted by its CKA_ID, and encrypts and wraps', async () => {
    const kid = await create('aes-256-gcm', { backend: 'pkcs11', adopt: { id_hex: '0b02' } });
    const plaintext_b64 = Buffer.from('attack at dawn').toString('base64');
    const made = good(await ask('POST', '/encrypt', { kid, plaintext_b64 }));
    assert.equal(good(await ask('POST', '/decrypt', made)).plaintext_b64, plaintext_b64);
    const wrapped = good(await ask('POST', '/wrap', { kid, plaintext_b64 }));
    assert.equal(good(await ask('POST', '/unwrap', wrapped)).plaintext_b64, plaintext_b64);
  });

  test('a key is not adopted that is not there, is another, can leave, may not sign, or is ours', async () => {
    const own = `intaglio:${await create('ecdsa-p256')}/0`;
    const adopted = () => inside.find([{ type: a.application, value: Buffer.from('intaglio adopted key') }]);
    const before = adopted();
    for (const [label, alg, status, hint] of [
      ['nobody', 'ecdsa-p256', '400 BadRequest', /no such key/],
      ['old-ca-2', 'ecdsa-p256', '400 BadRequest', /no such key/],
      ['loose', 'ecdsa-p256', '400 BadRequest', /can leave the token/],
      ['loose', 'ecdsa-p384', '400 BadRequest', /another type/],
      ['loose', 'ed25519', '400 BadRequest', /another type/],
      ['mute', 'ecdsa-p256', '400 BadRequest', /do not permit/],
      ['twice', 'ecdsa-p256', '400 BadRequest', /several keys/],
      ['ours', 'ecdsa-p256', '400 BadRequest', /several keys of the token have this CKA_ID/],
      [own, 'ecdsa-p256', '409 Conflict', /taken already/],
      ['alone', 'ecdsa-p256', '400 BadRequest', /does not have the public key beside it/],
      ['mixed', 'ecdsa-p256', '400 BadRequest', /does not sign for the public key beside it/],
    ] as const) {
      const policy = { backend: 'pkcs11', adopt: { label } };
      refused(await ask('POST', '/keys', { purpose: 'ca', alg, policy }), status, hint);
    }
    const inSoftware = { purpose: 'ca', alg: 'ecdsa-p256', policy: { adopt: { label: 'loose' } } };
    refused(await ask('POST', '/keys', inSoftware), '400 Unsupported', /adopts no keys/);
    const both = { backend: 'pkcs11', adopt: { label: 'x', id_hex: '00' } };
    refused(await ask('POST', '/keys', { purpose: 'ca', alg: 'ecdsa-p256', policy: both }), '400 BadRequest');
    // A bad pair is the trouble of who asked for it, and of no other key of the token.
    const { text } = await service.send({ method: 'GET', path: '/metrics' });
    assert.ok(!/^kms_backend_losses_total\{backend="pkcs11"\} [1-9]/m.test(text));
    assert.equal(adopted().length, before.length, 'nothing was taken in vain');
  });

  test('what no token does is refused before it is queued', async () => {
    const ed = await create('ed25519');
    const message_b64 = Buffer.from('hello').toString('base64');
    refused(
      await ask('POST', '/sign', { kid: ed, message_b64, alg: 'ed25519ph' }),
      '400 Unsupported',
      /backend/,
    );
  });
});

describe('keys that come into no record', { skip: noSoftHsm, timeout: 60_000 }, () => {
  test('what was made goes, what was adopted can be adopted again, also by a token that was away', async (t) => {
    const softHsm = createSoftHsm();
    t.after(() => softHsm.remove());
    const token = softHsm.makeToken('vain');
    const inside = await openSession('vain');
    makePair(inside, 'theirs', '0c01', {});
    const home = await openHome(softHsm.settings(token));
    t.after(() => home.close());
    const kid = 'acme/p/x#v1';
    const discard = (made: Result<readonly KeyPart[]>) => {
      assert.ok(made.ok, JSON.stringify(made));
      return home.discard('acme', [{ kid, parts: made.value }]);
    };
    const objects = () => inside.find([]).length;
    const before = objects();
    for (const alg of ['ed25519', 'aes-256-gcm'] as const)
      await discard(await home.generate(findAlgorithm(alg)!, 'acme', kid));
    const p256 = findAlgorithm('ecdsa-p256')!;
    const adopt = () => home.adopt(p256, 'acme', kid, { label: 'theirs' });
    const adopted = await adopt();
    assert.equal((await adopt()).ok, false, 'it is taken');
    await discard(adopted);
    const again = await adopt();
    renameSync(softHsm.tokens, `${softHsm.tokens}-away`);
    await discard(again);
    assert.equal(home.contact.up, false);
    renameSync(`${softHsm.tokens}-away`, softHsm.tokens);
    await new Promise<void>((resolve) => home.contact.onChange(({ up }) => up && resolve()));
    let last = await adopt();
    for (let waited = 0; waited < 100 && !last.ok; waited++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      last = await adopt();
    }
    await discard(last);
    inside.close();
    const seen = await openSession('vain');
    assert.equal(seen.find([]).length, before);
    seen.close();
  });
});

describe('a token that cannot be opened', { skip: noSoftHsm, timeout: 60_000 }, () => {
  test('a wrong PIN stops no start, is not tried again by itself, and is when it was changed', async () => {
    const softHsm = createSoftHsm();
    const token = softHsm.makeToken('locked');
    writeFileSync(token.pinFile, '999999\n');
    const service = await startInProcess({ env: softHsm.environment(token) });
    try {
      const ask = (body: unknown) => call(service, service.token, 'POST', '/v1/kms/keys', body);
      const key = { purpose: 'web', alg: 'ed25519', policy: { backend: 'pkcs11' } };
      const answer = await ask(key);
      assert.equal(`${answer.status} ${answer.body.error.code}`, '503 StoreUnavailable');
      assert.ok(answer.headers.get('retry-after'));
      assert.equal((await ask({ purpose: 'web', alg: 'ed25519' })).status, 201, 'others are untouched');
      const told = await service.logged((line) => line.includes('THE TOKEN IS NOT THERE'));
      assert.match(told, /refused the PIN/);
      assert.doesNotMatch(service.log.join('\n'), /999999/);
      writeFileSync(token.pinFile, '123456\n');
      await service.logged((line) => line.includes('the token is there'));
      assert.equal((await ask(key)).status, 201);
    } finally {
      await service.stop();
      softHsm.remove();
    }
  });

  test('a module or a token that is missing is named', async () => {
    const softHsm = createSoftHsm();
    const token = softHsm.makeToken('here');
    const module = softHsm.settings(token).module;
    const others = {
      gone: { module, token: 'elsewhere', pin_file: token.pinFile },
      unloadable: { module: token.pinFile, token: 'here', pin_file: token.pinFile },
      pinless: { module, token: 'here', pin_file: '/nowhere/pin' },
    };
    const service = await startInProcess({ env: { KMS_PKCS11: JSON.stringify(others) } });
    try {
      for (const [backend, reason] of [
        ['gone', /no token with label elsewhere/],
        ['unloadable', /cannot be loaded/],
        ['pinless', /no PIN: .*ENOENT/],
      ] as const)
        assert.match(
          await service.logged((line) => line.includes('NOT THERE') && line.includes(`"${backend}"`)),
          reason,
        );
      assert.doesNotMatch(service.log.join('\n'), new RegExp(readFileSync(token.pinFile, 'utf8').trim()));
    } finally {
      await service.stop();
      softHsm.remove();
    }
  });
});

const privateExponent = 0x123;
const prime1 = 0x124;

interface Changing {
  C_CopyObject(session: Buffer, object: Buffer, template: readonly object[]): Buffer;
  C_SetAttributeValue(session: Buffer, object: Buffer, template: readonly object[]): void;
}

function numberOf({ cryptoki, session }: TokenSession, object: Buffer, type: number): number {
  return Number(cryptoki.C_GetAttributeValue(session, object, [{ type }])[0]?.value.readBigUInt64LE());
}

/** P-256, as another program makes it. */
function makePair(
  { cryptoki, session }: TokenSession,
  label: string,
  idHex: string,
  others: Readonly<Record<number, boolean>>,
): void {
  const named = [
    { type: a.label, value: label },
    { type: a.id, value: Buffer.from(idHex, 'hex') },
    { type: a.token, value: true },
  ];
  const own = { [a.private]: true, [a.sensitive]: true, [a.extractable]: false, [a.sign]: true, ...others };
  const { C_GenerateKeyPair } = cryptoki as unknown as {
    C_GenerateKeyPair(...args: readonly unknown[]): void;
  };
  C_GenerateKeyPair.call(
    cryptoki,
    session,
    { mechanism: m.ecKeyPairGen, parameter: null },
    [...named, { type: a.class, value: objectClasses.publicKey }, { type: a.ecParams, value: p256 }],
    [...named, ...Object.entries(own).map(([type, value]) => ({ type: Number(type), value }))],
  );
}

/** The private key `from` is without a public one, which is now that of the private key `to`. */
function mixUp(inside: TokenSession, from: string, to: string, idHex: string): void {
  const { cryptoki, session } = inside;
  const [public1, public2] = [from, to].map((label) =>
    inside
      .find([{ type: a.label, value: label }])
      .find((object) => numberOf(inside, object, a.class) === objectClasses.publicKey),
  ) as [Buffer, Buffer];
  cryptoki.C_DestroyObject(session, public2);
  const { C_SetAttributeValue } = cryptoki as unknown as Changing;
  C_SetAttributeValue.call(cryptoki, session, public1, [{ type: a.id, value: Buffer.from(idHex, 'hex') }]);
}

async function makeAes({ cryptoki, session }: TokenSession, idHex: string): Promise<void> {
  await cryptoki.C_GenerateKeyAsync(session, { mechanism: m.aesKeyGen, parameter: null }, [
    ...[a.token, a.private, a.sensitive, a.encrypt, a.decrypt].map((type) => ({ type, value: true })),
    { type: a.extractable, value: false },
    { type: a.valueLen, value: 32 },
    { type: a.id, value: Buffer.from(idHex, 'hex') },
  ]);
}

const p256 = Buffer.from('06082a8648ce3d030107', 'hex');
