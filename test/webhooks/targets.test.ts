import assert from 'node:assert/strict';
import test from 'node:test';
import { isPublicAddress, judgedLookup, type TargetRule, targetOf } from '../../src/webhooks/targets.ts';

test('addresses of the public network, and all others', () => {
  for (const address of ['1.1.1.1', '8.8.8.8', '172.15.255.255', '172.32.0.1', '100.63.0.1', '100.128.0.1'])
    assert.ok(isPublicAddress(address), address);
  for (const address of ['2606:4700::1', '2a00:1450::1', '2001:4860::8888'])
    assert.ok(isPublicAddress(address));
  const others = [
    ...['0.0.0.0', '10.1.2.3', '100.64.0.1', '127.0.0.1', '127.255.0.1', '169.254.169.254', '172.16.0.1'],
    ...['172.31.255.255', '192.168.1.1', '192.0.0.1', '198.18.0.1', '198.51.100.1', '203.0.113.1'],
    ...['224.0.0.1', '239.1.1.1', '240.0.0.1', '255.255.255.255'],
    ...['::', '::1', '::ffff:127.0.0.1', '::ffff:8.8.8.8', '::127.0.0.1', '64:ff9b::7f00:1', 'fe80::1'],
    ...['fc00::1', 'fd12::1', 'ff02::1', '2001:db8::1', '2001::1', '2002:7f00:1::', '100::1', 'fec0::1'],
    ...['', 'localhost', '1.1.1', '01.1.1.1', '0x7f.1'],
  ];
  for (const address of others) assert.ok(!isPublicAddress(address), address);
});

const at = (...addresses: string[]) => {
  const found = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  return async () => found;
};

async function judged(url: string, rule: TargetRule = 'public', resolve = at('1.1.1.1')) {
  const target = await targetOf(url, rule, resolve);
  return target.ok ? target.value.href : (target.failure.hint ?? '').slice(0, 16);
}

test('a webhook goes to https on the public network, unless settings say otherwise', async () => {
  assert.equal(await judged('https://example.com/hook?a=1'), 'https://example.com/hook?a=1');
  assert.equal(await judged('http://example.com/'), 'url: https only');
  const notPublic = 'url: its address';
  assert.equal(await judged('https://example.com/', 'public', at('1.1.1.1', '10.0.0.1')), notPublic);
  for (const host of [
    '127.0.0.1',
    '[::1]',
    '169.254.169.254',
    '2130706433',
    '0x7f000001',
    '127.1',
    '[::ffff:7f00:1]',
  ])
    assert.equal(await judged(`https://${host}/`), notPublic, host);
  assert.equal(
    await judged('https://nobody.example/', 'public', () => Promise.reject(new Error())),
    'https://nobody.example/',
  );
  assert.equal(await judged('https://10.0.0.1/', 'private'), 'https://10.0.0.1/');
  assert.equal(await judged('http://10.0.0.1/', 'private'), 'url: https only');
  assert.equal(await judged('http://127.0.0.1:9/', 'development'), 'http://127.0.0.1:9/');
  const noUrl = 'url: an absolute';
  for (const url of [
    '',
    'x',
    '/hook',
    'https://',
    'https://a:b@example.com/',
    'https://example.com/#x',
    `https://example.com/${'x'.repeat(2_048)}`,
  ])
    assert.equal(await judged(url), noUrl, url);
  for (const url of ['ftp://example.com/', 'file:///etc/passwd', 'gopher://example.com/'])
    assert.equal(await judged(url, 'development'), 'url: https only', url);
});

test('a connection goes to the addresses that were judged, and to none if one of them is not public', async () => {
  const asked = (rule: TargetRule, all: boolean, ...addresses: string[]) =>
    new Promise((resolve) => {
      judgedLookup(rule, at(...addresses))('x', { all }, (error, address) =>
        resolve(error === null ? address : error.message),
      );
    });
  assert.equal(await asked('public', false, '1.1.1.1', '8.8.8.8'), '1.1.1.1');
  assert.deepEqual(await asked('public', true, '1.1.1.1'), [{ address: '1.1.1.1', family: 4 }]);
  assert.equal(await asked('public', true, '1.1.1.1', '127.0.0.1'), 'not_public');
  assert.equal(await asked('public', false), 'not_public');
  assert.equal(await asked('private', false, '10.0.0.1'), '10.0.0.1');
});
