import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { keyTypes, schemes } from '../../src/algorithms/ids.ts';
import { createAnswering } from '../../src/custody/pkcs11/answer.ts';
import { handleOf } from '../../src/custody/pkcs11/key-name.ts';
import { codes, tokenFlags } from '../../src/custody/pkcs11/numbers.ts';
import type { Answered, TokenSettings } from '../../src/custody/pkcs11/protocol.ts';
import { type BatchItem, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { cryptokiError, ScriptedCryptoki } from '../support/scripted-cryptoki.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

function scripted(t: TestContext, more: Partial<TokenSettings> = {}, descriptor = -1) {
  const module = new ScriptedCryptoki();
  const pinFile = join(temporaryDirectory(t), 'pin');
  writeFileSync(pinFile, '1234\n', { mode: 0o600 });
  const settings: TokenSettings = {
    ...{ module: 'scripted.so', token: { label: 'scripted' }, pinFile, sessions: 2 },
    ...{ groupReadableSecrets: false, ...more },
  };
  const clock = { nowMs: 0 };
  const answer = createAnswering(module.cryptoki, descriptor, () => clock.nowMs);
  const open = (refusedPin?: string) => answer({ kind: 'open', settings, refusedPin });
  const sign = (items = 1) => answer({ kind: 'run', calls: Array.from({ length: items }, () => [item]) });
  return { module, settings, pinFile, answer, open, sign, clock };
}

const key = buildKeyReference('acme', 'acme/p/ed25519/one#v1/0', handleOf('made', randomBytes(16)));
const item: BatchItem = {
  ...{ op: batchOps.sign, scheme: schemes.ed25519, keyNumber: 1, key },
  inputs: [Buffer.from('hello')],
};

function statusesOf(answered: Answered): readonly (number | string)[] {
  assert.ok(answered.kind === 'ran', JSON.stringify(answered));
  return answered.calls.map((call) => ('kind' in call ? call.reason : (call[0]?.status ?? -1)));
}

const { ok, keyUnusable } = batchStatuses;

test('each session does one operation, and further ones wait for it', async (t) => {
  const { module, open, sign } = scripted(t);
  assert.equal((await open()).kind, 'opened');
  module.signMs = 5;
  assert.deepEqual(statusesOf(await sign(7)), Array(7).fill(ok));
  assert.equal(module.mostSigning, 2);
  assert.equal(module.sessions.size, 2);
});

test('a module that cannot lock is given one operation at a time', async (t) => {
  const { module, open, sign } = scripted(t);
  module.cantLock = true;
  await open();
  module.signMs = 2;
  assert.deepEqual(statusesOf(await sign(3)), [ok, ok, ok]);
  assert.equal(module.mostSigning, 1);
});

test('the handle of a key is looked for once, and again after the token forgot it or was opened again', async (t) => {
  const { module, open, sign } = scripted(t);
  await open();
  for (let round = 0; round < 3; round++) await sign();
  const once = module.count('C_FindObjectsInit');
  module.failing.set('C_SignInit', cryptokiError(codes.keyHandleInvalid));
  assert.deepEqual(statusesOf(await sign()), [ok]);
  assert.equal(module.count('C_FindObjectsInit'), 2 * once);
  await open();
  assert.deepEqual(statusesOf(await sign()), [ok]);
  assert.equal(module.count('C_FindObjectsInit'), 3 * once);
});

test('sessions that the module drops while they are idle are replaced, with a login', async (t) => {
  const { module, open, sign, answer } = scripted(t);
  await open();
  await sign(2);
  module.dropSessions();
  assert.deepEqual(statusesOf(await sign(4)), [ok, ok, ok, ok]);
  module.dropSessions();
  assert.equal((await answer({ kind: 'probe' })).kind, 'well', 'a sign of life finds them dead');
  assert.deepEqual(statusesOf(await sign()), [ok]);
});

test('a key that is not there is unusable; where the token is away too, it is away', async (t) => {
  const { module, open, sign } = scripted(t);
  await open();
  module.objects = 0;
  assert.deepEqual(statusesOf(await sign()), [keyUnusable]);
  module.failing.set('C_GetTokenInfo', cryptokiError(codes.deviceRemoved));
  assert.match(String(statusesOf(await sign())[0]), /0x32/);
});

test('trouble of the token is no status of an item, and what the module says of one item is none of the token', async (t) => {
  const { module, open, sign } = scripted(t);
  await open();
  module.failing.set('C_SignInit', cryptokiError(codes.deviceError));
  const away = await sign();
  assert.ok(away.kind === 'ran' && away.away !== undefined);
  module.failing.set('C_SignInit', cryptokiError(0x70));
  assert.deepEqual(statusesOf(await sign()), [batchStatuses.internal]);
});

test('an operation without an answer is given up after 2 s, and the module is not finalized under it', async (t) => {
  const { module, open, sign } = scripted(t);
  await open();
  module.signMs = 2_600;
  const began = Date.now();
  const statuses = statusesOf(await sign(6));
  assert.ok(Date.now() - began < 2_500, 'those that wait for a session are not kept waiting');
  for (const status of statuses) assert.match(String(status), /no answer within 2000 ms/);
  module.signMs = 0;
  assert.equal((await open()).kind, 'opened');
  assert.equal(module.signingAtFinalize, 0);
  assert.deepEqual(statusesOf(await sign()), [ok]);
});

test('a PIN that is refused is not tried again until its file changes or somebody says so', async (t) => {
  const { module, open, pinFile } = scripted(t);
  writeFileSync(pinFile, '9999\n');
  const refused = await open();
  assert.ok(refused.kind === 'away' && refused.refusedPin !== undefined);
  assert.match(refused.reason, /refused the PIN/);
  for (let round = 0; round < 5; round++) assert.equal((await open(refused.refusedPin)).kind, 'away');
  assert.equal(module.count('C_Login'), 1);
  await open();
  assert.equal(module.count('C_Login'), 2, 'an operator said so');
  writeFileSync(pinFile, '1234\r\n');
  assert.equal((await open(refused.refusedPin)).kind, 'opened');
});

test('a token that is locked, or would be by one more wrong PIN, is not asked', async (t) => {
  const { module, open } = scripted(t);
  for (const [flag, reason] of [
    [tokenFlags.userPinLocked, /is locked/],
    [tokenFlags.userPinFinalTry, /one more wrong PIN/],
  ] as const) {
    module.flags = flag;
    const away = await open();
    assert.ok(away.kind === 'away');
    assert.match(away.reason, reason);
  }
  assert.equal(module.count('C_Login'), 0);
});

test('a PIN comes by a descriptor, or by a credential of systemd; others may not read its file', async (t) => {
  const byDescriptor = scripted(t, { pinFile: 'fd:9' }, openSync(scripted(t).pinFile, 'r'));
  assert.equal((await byDescriptor.open()).kind, 'opened');
  assert.equal((await byDescriptor.open()).kind, 'opened', 'a file is read from its beginning each time');

  const { pinFile } = scripted(t);
  const before = process.env.CREDENTIALS_DIRECTORY;
  t.after(() => {
    if (before === undefined) delete process.env.CREDENTIALS_DIRECTORY;
    else process.env.CREDENTIALS_DIRECTORY = before;
  });
  process.env.CREDENTIALS_DIRECTORY = join(pinFile, '..');
  assert.equal((await scripted(t, { pinFile: 'credential:pin' }).open()).kind, 'opened');
  delete process.env.CREDENTIALS_DIRECTORY;
  const without = await scripted(t, { pinFile: 'credential:pin' }).open();
  assert.ok(without.kind === 'away' && /no credentials/.test(without.reason));

  const open = scripted(t);
  const { chmodSync } = await import('node:fs');
  chmodSync(open.pinFile, 0o644);
  const judged = await open.open();
  assert.ok(judged.kind === 'away' && /by others/.test(judged.reason));
  writeFileSync(open.pinFile, '\n');
  chmodSync(open.pinFile, 0o600);
  const empty = await open.open();
  assert.ok(empty.kind === 'away' && /holds no PIN/.test(empty.reason));
});

test('a token that is away and finds nothing has destroyed nothing, and does not say that a key is not there', async (t) => {
  const { module, open, answer } = scripted(t);
  for (const asked of [
    { kind: 'destroy', references: [key] },
    { kind: 'discard', references: [key] },
    { kind: 'evidence', reference: key },
    { kind: 'adopt', keyType: keyTypes.ed25519, reference: key, key: { label: 'theirs' } },
  ] as const) {
    module.objects = 1;
    await open();
    module.objects = 0;
    assert.notEqual((await answer(asked)).kind, 'away', asked.kind);
    module.failing.set('C_GetTokenInfo', cryptokiError(codes.deviceRemoved));
    assert.equal((await answer(asked)).kind, 'away', asked.kind);
  }
});

test('what the module says of one key takes no other key away, and trouble of the token does', async (t) => {
  const { module, open, answer, sign } = scripted(t);
  await open();
  await sign();
  const evidence = { kind: 'evidence', reference: key } as const;
  for (const code of [0x12_34, 0x63, 0xd0]) {
    module.failing.set('C_GetAttributeValue', cryptokiError(code));
    const answered = await answer(evidence);
    assert.ok(answered.kind === 'failed', JSON.stringify(answered));
    assert.match(answered.reason, new RegExp(`0x${code.toString(16)}`));
  }
  module.failing.set('C_GetAttributeValue', cryptokiError(codes.objectHandleInvalid));
  assert.equal((await answer(evidence)).kind, 'evidence', 'it is found again');
  for (const code of [codes.deviceError, codes.tokenNotPresent, codes.generalError]) {
    module.failing.set('C_GetAttributeValue', cryptokiError(code));
    assert.equal((await answer(evidence)).kind, 'away');
  }
  module.failing.set('C_GetAttributeValue', cryptokiError(0x63));
  module.failing.set('C_GetTokenInfo', cryptokiError(codes.deviceRemoved));
  assert.equal((await answer(evidence)).kind, 'away');
});

test('an unclear trouble of one key is its own where others work, and of the token where two keys have it', async (t) => {
  const { module, open, answer, clock } = scripted(t);
  const other = buildKeyReference('acme', 'acme/p/ed25519/two#v1/0', handleOf('made', randomBytes(16)));
  const run = (of: Uint8Array) => answer({ kind: 'run', calls: [[{ ...item, key: of }]] });
  const fails = async (of: Uint8Array, code: number = codes.generalError) => {
    module.failing.set('C_SignInit', cryptokiError(code));
    const ran = await run(of);
    assert.ok(ran.kind === 'ran');
    return ran.away !== undefined ? 'away' : { status: statusesOf(ran)[0], told: ran.ofKeys?.length ?? 0 };
  };
  const { internal } = batchStatuses;
  await open();
  assert.deepEqual(statusesOf(await run(other)), [ok]);
  for (const [code, told] of [
    [codes.generalError, 1],
    [codes.functionFailed, 0],
  ] as const)
    assert.deepEqual(await fails(key, code), { status: internal, told }, 'told once');
  module.failing.set('C_SignInit', cryptokiError(codes.generalError));
  const told = await run(other);
  assert.ok(told.kind === 'ran' && told.away !== undefined, 'the second key in a row');
  assert.deepEqual(statusesOf(await run(other)), [ok]);
  assert.equal(await fails(key, codes.deviceError), 'away', 'that is clear');
  clock.nowMs += 2_001;
  assert.equal(await fails(key), 'away', 'nothing worked lately');
  await open();
  assert.deepEqual(await fails(key), { status: internal, told: 0 }, 'opening it anew did not help');
  clock.nowMs += 60_001;
  assert.equal(await fails(key), 'away');
  await open();
  assert.deepEqual(statusesOf(await run(key)), [ok]);
  clock.nowMs += 2_001;
  assert.equal(await fails(key), 'away', 'it has worked since');
});

test('the operator is told which key has trouble of its own', async (t) => {
  const { module, open, answer } = scripted(t);
  const other = buildKeyReference('acme', 'acme/p/ed25519/two#v1/0', handleOf('made', randomBytes(16)));
  await open();
  await answer({ kind: 'run', calls: [[{ ...item, key: other }]] });
  module.failing.set('C_SignInit', cryptokiError(codes.generalError));
  const ran = await answer({ kind: 'run', calls: [[item]] });
  assert.ok(ran.kind === 'ran');
  assert.deepEqual(ran.ofKeys, ['CKR_TEST (0x5): acme/p/ed25519/one#v1/0']);
});
