import assert from 'node:assert/strict';
import test from 'node:test';
import { createLog, type LogLevel, type RedactLevel, setLogging } from '../../src/observe/log.ts';

function logTo(level: LogLevel) {
  const lines: string[] = [];
  return { lines, log: createLog(level, 'seal-1', { write: (line) => lines.push(line) }) };
}

test('an entry is one line of JSON with level, time, service and message', () => {
  const { lines, log } = logTo('info');
  log.info({ url: 'http://127.0.0.1:1' }, 'listening');
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /^[^\n]+\n$/);
  const { time, ...rest } = JSON.parse(lines[0] ?? '');
  assert.deepEqual(rest, { level: 'info', service: 'seal-1', url: 'http://127.0.0.1:1', msg: 'listening' });
  assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
});

test('entries below the level are not written', () => {
  const { lines, log } = logTo('warn');
  log.info('no');
  log.warn('yes');
  assert.equal(lines.length, 1);
  const silent = logTo('silent');
  silent.log.fatal('no');
  assert.equal(silent.lines.length, 0);
});

test('what has the name of a secret is not written, at the top and one level down', () => {
  const { lines, log } = logTo('info');
  log.info({
    token: 'hush',
    authorization: 'hush',
    config: { rootKey: 'hush' },
    request: { plaintext_b64: 'hush' },
  });
  assert.equal(lines.join().includes('hush'), false);
  assert.match(lines.join(), /\[redacted\]/);
});

test('an error is written with its cause, for the operator', () => {
  const { lines, log } = logTo('info');
  log.error({ err: new Error('outer', { cause: new Error('inner') }) }, 'failed');
  const { err } = JSON.parse(lines[0] ?? '');
  assert.match(err.message, /outer.*inner/);
  assert.match(err.stack, /log\.test\.ts/);
});

test('digests of payloads, and names, are left out where that is asked for', () => {
  const { lines, log } = logTo('info');
  const written = (redactLevel: RedactLevel) => {
    setLogging(log, { logLevel: 'info', redactLevel });
    log.info({ tenant: 'acme', kid: 'acme/p/1', payload_b3: 'abcd', payload_len: 4, status: 200 }, 'a call');
    return JSON.parse(lines.at(-1) ?? '');
  };
  const fields = ({ tenant, kid, payload_b3, payload_len, status, msg }: Record<string, unknown>) => [
    ...[tenant, kid, payload_b3, payload_len, status, msg],
  ];
  assert.deepEqual(fields(written('hashes')), ['acme', 'acme/p/1', 'abcd', 4, 200, 'a call']);
  assert.deepEqual(fields(written('lengths')), ['acme', 'acme/p/1', undefined, 4, 200, 'a call']);
  const { tenant, kid, ...others } = written('names');
  assert.match(tenant, /^#[0-9a-f]{16}$/);
  assert.match(kid, /^#[0-9a-f]{16}$/);
  assert.deepEqual([others.payload_b3, others.payload_len, others.status], [undefined, 4, 200]);
  // Lines of one process can be matched.
  assert.equal(written('names').tenant, tenant);
});

test('the level of a log changes while it is in use', () => {
  const { lines, log } = logTo('info');
  setLogging(log, { logLevel: 'error', redactLevel: 'hashes' });
  log.warn('no');
  setLogging(log, { logLevel: 'debug', redactLevel: 'hashes' });
  log.debug('yes');
  assert.equal(lines.length, 1);
});
