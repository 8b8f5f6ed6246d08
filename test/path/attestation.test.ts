import assert from 'node:assert/strict';
import { createHash, createPublicKey, verify as cryptoVerify, randomBytes } from 'node:crypto';
import test, { after, before, suite } from 'node:test';
import { ml_dsa44 } from '@noble/post-quantum/ml-dsa.js';
import { calculateJwkThumbprint, generalVerify, importJWK, jwtVerify } from 'jose';
import {
  type EvidenceClaims,
  evidenceSha256,
  type KeyEvidence,
  verifyAttestation,
} from '../../src/client/attestation.ts';
import { askEvidence, attestPath, makeKey, signHello } from '../support/evidence.ts';
import { startInProcess } from '../support/in-process.ts';
import { MemoryContact, MemoryHome } from '../support/memory-home.ts';
import { call, callForBytes, helloWorldB3, type InProcessService } from '../support/service.ts';

const nonceBytes = Buffer.alloc(16, 7);
const nonce = nonceBytes.toString('base64url');

let service: InProcessService;
let home: MemoryHome;
let contact: MemoryContact;
let acme: string;
let vkeys: readonly string[];

before(async () => {
  contact = new MemoryContact();
  home = new MemoryHome('token', { contact });
  service = await startInProcess({ homes: [home] });
  acme = await service.mint(
    'acme',
    'kms:create,kms:read,kms:sign,kms:verify,kms:derive,kms:rotate,kms:audit',
  );
  vkeys = await keysOf(service);
});

after(() => service.stop());

async function keysOf(of: InProcessService): Promise<readonly string[]> {
  return (await call(of, of.token, 'GET', '/v1/kms/audit/vkeys')).body.vkeys;
}

const make = (body: object, of = service, token = acme) => makeKey(of, token, body);
const ask = (kid: string, given: string | null = nonce, token = acme, of = service) =>
  askEvidence(of, token, kid, given);
const sign = (kid: string, of = service, token = acme) => signHello(of, token, kid);

async function evidenceOf(kid: string, given: string | null = nonce): Promise<KeyEvidence> {
  const answer = await call(service, acme, 'GET', attestPath(kid, given));
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body;
}

function claimsIn({ evidence }: KeyEvidence): EvidenceClaims {
  return JSON.parse(Buffer.from(evidence.payload, 'base64url').toString());
}

const rawKey = (vkey: string) => Buffer.from(vkey.split('+').slice(2).join('+'), 'base64').subarray(1);

