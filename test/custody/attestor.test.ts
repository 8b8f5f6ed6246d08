import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test, { type TestContext } from 'node:test';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { ok, refuse } from '../../src/core/result.ts';
import type { TokenEvidence } from '../../src/custody/custody.ts';
import { type AttestedHome, Attestor, evidenceDeadlineMs } from '../../src/custody/evidence/attestor.ts';
import { claimsOf } from '../../src/custody/evidence/claims.ts';
import type { AttestedKey } from '../../src/custody/key-evidence.ts';
import type { KeySource } from '../../src/keys/record.ts';

const minuteMs = 60_000;
const software = { version: '1.0.0', engine: 'native', libraries: {}, memoryLocked: true };

function keyNamed(name: string, backend = 'token', source?: KeySource): AttestedKey {
  const algorithm = findAlgorithm('ed25519');
  assert.ok(algorithm);
  const [component] = algorithm.components;
  const id = `acme/test/ed25519/${name}`;
  const head = { id, tenant: 'acme', purpose: 'test', alg: 'ed25519', state: 'active', backend } as const;
  const part = {
    component,
    home: backend,
    keyNumber: 1,
    publicKey: randomBytes(32),
    keyReference: randomBytes(8),
  };
  const version = {
    kid: `${id}#v1`,
    version: 1,
    state: 'active',
    createdAtMs: 0,
    source,
    parts: [part],
  } as const;
  return { head: { ...head, currentVersion: 1, createdAtMs: 0, revision: 1 }, algorithm, version };
}

/** An attestor with a clock that stands, and a token that answers as the test says. */
function attesting(
  context: TestContext,
  options: { readonly mute?: boolean; readonly unsigned?: boolean } = {},
) {
  context.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const made: string[] = [];
  const asked = { times: 0 };
  const token = { label: 'l', manufacturer: 'm', model: 'o', serial: 's', firmware: '1.0' };
  const flags = {
    local: true,
    alwaysSensitive: true,
    neverExtractable: true,
    sensitive: true,
    extractable: false,
  };
  const word: TokenEvidence = { backend: 'token', token, key: flags, asOfMs: 0 };
  let answer: () => ReturnType<NonNullable<AttestedHome['evidence']>> = async () => ok(word);
  let nowMs = 1_000_000;
  const home: AttestedHome = {
    custody: { backend: 'token', attestationClass: 'test' },
    ...(options.mute === true
      ? undefined
      : {
          evidence: () => {
            asked.times++;
            return answer();
          },
        }),
  };
  const sign = async () => {
    if (options.unsigned === true) throw new Error('busy');
    return randomBytes(64);
  };
  const attestor = new Attestor({
    ...{ homes: [home], softwareClass: 'none', software: () => software },
    signers: () => ({
      issuer: 'log',
      signers: [{ alg: 'EdDSA', kid: 'log+00000000', sign }],
    }),
    clock: { utcMs: () => nowMs, monotonicMs: () => nowMs },
    made: (backend, done) => void made.push(`${backend} ${done}`),
  });
  context.after(() => attestor.close());
  return {
    ...{ attestor, asked, made, word },
    answers: (next: typeof answer) => {
      answer = next;
    },
    passes: (ms: number) => {
      nowMs += ms;
    },
  };
}

test('kept evidence costs a look-up, is renewed after five minutes in the background, and goes after nine', async (context) => {
  const { attestor, asked, passes } = attesting(context);
  const key = keyNamed('one');
  assert.equal(attestor.kept(key), undefined);
  const first = await attestor.evidence(key);
  assert.ok(first.ok);
  passes(5 * minuteMs - 1);
  assert.deepEqual(attestor.evidence(key), first, 'no promise');
  assert.equal(attestor.kept(key), first.value);
  assert.equal(asked.times, 1);
  passes(1);
  assert.deepEqual(attestor.evidence(key), first, 'nobody waits for the next one');
  assert.equal(asked.times, 2);
  await new Promise(setImmediate);
  const second = attestor.evidence(key);
  assert.ok(!(second instanceof Promise) && second.ok && second.value !== first.value);
  passes(9 * minuteMs);
  assert.equal(attestor.kept(key), undefined);
  assert.ok(attestor.evidence(key) instanceof Promise);
});

