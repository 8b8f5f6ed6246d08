import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { eventEnd } from '../../src/audit/format/record.ts';
import { AuditLogClient } from '../../src/audit/service/log-client.ts';
import {
  calmMark,
  defaultLogOptions,
  type FromService,
  statisticsBytes,
  type ToService,
  urgentMark,
} from '../../src/audit/thread-messages.ts';
import { event } from './support/log.ts';

/** The main thread's side alone, with what it sends to the log's thread. */
function start() {
  const sent: ToService[] = [];
  let receive: (message: FromService) => void = () => {};
  const port = {
    postMessage: (message: ToService) => void sent.push(message),
    on: (_: 'message', listener: typeof receive) => {
      receive = listener;
    },
  };
  const data = {
    ...{ directory: '/data/audit', headPath: '/data/audit.head', secret: new Uint8Array(32) },
    ...{ origin: 'kms.example/audit/1', inputHash: { mode: 'hmac', modeOfTenant: {}, kid: 'k1' } as const },
    ...{ options: defaultLogOptions, statistics: new SharedArrayBuffer(statisticsBytes) },
    ...{ anchored: false, keysLogged: false, witnessed: false },
  };
  const checkpointKeys = () => Promise.reject(new Error('nobody asks'));
  const log = new AuditLogClient(data, port, { checkpointKeys, anchors: undefined, report: () => {} });
  receive({ kind: 'state', state: 'ready', reason: undefined, directory: '/data', takesRecords: true });
  return { log, sent, receive: (message: FromService) => receive(message) };
}

/** The op_ids in a message, in their order. */
function opIdsIn(message: ToService | undefined): string[] {
  assert.ok(typeof message === 'string');
  return message.split(eventEnd).map((packed) => /op-[0-9]+/.exec(packed)?.[0] as string);
}

test('records that are settled together leave in one message, however long their promises are', async () => {
  const { log, sent, receive } = start();
  const appended = Array.from({ length: 8 }, async (_, n) => {
    for (let step = 0; step < n * 3; step++) await undefined;
    assert.ok(log.reserve(1));
    return log.append(event({ opId: `op-${n}` }), n === 5 ? 'synced' : 'written');
  });
  await setImmediate();
  assert.equal(sent.length, 1);
  assert.deepEqual(
    opIdsIn(sent[0]),
    Array.from({ length: 8 }, (_, n) => `op-${n}`),
  );
  assert.equal(String(sent[0])[0], urgentMark, 'one of them waits for fdatasync');
  receive(Array.from({ length: 16 }, (_, at) => (at % 2 === 0 ? 100 + at / 2 : 7)));
  receive({ kind: 'durable', size: 108 });
  assert.deepEqual(
    (await Promise.all(appended)).map((outcome) => outcome.ok && outcome.value.index),
    Array.from({ length: 8 }, (_, n) => 100 + n),
  );
});

test('what was appended just before the log closes leaves before that, and once', async () => {
  const { log, sent, receive } = start();
  assert.ok(log.reserve(1));
  const appended = log.append(event({ opId: 'op-1' }), 'written');
  const closed = log.close();
  await setImmediate();
  assert.equal(sent.length, 2);
  assert.deepEqual(opIdsIn(sent[0]), ['op-1']);
  assert.equal(String(sent[0])[0], calmMark);
  assert.deepEqual(sent[1], { kind: 'close' });
  receive([0, 1]);
  receive({ kind: 'closed' });
  await closed;
  assert.deepEqual(await appended, { ok: true, value: { index: 0, seq: 1 } });
});
