import assert from 'node:assert/strict';
import test from 'node:test';
import { fields } from '../../src/config/fields.ts';
import { isLoopback, listenAddresses, trustedProxies, userIds } from '../../src/config/listen-kinds.ts';

const taken: readonly (readonly [string, unknown])[] = [
  ['http://127.0.0.1:7441', [{ scheme: 'http', insecure: false, host: '127.0.0.1', port: 7441 }]],
  ['http://[::1]:0', [{ scheme: 'http', insecure: false, host: '::1', port: 0 }]],
  ['http://localhost:1', [{ scheme: 'http', insecure: false, host: 'localhost', port: 1 }]],
  ['http://127.9.9.9:1', [{ scheme: 'http', insecure: false, host: '127.9.9.9', port: 1 }]],
  ['http://0.0.0.0:1?insecure', [{ scheme: 'http', insecure: true, host: '0.0.0.0', port: 1 }]],
  ['https://kms.test:443', [{ scheme: 'https', client: 'none', host: 'kms.test', port: 443 }]],
  ['https://[::]:443?client=require', [{ scheme: 'https', client: 'require', host: '::', port: 443 }]],
  [
    'https://0.0.0.0:443?client=request',
    [{ scheme: 'https', client: 'request', host: '0.0.0.0', port: 443 }],
  ],
  ['unix:/run/intaglio/kms.sock', [{ scheme: 'unix', path: '/run/intaglio/kms.sock', mode: 0o600 }]],
  ['unix:/a?mode=0660', [{ scheme: 'unix', path: '/a', mode: 0o660 }]],
  ['unix:/a?mode=0666', [{ scheme: 'unix', path: '/a', mode: 0o666 }]],
];

for (const [text, parsed] of taken)
  test(`a listener is ${text}, and is written so again`, () => {
    const value = listenAddresses.parse(text);
    assert.deepEqual(value, parsed);
    assert.equal(listenAddresses.format(value ?? []), text);
  });

test('several listeners are a list with commas, or a list', () => {
  const texts = ['http://127.0.0.1:0', 'http://127.0.0.1:0', 'https://0.0.0.0:7443', 'unix:/a', 'unix:/b'];
  assert.equal(listenAddresses.parse(texts.join(', '))?.length, 5);
  assert.equal(listenAddresses.parse(texts)?.length, 5);
});

for (const text of [
  '',
  ',',
  'http://0.0.0.0:7441',
  'http://kms.test:80',
  'http://[::]:80',
  'http://127.0.0.1',
  'http://127.0.0.1:65536',
  'http://127.0.0.1:1?client=require',
  'http://127.0.0.1:1?insecure=1',
  'http://127.0.0.1:1/path',
  'http://user@127.0.0.1:1',
  'https://127.0.0.1:1?client=always',
  'https://127.0.0.1:1?insecure',
  'https://127.0.0.1:1?client=require&client=none',
  'unix:relative',
  'unix:',
  'unix:/a?mode=1',
  'unix:/a?mode=0777',
  `unix:/${'x'.repeat(107)}`,
  'unix:/a\0b',
  'ftp://127.0.0.1:1',
  '127.0.0.1:7441',
  'unix:/a,unix:/a',
  'http://127.0.0.1:1,https://127.0.0.1:1',
  Array.from({ length: 17 }, (_, n) => `unix:/${n}`).join(','),
])
  test(`no listener is ${JSON.stringify(text.slice(0, 60))}`, () => {
    assert.equal(listenAddresses.parse(text), undefined);
  });

test('loopback is what nobody else reaches', () => {
  for (const host of ['127.0.0.1', '127.255.0.1', '::1', 'localhost'])
    assert.equal(isLoopback(host), true, host);
  for (const host of ['0.0.0.0', '::', '10.0.0.1', '128.0.0.1', 'localhost.test', '::2'])
    assert.equal(isLoopback(host), false, host);
});

test('trusted proxies are addresses, networks and unix', () => {
  assert.deepEqual(trustedProxies.parse('10.0.0.0/8, ::1,unix,10.0.0.0/8'), ['10.0.0.0/8', '::1', 'unix']);
  assert.deepEqual(trustedProxies.parse(''), []);
  for (const text of ['10.0.0.0/33', '::1/129', 'proxy.test', '10.0.0', '10.0.0.0/8/8', 'fe80::1%eth0', ','])
    assert.equal(trustedProxies.parse(text), undefined, text);
});

test('allowed users are ids, or any', () => {
  assert.deepEqual(userIds.parse('0, 1000,4294967294,0'), [0, 1000, 4_294_967_294]);
  assert.equal(userIds.parse('any'), 'any');
  for (const text of ['', ',', 'root', '-1', '1.5', '4294967295', '0x1'])
    assert.equal(userIds.parse(text), undefined, text);
});

test('KMS_BIND is the short form of one listener', () => {
  const standard = (host: string) =>
    fields.listen.standard({
      cores: 1,
      dataDir: '',
      amnesia: false,
      backend: 'lmdb',
      bind: { host, port: 1 },
    });
  assert.equal(listenAddresses.format(standard('127.0.0.1')), 'http://127.0.0.1:1');
  assert.equal(listenAddresses.format(standard('0.0.0.0')), 'http://0.0.0.0:1?insecure');
});
