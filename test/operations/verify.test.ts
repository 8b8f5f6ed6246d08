import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { BatchResult } from '../../src/engine/batch.ts';
import { batchOps, batchStatuses } from '../../src/engine/batch.ts';
import type { KeyUse } from '../../src/operations/operation.ts';
import type { GivenSignature, VerifyRequest } from '../../src/operations/verify.ts';
import { codeOf, unwrap } from '../support/keyring.ts';
import { acme, openOperations, payloadBlake3, planOf } from '../support/operations.ts';

const ed25519Signature = new Uint8Array(64);
const mlDsaSignature = new Uint8Array(3_309);

function verifying(t: TestContext) {
  const opened = openOperations(t);
  const { verify } = opened.operations;
  const request = (signatures: readonly GivenSignature[], mode: VerifyRequest['mode'] = undefined) => ({
    input: payloadBlake3,
    signatures,
    mode,
    window: undefined,
  });
  return {
    ...opened,
    refusalOf: async (...signatures: GivenSignature[]) =>
      codeOf(await verify.plan(request(signatures), acme)),
    planned: (signatures: readonly GivenSignature[], mode?: VerifyRequest['mode']) =>
      planOf(verify, request(signatures, mode)),
  };
}

function given(kid: string, signature: Uint8Array, alg?: string): GivenSignature {
  return { kid, alg, signature };
}

test('checks a signature with the public key of its version, an older one too', async (t) => {
  const { makeKey, planned, keyring } = verifying(t);
  const { kid, id } = await makeKey('ed25519');
  unwrap(await keyring.rotate({ tenant: 'acme', actor: 'tester', kid: id }));
  const { work, answer } = await planned([given(kid, ed25519Signature)]);
  assert.equal(work.items[0]!.op, batchOps.verify);
  assert.equal(Buffer.from(work.items[0]!.key).toString(), `public 0 ${kid}`);
  assert.deepEqual(unwrap(answer()), {
    ok: true,
    satisfiedMode: 'and',
    fault: undefined,
    cache: undefined,
    checked: [{ kid, alg: 'ed25519', ok: true, reason: undefined }],
  });
  const invalid = unwrap(answer(batchStatuses.rejected));
  assert.deepEqual([invalid.ok, invalid.checked[0]?.reason], [false, 'signature_invalid']);
  assert.equal(unwrap(answer(batchStatuses.keyUnusable)).checked[0]?.reason, 'key_unusable');
  assert.equal(codeOf(answer(batchStatuses.internal)), 'Internal');
});

test('halves of a hybrid signature find their keys by their length, and count as one use', async (t) => {
  const { makeKey, planned } = verifying(t);
  const { kid } = await makeKey('ed25519+ml-dsa-65');
  const { work, answer } = await planned([given(kid, mlDsaSignature), given(kid, ed25519Signature)]);
  assert.deepEqual([work.items.length, work.uses.length, work.alg], [2, 1, 'several']);
  assert.deepEqual(
    unwrap(answer()).checked.map(({ alg }) => alg),
    ['ml-dsa-65', 'ed25519'],
  );
  const half = await planned([given(kid, ed25519Signature)], 'or');
  assert.deepEqual(unwrap(half.answer()).satisfiedMode, 'or');
});

test('a signature that cannot be checked says why, and nothing is computed', async (t) => {
  const { makeKey, planned, keyring } = verifying(t);
  const { kid, id } = await makeKey('ed25519');
  const mismatch = await planned([given(kid, ed25519Signature, 'ml-dsa-65')]);
  assert.equal(mismatch.work.items.length, 0);
  assert.equal(unwrap(mismatch.answer()).checked[0]?.reason, 'alg_mismatch');
  unwrap(await keyring.destroy({ tenant: 'acme', actor: 'tester', kid: id }));
  const gone = await planned([given(kid, ed25519Signature)]);
  assert.equal(gone.work.items.length, 0);
  assert.equal(unwrap(gone.answer()).checked[0]?.reason, 'destroyed');
});

test('each key has its own verdict for its record', async (t) => {
  const { makeKey, planned } = verifying(t);
  const kids = [(await makeKey('ed25519')).kid, (await makeKey('ed25519')).kid];
  const { work } = await planned(kids.map((kid) => given(kid, ed25519Signature)));
  const ended = (status: BatchResult['status']) => ({ status, outputs: [], elapsedNs: 1 });
  const verdicts = work.uses.map((use: KeyUse) =>
    work.verdict?.(use, [ended(batchStatuses.ok), ended(batchStatuses.rejected)]),
  );
  assert.deepEqual(verdicts, ['ok', 'invalid']);
});

test('keys that are not there, or verify no signatures, are refused', async (t) => {
  const { makeKey, refusalOf } = verifying(t);
  const mac = await makeKey('hmac-sha256');
  const other = await makeKey('ed25519', 'other');
  assert.equal(await refusalOf(given(mac.kid, ed25519Signature)), 'Unsupported');
  assert.equal(await refusalOf(given(other.kid, ed25519Signature)), 'NotFound');
});