suite('evidence of a key in software', () => {
  test('has the registered claims of RFC 9711, and private ones only under names that say so', async () => {
    const kid = await make({});
    const claims = claimsIn(await evidenceOf(kid));
    const registered = ['iss', 'sub', 'iat', 'exp', 'eat_profile', 'eat_nonce', 'swname', 'swversion', 'cnf'];
    assert.deepEqual(
      Object.keys(claims).filter((name) => !registered.includes(name)),
      ['intaglio_key', 'intaglio_engine'],
    );
    assert.equal(claims.eat_nonce, nonce);
    assert.equal(claims.sub, kid);
    assert.equal(claims.iss, vkeys[0]?.split('+')[0]);
    assert.match(claims.eat_profile, /^urn:uuid:/);
    assert.ok(Math.abs(claims.iat - Date.now() / 1_000) < 60);
    assert.equal(claims.exp, claims.iat + 600);
    assert.match(claims.swversion[0], /^\d+\.\d+\.\d+/);
    assert.equal(claims.swversion[1], 16_384);
    assert.equal(claims.intaglio_engine?.name, service.engine);
    assert.equal(claims.intaglio_key.origin, 'generated');
    assert.equal(claims.intaglio_key.backend, 'software');
  });

  test('names the public key as the audit log does, and as its JWK thumbprint', async () => {
    for (const alg of ['ed25519', 'ecdsa-p256', 'ml-dsa-65', 'rsa-2048']) {
      const kid = await make({ alg });
      const claims = claimsIn(await evidenceOf(kid));
      const jwk = await call(service, acme, 'GET', `/v1/kms/keys/${encodeURIComponent(kid)}?format=jwk`);
      const members = jwk.body;
      const thumbprint =
        members.kty === 'AKP'
          ? createHash('sha256')
              .update(JSON.stringify({ alg: members.alg, kty: 'AKP', pub: members.pub }))
              .digest('base64url')
          : await calculateJwkThumbprint(members);
      assert.equal(claims.cnf?.jkt, thumbprint, alg);
      const read = await call(service, acme, 'GET', `/v1/kms/keys/${encodeURIComponent(kid)}`);
      const key = Buffer.from(read.body.versions[0].public.pubkey_b64, 'base64');
      assert.equal(claims.intaglio_key.public_key_sha256, createHash('sha256').update(key).digest('hex'));
    }
  });

  test('verifies by jose and by noble, with the verifier keys of the log, each signature as a JWT of its own', async () => {
    const { evidence } = await evidenceOf(await make({}));
    assert.equal(evidence.signatures.length, 2);
    const [ed25519, mlDsa] = evidence.signatures as [
      { protected: string; signature: string },
      { protected: string; signature: string },
    ];
    const header = (text: string) => JSON.parse(Buffer.from(text, 'base64url').toString());
    assert.deepEqual(Object.keys(header(ed25519.protected)), ['alg', 'kid', 'typ']);
    assert.equal(header(ed25519.protected).alg, 'EdDSA');
    assert.equal(header(mlDsa.protected).alg, 'ML-DSA-44');
    const [edVkey, mlVkey] = vkeys as [string, string];
    assert.ok(edVkey.startsWith(`${header(ed25519.protected).kid}+`));
    assert.ok(mlVkey.startsWith(`${header(mlDsa.protected).kid}+`));

    const jwk = { kty: 'OKP', crv: 'Ed25519', x: rawKey(edVkey).toString('base64url') };
    const key = await importJWK(jwk, 'EdDSA');
    await generalVerify({ payload: evidence.payload, signatures: [ed25519] }, key);
    const token = `${ed25519.protected}.${evidence.payload}.${ed25519.signature}`;
    const { payload } = await jwtVerify(token, key, { typ: 'eat+jwt', algorithms: ['EdDSA'] });
    assert.equal(payload.eat_nonce, nonce);

    const signed = Buffer.from(`${mlDsa.protected}.${evidence.payload}`);
    const signature = Buffer.from(mlDsa.signature, 'base64url');
    assert.ok(ml_dsa44.verify(signature, signed, rawKey(mlVkey)));
    // RFC 9881, by OpenSSL.
    const prefix = Buffer.from('30820532300b06096086480165030403110382052100', 'hex');
    const spki = Buffer.concat([prefix, rawKey(mlVkey)]);
    assert.ok(
      cryptoVerify(null, signed, createPublicKey({ key: spki, format: 'der', type: 'spki' }), signature),
    );
  });

  test('of a derived key says from which, and of an imported one that it came from outside', async () => {
    const parent = await make({ alg: 'hkdf-sha256' });
    const context = { origin: 'edge', instance: 'a', epoch: 1 };
    const derived = await call(service, acme, 'POST', '/v1/kms/derive', {
      kid: parent,
      context,
      alg: 'ed25519',
    });
    assert.equal(derived.status, 201, JSON.stringify(derived.body));
    const of = claimsIn(await evidenceOf(derived.body.kid)).intaglio_key;
    assert.deepEqual([of.origin, of.derived_from], ['derived', parent]);

    const spki_b64 = (await call(service, acme, 'GET', `/v1/kms/keys/${encodeURIComponent(await make({}))}`))
      .body.versions[0].public.spki_b64;
    const importer = await service.mint('acme', 'kms:create,kms:admin');
    const body = { purpose: 'test', alg: 'ed25519', spki_b64 };
    const imported = await call(service, importer, 'POST', '/v1/kms/keys/import', body);
    assert.equal(imported.status, 201, JSON.stringify(imported.body));
    const claims = claimsIn(await evidenceOf(imported.body.kid));
    assert.equal(claims.intaglio_key.origin, 'imported_public');
    assert.equal(claims.intaglio_engine, undefined);
  });

  test('of a version is that version’s, and of a destroyed one there is none', async () => {
    const first = await make({});
    await call(service, acme, 'POST', `/v1/kms/keys/${encodeURIComponent(first)}/rotate`, {});
    const id = first.slice(0, first.indexOf('#'));
    assert.equal(claimsIn(await evidenceOf(first)).sub, first);
    assert.equal(claimsIn(await evidenceOf(id)).sub, `${id}#v2`);
    const destroyer = await service.mint('acme', 'kms:destroy');
    await call(service, destroyer, 'POST', `/v1/kms/keys/${encodeURIComponent(first)}/destroy`, {});
    assert.equal((await ask(first)).status, 409);
  });
});

