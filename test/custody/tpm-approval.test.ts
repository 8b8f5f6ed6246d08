import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import test from 'node:test';
import { type ApprovableSource, accepted, approve, requestFor } from '../../src/custody/tpm/approval.ts';
import { newReference } from '../../src/custody/tpm/root-sealing.ts';

const operator = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const value = (byte: number) => Buffer.alloc(32, byte).toString('hex');
const now = { 4: value(4), 7: value(7) };

function source(more?: Partial<ApprovableSource>): ApprovableSource {
  return {
    ...{ id: 'tpm', tcti: 'device:/dev/tpmrm0', pcrs: [4, 7], reference: newReference(), approved: [] },
    operatorKey: operator.publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
    ...more,
  };
}

const bytesOf = (message: object) => Buffer.from(JSON.stringify(message));
const approvalOf = (of: ApprovableSource, foreseen = {}, key = operator.privateKey) =>
  approve(bytesOf(requestFor(of, now, foreseen)), key);

test('values that are foreseen take the place of those that are, of PCRs that the source is bound to', () => {
  const of = source();
  assert.deepEqual(requestFor(of, now, { 4: value(5) }).values, { 4: value(5), 7: value(7) });
  assert.throws(() => requestFor(of, now, { 9: value(9) }), /not bound to PCR 9: it is bound to 4, 7/);
});

test('an approval is taken by the source that it is for, once, and the newest 64 are kept', () => {
  let of = source();
  for (let byte = 1; byte <= 68; byte++)
    of = { ...of, approved: accepted(of, bytesOf(approvalOf(of, { 4: value(byte) })), byte) };
  assert.deepEqual(
    of.approved.map(({ approvedAtMs }) => approvedAtMs),
    Array.from({ length: 64 }, (_, index) => index + 5),
  );
  const again = accepted(of, bytesOf(approvalOf(of, { 4: value(68) })), 69);
  assert.deepEqual([again.length, again.at(-1)?.approvedAtMs], [64, 69]);
});

test('an approval of another key, for another source, of other PCRs, or with other values than were signed is not taken', () => {
  const of = source();
  const refuses = (message: object, says: RegExp) =>
    assert.throws(() => accepted(of, bytesOf(message), 0), says);
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  refuses(approvalOf(of, {}, stranger), /not signed by the operator's key/);
  refuses(approvalOf(source()), /for another source/);
  const wider = { ...of, pcrs: [4, 7, 9] };
  refuses(approvalOf(wider, { 9: value(9) }), /of other PCRs/);
  refuses({ ...approvalOf(of), values: { ...now, 4: value(1) } }, /not signed by the operator's key/);
  refuses({ ...approvalOf(of), more: 1 }, /is no approval/);
  refuses(requestFor(of, now, {}), /is no approval/);
  assert.throws(() => accepted(of, Buffer.from('{'), 0), /is no approval/);
  assert.throws(() => approve(bytesOf(approvalOf(of)), operator.privateKey), /is no request/);
  const shown = { ...requestFor(of, now, {}), source: '\x1b[2Jtpm' };
  assert.throws(() => approve(bytesOf(shown), operator.privateKey), /is no request/);
});
