import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import { batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { codeOf, unwrap } from '../support/keyring.ts';
import { acme, openOperations, planOf } from '../support/operations.ts';

const message = Buffer.from('a message');
const tag = new Uint8Array(32);

test('a tag is made by the current version and recorded with a hash of the message', async (t) => {
  const { makeKey, operations } = openOperations(t);
  const { kid, id } = await makeKey('hmac-sha256');
  const { work, answer } = await planOf(operations.mac, { kid: id, message });
  assert.deepEqual(
    work.items.map(({ op, inputs }) => [op, inputs]),
    [[batchOps.mac, [message]]],
  );
  assert.equal(Buffer.from(work.items[0]!.key).toString(), `reference 0 acme ${kid} sealed 0 ${kid}`);
  assert.equal(work.inputDigest, `sha256:${createHash('sha256').update(message).digest('hex')}`);
  assert.deepEqual(unwrap(answer()), { kid, tag: Buffer.from('output 0') });
});

test('a tag is checked with the secret key, and its verdict is the record’s', async (t) => {
  const { makeKey, operations } = openOperations(t);
  const { kid } = await makeKey('hmac-sha256');
  const { work, answer } = await planOf(operations.mac_verify, { kid, message, tag });
  assert.deepEqual([work.kind, work.items[0]!.op], ['verify_mac', batchOps.verifyMac]);
  assert.match(Buffer.from(work.items[0]!.key).toString(), /^reference/);
  for (const [status, ok, verdict] of [
    [batchStatuses.ok, true, 'ok'],
    [batchStatuses.rejected, false, 'invalid'],
  ] as const) {
    assert.deepEqual(unwrap(answer(status)), { ok });
    assert.equal(work.verdict?.(work.uses[0]!, [{ status, outputs: [], elapsedNs: 1 }]), verdict);
  }
  assert.equal(codeOf(answer(batchStatuses.keyUnusable)), 'Internal');
});

test('old versions check and make no tags; destroyed ones do neither; keys of signatures neither', async (t) => {
  const { makeKey, operations, keyring } = openOperations(t);
  const { kid, id } = await makeKey('hmac-sha256');
  const signer = await makeKey('ed25519');
  const codes = async (of: string) => [
    codeOf(await operations.mac.plan({ kid: of, message }, acme)),
    codeOf(await operations.mac_verify.plan({ kid: of, message, tag }, acme)),
  ];
  assert.deepEqual(await codes(signer.kid), ['Unsupported', 'Unsupported']);
  unwrap(await keyring.rotate({ tenant: 'acme', actor: 'tester', kid: id }));
  assert.deepEqual(await codes(kid), ['Conflict', 'ok']);
  unwrap(await keyring.destroy({ tenant: 'acme', actor: 'tester', kid: id, version: 1 }));
  assert.deepEqual(await codes(kid), ['Conflict', 'Conflict']);
  assert.deepEqual(await codes(id), ['ok', 'ok']);
});