suite('a question for evidence', () => {
  test('has a nonce of 8 to 64 bytes in base64url, each value in one spelling', async () => {
    const kid = await make({});
    const of = (bytes: number) => randomBytes(bytes).toString('base64url');
    for (const [given, status] of [
      [of(8), 200],
      [of(64), 200],
      [of(7), 400],
      [of(65), 400],
      ['', 400],
      ['AAAAAAAAAAB', 400],
      [`${of(8)}=`, 400],
      [Buffer.alloc(9, 255).toString('base64'), 400],
    ] as const)
      assert.equal((await ask(kid, encodeURIComponent(given))).status, status, given);
  });

  test('names a key, and nothing that is not known', async () => {
    const refused = async (query: string) =>
      (await call(service, acme, 'GET', `/v1/kms/attest${query}`)).status;
    const kid = encodeURIComponent(await make({}));
    assert.equal(await refused(''), 400);
    assert.equal(await refused(`?nonce=${nonce}`), 400);
    assert.equal(await refused(`?kid=${kid}&what=1`), 400);
    assert.equal(await refused(`?kid=${kid}&kid=${kid}`), 400);
    assert.equal(await refused(`?kid=${kid}`), 200);
  });

  test('needs what reading the key needs: its tenant, and kms:read', async () => {
    const kid = await make({});
    assert.equal((await ask(kid, nonce, await service.mint('other', 'kms:read'))).status, 404);
    assert.equal((await ask(kid, nonce, await service.mint('acme', 'kms:sign'))).status, 403);
    assert.equal((await ask(kid.replace(/[0-9a-f](?=#)/, (c) => (c === '0' ? '1' : '0')))).status, 404);
  });

  test('with a nonce is answered anew, without one as it was kept', async () => {
    const kid = await make({});
    const kept = await evidenceOf(kid, null);
    assert.deepEqual(await evidenceOf(kid, null), kept);
    assert.equal(claimsIn(kept).eat_nonce, undefined);
    const one = await evidenceOf(kid, Buffer.alloc(8, 1).toString('base64url'));
    const other = await evidenceOf(kid, Buffer.alloc(8, 2).toString('base64url'));
    assert.notEqual(claimsIn(one).eat_nonce, claimsIn(other).eat_nonce);
    assert.deepEqual(await evidenceOf(kid, null), kept, 'a nonce is kept nowhere');
  });
});

suite('an attacker’s evidence', () => {
  let given: KeyEvidence;
  let kid: string;

  before(async () => {
    kid = await make({});
    given = await evidenceOf(kid);
  });

  const check = (evidence: unknown, more: object = {}) => {
    const verdict = verifyAttestation({ evidence } as KeyEvidence, { keys: vkeys, kid, nonce, ...more });
    return verdict.ok ? 'ok' : verdict.reason;
  };
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');

  test('verifies as it was made', () => {
    assert.equal(check(given.evidence), 'ok');
    assert.equal(check(given.evidence, { kid: kid.slice(0, kid.indexOf('#')) }), 'ok');
  });

  test('with other claims does not verify', () => {
    const claims = claimsIn(given);
    for (const changed of [
      { ...claims, sub: `${kid}0` },
      { ...claims, exp: claims.exp + 1 },
      { ...claims, eat_nonce: 'x' },
    ])
      assert.equal(check({ ...given.evidence, payload: encode(changed) }), 'bad_signature');
    assert.equal(check({ ...given.evidence, payload: `${given.evidence.payload}A` }), 'bad_signature');
  });

  test('with swapped, repeated, missing or unsigned signatures does not verify', () => {
    const [one, other] = given.evidence.signatures as [
      KeyEvidence['evidence']['signatures'][number],
      KeyEvidence['evidence']['signatures'][number],
    ];
    const with_ = (...signatures: object[]) => check({ ...given.evidence, signatures });
    assert.equal(
      with_({ ...one, signature: other.signature }, { ...other, signature: one.signature }),
      'bad_signature',
    );
    assert.equal(with_({ ...one, protected: other.protected }, other), 'bad_signature');
    assert.equal(with_(one, one), 'untrusted_key');
    assert.equal(with_(one), 'malformed');
    assert.equal(with_(), 'malformed');
    const none = { protected: encode({ alg: 'none', kid: '', typ: 'eat+jwt' }), signature: '' };
    assert.equal(with_(one, none), 'untrusted_key');
    const { kid: name } = JSON.parse(Buffer.from(other.protected, 'base64url').toString());
    const asHmac = {
      protected: encode({ alg: 'HS256', kid: name, typ: 'eat+jwt' }),
      signature: other.signature,
    };
    assert.equal(with_(one, asHmac), 'untrusted_key');
    const asJwt = { protected: encode({ alg: 'EdDSA', kid: name, typ: 'JWT' }), signature: one.signature };
    assert.equal(with_(asJwt, other), 'malformed');
    assert.equal(with_({ ...one, signature: `${one.signature}=` }, other), 'bad_signature');
    // Valid ones in another order are as good.
    assert.equal(with_(other, one), 'ok');
  });

  test('that is replayed, of another key, or old, is told so', async () => {
    assert.equal(check(given.evidence, { nonce: Buffer.alloc(16, 8).toString('base64url') }), 'wrong_nonce');
    assert.equal(check(given.evidence, { nonce: undefined }), 'wrong_nonce');
    assert.equal(check((await evidenceOf(kid, null)).evidence), 'wrong_nonce');
    assert.equal(check(given.evidence, { kid: await make({}) }), 'wrong_kid');
    assert.equal(check(given.evidence, { kid: kid.replace('#v1', '#v2') }), 'wrong_kid');
    assert.equal(check(given.evidence, { nowMs: Date.now() + 700_000 }), 'expired');
    assert.equal(check(given.evidence, { nowMs: Date.now() - 60_000 }), 'not_yet_valid');
  });

  test('of another service does not verify, whatever it says of itself', async () => {
    const other = await startInProcess();
    try {
      const otherKeys = await keysOf(other);
      assert.equal(check(given.evidence, { keys: otherKeys }), 'untrusted_key');
      const theirs = await make({}, other, other.token);
      const answer = await ask(theirs, nonce, other.token, other);
      assert.equal(check(answer.body.evidence, { kid: theirs }), 'untrusted_key');
      assert.equal(check(answer.body.evidence, { kid: theirs, keys: otherKeys }), 'ok');
      // One signature of each of two services whose keys are trusted.
      const mixed = [given.evidence.signatures[0], answer.body.evidence.signatures[1]];
      const both = [...vkeys, ...otherKeys];
      assert.equal(check({ ...given.evidence, signatures: mixed }, { keys: both }), 'bad_signature');
    } finally {
      await other.stop();
    }
  });

  test('is no evidence where it has not its form', () => {
    const deep = { payload: encode([]), signatures: given.evidence.signatures };
    for (const evidence of [undefined, null, 1, 'text', [], {}, { payload: 1, signatures: [] }])
      assert.equal(check(evidence), 'malformed');
    assert.equal(check(deep), 'bad_signature');
  });

  test('does not pass by a checkpoint’s signature: what is signed there has line feeds', async () => {
    const note = (
      await callForBytes(service, service.token, 'GET', '/v1/kms/audit/checkpoint')
    ).bytes.toString();
    const [, signature = ''] = /^\u2014 \S+ (\S+)$/m.exec(note) ?? [];
    const forged = Buffer.from(signature, 'base64').subarray(4).toString('base64url');
    const [one, other] = given.evidence.signatures;
    assert.equal(
      check({ ...given.evidence, signatures: [{ ...one, signature: forged }, other] }),
      'bad_signature',
    );
  });
});

suite('a key whose policy asks for evidence', () => {
  test('brings it with each signature, and the record names it', async () => {
    const kid = await make({ policy: { attest: true } });
    const signed = await sign(kid);
    assert.equal(signed.status, 200);
    const [evidence] = signed.body.attestation as [KeyEvidence];
    assert.equal(signed.body.attestation.length, 1);
    const verdict = verifyAttestation(evidence, { keys: vkeys, kid });
    assert.ok(verdict.ok);
    const again = await sign(kid);
    assert.deepEqual(again.body.attestation, signed.body.attestation, 'it is kept');
    const records = await call(service, acme, 'GET', '/v1/kms/audit/records?limit=1000');
    const uses = records.body.records
      .map(({ record }: { record: Record<string, unknown> }) => record)
      .filter(
        ({ key_id, purpose }: Record<string, unknown>) => kid.startsWith(`${key_id}#`) && purpose === 'sign',
      );
    assert.equal(uses.length, 2);
    for (const { attestation } of uses)
      assert.deepEqual(attestation, { class: 'none', sha256: evidenceSha256(evidence) });
    const read = await call(service, acme, 'GET', `/v1/kms/keys/${encodeURIComponent(kid)}`);
    assert.deepEqual(read.body.policy, { attest: true });
  });

  test('brings it in a batch, and of several keys that of each that asks', async () => {
    const [asking, other] = [await make({ policy: { attest: true } }), await make({})];
    const items = [
      { kid: asking, payload_b3: helloWorldB3 },
      { kid: other, payload_b3: helloWorldB3 },
    ];
    const batch = await call(service, acme, 'POST', '/v1/kms/sign/batch', { items });
    assert.equal(batch.body.results[0].attestation[0].kid, asking);
    assert.equal(batch.body.results[1].attestation, undefined);
    const together = await call(service, acme, 'POST', '/v1/kms/sign', {
      kid_set: [other, asking],
      payload_b3: helloWorldB3,
    });
    assert.deepEqual(
      together.body.attestation.map(({ kid }: KeyEvidence) => kid),
      [asking],
    );
  });

  test('does not ask where the policy says false, and takes no other word', async () => {
    const kid = await make({ policy: { attest: false } });
    assert.equal((await sign(kid)).body.attestation, undefined);
    const body = { purpose: 'test', alg: 'ed25519', policy: { attest: 'often' } };
    assert.equal((await call(service, acme, 'POST', '/v1/kms/keys', body)).status, 400);
  });
});

suite('a key in a token', () => {
  test('has the word of the token about itself, which is asked once for many signatures', async () => {
    const kid = await make({ policy: { backend: 'token', attest: true } });
    const asked = home.evidenceAsked;
    const answers = await Promise.all(Array.from({ length: 20 }, () => sign(kid)));
    for (const { status } of answers) assert.equal(status, 200);
    assert.equal(home.evidenceAsked, asked + 1);
    const { body } = answers[0] as (typeof answers)[number];
    const [evidence] = body.attestation as [KeyEvidence];
    assert.equal(evidence.class, 'test');
    const { submods, intaglio_key, intaglio_engine } = claimsIn(evidence);
    assert.equal(intaglio_key.backend, 'token');
    assert.equal(intaglio_engine, undefined);
    assert.equal(Buffer.from(submods?.token.hwmodel ?? '', 'base64url').toString(), 'memory');
    assert.deepEqual(submods?.token.swversion, ['1.2', 1]);
    const { as_of, ...said } = submods?.token.intaglio_token ?? {};
    assert.ok(Math.abs((as_of ?? 0) - Date.now() / 1_000) < 60);
    const never = { extractable: false, never_extractable: true };
    assert.deepEqual(said, {
      ...{ label: 'test', manufacturer: 'Intaglio', model: 'memory', serial: '0001' },
      keys: [{ local: true, sensitive: true, always_sensitive: true, ...never }],
    });
  });

  test('that tells nothing signs without evidence, unless the key’s policy requires it', async () => {
    const wanting = await make({ policy: { backend: 'token', attest: true } });
    const requiring = await make({ policy: { backend: 'token', attest: 'require' } });
    home.beforeEvidence = undefined;
    try {
      const signed = await sign(wanting);
      assert.equal(signed.status, 200);
      assert.equal(signed.body.attestation, undefined);
      const refused = await sign(requiring);
      assert.equal(refused.status, 403);
      assert.equal(refused.body.error.code, 'AttestationMissing');
      assert.equal((await ask(requiring)).status, 403);
    } finally {
      home.beforeEvidence = async () => {};
    }
    const metrics = (await callForBytes(service, service.token, 'GET', '/metrics')).bytes.toString();
    assert.match(metrics, /kms_attest_total\{backend="token",result="error"\} [1-9]/);
    assert.match(metrics, /kms_attest_total\{backend="token",result="ok"\} [1-9]/);
    assert.match(metrics, /kms_reject_total\{reason="attest_missing"\} [1-9]/);
  });
});
