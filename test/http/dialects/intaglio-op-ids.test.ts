import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import test, { type TestContext } from 'node:test';
import { intaglioDialect } from '../../../src/http/dialects/intaglio/index.ts';
import { decodeOperation, encodeOperation, operationKey } from '../../../src/keys/codec.ts';
import type { KeyMade } from '../../../src/keys/keyring.ts';
import type { KeyOperation } from '../../../src/operations/operation.ts';
import { codeOf, unwrap } from '../../support/keyring.ts';
import { acme, openOperations } from '../../support/operations.ts';

/** Digests that stand in stores, of `{"purpose":"p","alg":"ed25519"}` and with an audit policy. They never change. */
const recorded = {
  plain: '7ff3719afa5963f37613cc202799b24dc5bc2bec02f6dfd763086af16bfe831a',
  synced: '8fca4423390f5f685d9439610472f356f3bb6175a77a887d779b5a303ea40fe1',
};
/** Of the same with `"policy":null`, by versions that digested the body as it was spelled. */
const recordedAsSpelled = '2a045e618744557566a5fe8d53140d8dc4593a8d88134d7abe15b79e03e8260d';

const plain = { purpose: 'p', alg: 'ed25519' };

/** POST /keys, from its body to the key; and the digest that the store has of an op_id. */
function creating(t: TestContext) {
  const { operations, inner } = openOperations(t);
  const route = unwrap(intaglioDialect(operations, { batchMaxItems: 1 }).find('post', '/v1/kms/keys'));
  const create = async (body: object) => {
    const wire = { named: route.named, query: '', body: Buffer.from(JSON.stringify(body)) };
    const request = unwrap(route.endpoint.parse(wire));
    return (route.endpoint.operation as KeyOperation<unknown, KeyMade>).run(request, acme);
  };
  const recordOf = async (id: string) => {
    const entry = unwrap(await inner.get(operationKey('acme', id)));
    return decodeOperation(entry!.value)!;
  };
  const digestOf = async (id: string) => Buffer.from((await recordOf(id)).digest).toString('hex');
  /** As a version recorded it that digested something else. */
  const replaceDigest = async (id: string, digest: string) => {
    const record = { ...(await recordOf(id)), digest: Buffer.from(digest, 'hex') };
    unwrap(await inner.commit([{ key: operationKey('acme', id), value: encodeOperation(record) }]));
  };
  return { create, digestOf, replaceDigest };
}

test('an op_id digests the typed request, as versions before did', async (t) => {
  const { create, digestOf } = creating(t);
  for (const [more, digest] of [
    [{}, recorded.plain],
    [{ policy: null }, recorded.plain],
    [{ policy: {} }, recorded.plain],
    [{ tenant: 'acme' }, recorded.plain],
    [{ policy: { audit: 'synced' } }, recorded.synced],
  ] as const) {
    const op_id = randomUUID();
    unwrap(await create({ ...plain, ...more, op_id }));
    assert.equal(await digestOf(op_id), digest, JSON.stringify(more));
  }
});

test('an op_id of a version that digested the body as it was spelled has its answer for its time', async (t) => {
  const { create, replaceDigest } = creating(t);
  const op_id = randomUUID();
  const made = unwrap(await create({ ...plain, policy: null, op_id }));
  await replaceDigest(op_id, recordedAsSpelled);
  assert.deepEqual(unwrap(await create({ ...plain, policy: null, op_id })), { ...made, replayed: true });
  assert.equal(codeOf(await create({ ...plain, alg: 'ml-dsa-65', policy: null, op_id })), 'Conflict');
});
