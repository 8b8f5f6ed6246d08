import assert from 'node:assert/strict';
import test from 'node:test';
import { createLog, type LogLevel } from '../../src/observe/log.ts';

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