test('a token that does not answer within three seconds gives no evidence', async (context) => {
  const { attestor, answers, made } = attesting(context);
  answers(() => new Promise(() => {}));
  const asking = attestor.evidence(keyNamed('slow'));
  await new Promise(setImmediate);
  context.mock.timers.tick(evidenceDeadlineMs);
  const answer = await asking;
  assert.ok(!answer.ok);
  assert.equal(answer.failure.code, 'AttestationMissing');
  assert.deepEqual(made, ['token false']);
});

test('a backend that gave none is missing until it gives some, which is tried without being asked', async (context) => {
  const { attestor, answers, passes, asked, word } = attesting(context);
  assert.deepEqual(attestor.missing, []);
  answers(async () => refuse('StoreUnavailable'));
  const key = keyNamed('one');
  const refused = await attestor.evidence(key);
  assert.ok(!refused.ok && refused.failure.code === 'StoreUnavailable');
  assert.deepEqual(attestor.missing, ['token']);
  assert.deepEqual(attestor.evidence(key), refused, 'and is left alone meanwhile');
  assert.equal(asked.times, 1);
  answers(async () => ok(word));
  passes(5_000);
  context.mock.timers.tick(5_000);
  await new Promise(setImmediate);
  assert.deepEqual(attestor.missing, []);
  assert.equal(asked.times, 2);
});

test('a key that is asked for no more does not keep its backend missing', async (context) => {
  const { attestor, answers, passes } = attesting(context);
  answers(async () => refuse('AttestationMissing'));
  await attestor.evidence(keyNamed('gone'));
  assert.deepEqual(attestor.missing, ['token']);
  passes(minuteMs);
  assert.deepEqual(attestor.missing, []);
});

test('workers that are too busy to sign evidence say nothing of its backend, and a later call tries again', async (context) => {
  const { attestor, made } = attesting(context, { unsigned: true });
  const key = keyNamed('one');
  const refused = await attestor.evidence(key);
  assert.ok(!refused.ok && refused.failure.code === 'Timeout');
  assert.deepEqual(attestor.missing, []);
  assert.ok(attestor.evidence(key) instanceof Promise);
  assert.deepEqual(made, ['token false']);
});

test('a backend that has no word to give is missing from the start', (context) => {
  assert.deepEqual(attesting(context, { mute: true }).attestor.missing, ['token']);
});

test('one tenant takes at most a quarter of the places for evidence with nonces', async (context) => {
  const { attestor, answers, word } = attesting(context);
  let open = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  answers(() => gate.then(() => ok(word)));
  const asking = Array.from({ length: 20 }, () => attestor.attest(keyNamed('one'), 'AAAAAAAAAAA'));
  const other = keyNamed('two');
  const theirs = attestor.attest({ ...other, head: { ...other.head, tenant: 'globex' } }, 'AAAAAAAAAAA');
  open();
  const outcomes = await Promise.all(asking);
  assert.equal(
    outcomes.filter((outcome) => !outcome.ok && outcome.failure.code === 'Backpressure').length,
    4,
  );
  assert.ok((await theirs).ok);
  assert.ok((await attestor.attest(keyNamed('one'), 'AAAAAAAAAAA')).ok, 'places come back');
});

test('the claims say where a version came from', () => {
  const origin = (source: KeySource | undefined, adopted = false) => {
    const key = keyNamed('one', 'software', source);
    const head = adopted ? { ...key.head, policy: { adopt: { label: 'l' } } } : key.head;
    const facts = { class: 'none', software, issuer: 'log', nonce: undefined, atMs: 0, expiresAtMs: 0 };
    const claims = claimsOf({ ...facts, key: { ...key, head }, residence: { kind: 'software' } });
    return JSON.parse(Buffer.from(claims).toString()).intaglio_key.origin;
  };
  assert.equal(origin(undefined), 'generated');
  assert.equal(origin(undefined, true), 'adopted');
  assert.equal(origin({ kind: 'imported', publicOnly: false }), 'imported');
  assert.equal(origin({ kind: 'imported', publicOnly: true }), 'imported_public');
  assert.equal(origin({ kind: 'derived', from: 'acme/test/hkdf-sha256/x#v1' }), 'derived');
});
