import assert from 'node:assert/strict';
import test from 'node:test';
import { type AuditRecord, encodeRecord } from '../../../src/audit/format/record.ts';
import { type EventFormat, formatEvent } from '../../../src/cli/audit/security-events.ts';

const record: AuditRecord = {
  actor: 'spiffe://acme/web-17',
  alg: 'ed25519',
  input_hash: 'hmac-sha256:k1:e34a',
  key_id: 'acme/tls/ed25519/0192f7c1-5b1e-7c3a-9d2e-000000000001',
  key_version: 7,
  op_id: '0192f7c1-5b1e-7c3a-9d2e-000000000002',
  purpose: 'sign',
  result: 'ok',
  seq: 42,
  tenant: 'acme',
  ts: 1_763_769_600_123_456,
  v: 1,
};
const own: AuditRecord = {
  ...record,
  ...{ actor: '', alg: 'none', input_hash: 'none', key_id: 'audit', key_version: 0, op_id: '', tenant: '' },
  data: { reason: 'a|b=c\\d\nsecond line', old_size: 7 },
  type: 'integrity',
};
const place = { origin: 'kms.example/audit/1', index: 12 };

function line(format: EventFormat, given: AuditRecord): string {
  const text = formatEvent(format, Buffer.from(encodeRecord(given)), place);
  assert.ok(text !== undefined && !text.includes('\n'));
  return text;
}

test('jsonl has the record to the byte, so that it still hashes to its leaf', () => {
  const text = line('jsonl', own);
  assert.ok(text.includes(`"record":${encodeRecord(own)}`));
  assert.deepEqual(JSON.parse(text), { ...place, record: own });
});

test('cef has its seven header fields and escapes what would end a field', () => {
  const [header = '', extension = ''] = line('cef', record).split(/\|(?=rt=)/);
  const fields = header.split('|');
  assert.deepEqual(
    [fields[0], fields[1], fields[4], fields[5], fields[6]],
    ['CEF:0', 'Intaglio', 'sign', 'sign ok', '1'],
  );
  assert.match(extension, /^rt=1763769600123 externalId=kms\.example\/audit\/1#12 act=sign outcome=ok /);
  assert.match(extension, /cs1=acme\/tls\/ed25519\/\S+ cs1Label=keyId/);
  assert.match(
    line('cef', own),
    /\|8\|rt=.*cs6=\{"old_size":7,"reason":"a\|b\\=c\\\\\\\\d\\\\nsecond line"\} cs6Label=data$/,
  );
  assert.match(line('cef', { ...record, purpose: 'a|b' }), /\|a\\\|b\|a\\\|b ok\|/);
});

test('ocsf is API Activity 6003 with every required member', () => {
  const cases: [AuditRecord, { activity: number; status: number; severity: number }][] = [
    [record, { activity: 99, status: 1, severity: 1 }],
    [
      { ...record, purpose: 'verify' },
      { activity: 2, status: 1, severity: 1 },
    ],
    [
      { ...record, purpose: 'verify', result: 'invalid' },
      { activity: 2, status: 2, severity: 2 },
    ],
    [
      { ...record, type: 'key.create', data: { public_key_sha256: 'aa' } },
      { activity: 1, status: 1, severity: 1 },
    ],
    [
      { ...record, type: 'key.rotate' },
      { activity: 3, status: 1, severity: 1 },
    ],
    [
      { ...record, type: 'key.destroy' },
      { activity: 4, status: 1, severity: 1 },
    ],
    [
      { ...record, result: 'denied:PolicyViolation' },
      { activity: 99, status: 2, severity: 2 },
    ],
    [
      { ...record, result: 'error:Internal' },
      { activity: 99, status: 2, severity: 3 },
    ],
    [own, { activity: 99, status: 1, severity: 4 }],
  ];
  for (const [given, { activity, status, severity }] of cases) {
    const event = JSON.parse(line('ocsf', given));
    assert.deepEqual(
      [
        event.class_uid,
        event.category_uid,
        event.activity_id,
        event.type_uid,
        event.status_id,
        event.severity_id,
      ],
      [6003, 6, activity, 600_300 + activity, status, severity],
    );
    assert.equal(event.time, 1_763_769_600_123);
    assert.deepEqual([event.metadata.version, event.metadata.product.vendor_name], ['1.3.0', 'Intaglio']);
    assert.deepEqual([event.metadata.uid, event.metadata.sequence], ['kms.example/audit/1#12', 12]);
    for (const required of [event.api.operation, event.actor.user.uid, event.src_endpoint.name]) {
      assert.ok(typeof required === 'string' && required !== '');
    }
  }
});

test('bytes that are no record are no event', () => {
  assert.equal(formatEvent('ocsf', Buffer.from('{}'), place), undefined);
});
