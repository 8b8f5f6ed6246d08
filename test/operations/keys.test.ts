import assert from 'node:assert/strict';
import test from 'node:test';
import type { AuditParts } from '../../src/audit/service/parts.ts';
import type { CreateRequest } from '../../src/operations/create-key.ts';
import { codeOf, unwrap } from '../support/keyring.ts';
import { acme, openOperations } from '../support/operations.ts';

const create: CreateRequest = {
  tenant: undefined,
  purpose: 'p',
  alg: 'ed25519',
  auditDurability: undefined,
  usages: undefined,
  backend: undefined,
  policy: undefined,
  name: undefined,
};

test('a key is made, read, listed, rotated and destroyed', async (t) => {
  const { operations } = openOperations(t);
  const made = unwrap(await operations.create.run(create, acme));
  const id = made.kid.replace('#v1', '');
  assert.deepEqual([made.algorithm.name, made.publicKeys.length], ['ed25519', 1]);
  const rotated = unwrap(await operations.rotate.run({ kid: id, name: undefined }, acme));
  assert.deepEqual([rotated.kid, rotated.previous], [`${id}#v2`, made.kid]);
  const read = unwrap(await operations.read.run({ kid: id }, acme));
  assert.deepEqual([read.head.currentVersion, read.attestationClass], [2, 'none']);
  assert.deepEqual(
    read.versions.map(({ version }) => version),
    [2, 1],
  );
  const page = unwrap(await operations.list.run({ purpose: 'p' }, acme));
  assert.deepEqual(
    page.keys.map((head) => head.id),
    [id],
  );
  const version = unwrap(await operations.destroy.run({ kid: id, version: 1, name: undefined }, acme));
  assert.equal(version.kid, made.kid);
  assert.equal(
    unwrap(await operations.destroy.run({ kid: id, version: undefined, name: undefined }, acme)).kid,
    id,
  );
  assert.deepEqual(unwrap(await operations.list.run({}, { ...acme, tenant: 'other' })).keys, []);
});

test('a key that may not be made is refused, each with its own reason', async (t) => {
  const { operations } = openOperations(t, { allowedAlgorithms: new Set(['ed25519']) });
  for (const [more, code] of [
    [{ tenant: 'other' }, 'NoCapability'],
    [{ tenant: 'acme' }, 'ok'],
    [{ purpose: 'No Purpose' }, 'BadRequest'],
    [{ alg: 'rot13' }, 'Unsupported'],
    [{ alg: 'rsa-2048' }, 'PolicyViolation'],
    [{ auditDurability: 'witnessed' }, 'Unsupported'],
    [{ auditDurability: 'synced' }, 'ok'],
    [{ usages: ['encrypt'] }, 'BadRequest'],
    [{ usages: ['verify', 'mac'] }, 'BadRequest'],
    [{ usages: [] }, 'BadRequest'],
    [{ usages: ['verify'] }, 'ok'],
  ] as const) {
    const made = await operations.create.run({ ...create, ...more }, acme);
    assert.equal(codeOf(made), code, JSON.stringify(more));
  }
  const { purpose } = create;
  assert.deepEqual(operations.create.subjects?.({ ...create, alg: 'rot13' }), { alg: 'none', purpose });
});

test('private keys are never exported, whoever asks', async (t) => {
  const { operations } = openOperations(t);
  assert.equal(codeOf(await operations.export.run({ kid: 'any' }, acme)), 'ExportForbidden');
});

test('a file of the log is given as its bytes; bundles of records to the operator only', async (t) => {
  const asked: unknown[] = [];
  const bytes = Buffer.from('a tile');
  const audit = {
    reading: {
      ask: async (question: unknown) => {
        asked.push(question);
        return { ok: true, value: { found: true, bytes } };
      },
    },
  } as unknown as AuditParts;
  const { operations } = openOperations(t, { audit });
  const operator = { ...acme, tenant: 'default' };
  const bundle = { path: 'tile/entries/000' };
  assert.equal(codeOf(await operations.audit_tile.run(bundle, acme)), 'NoCapability');
  assert.equal(unwrap(await operations.audit_tile.run(bundle, operator)), bytes);
  assert.equal(unwrap(await operations.audit_proof.run({ index: 7 }, acme)), bytes);
  assert.deepEqual(asked, [
    { of: 'tile', path: 'tile/entries/000' },
    { of: 'proof', index: 7, tenant: 'acme' },
  ]);
});

test('without a log every question about it is Unsupported', async (t) => {
  const { operations } = openOperations(t);
  assert.equal(codeOf(await operations.audit_checkpoint.run(undefined, acme)), 'Unsupported');
  assert.equal(codeOf(await operations.audit_rotate_keys.run(undefined, acme)), 'Unsupported');
  assert.equal(codeOf(await operations.audit_accept.run({ reason: 'why' }, acme)), 'Unsupported');
});
