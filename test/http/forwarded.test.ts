import assert from 'node:assert/strict';
import test from 'node:test';
import { createForwardedAddresses } from '../../src/http/forwarded.ts';

const addresses = createForwardedAddresses(['10.0.0.0/8', '2001:db8::/32', '192.0.2.7', 'unix']);

function clientOf(peer: string, headers: { xff?: string; forwarded?: string }): string {
  const found = addresses.clientOf(peer, { xForwardedFor: headers.xff, forwarded: headers.forwarded });
  return found.ok ? found.value : `${found.failure.code}`;
}

const cases: readonly (readonly [string, string, { xff?: string; forwarded?: string }, string])[] = [
  ['without a header it is the peer', '10.0.0.1', {}, '10.0.0.1'],
  ['what an untrusted peer says is ignored', '198.51.100.1', { xff: '203.0.113.5' }, '198.51.100.1'],
  ['and both, and nonsense', '198.51.100.1', { xff: 'x', forwarded: 'y' }, '198.51.100.1'],
  ['a trusted peer says for whom it asks', '10.0.0.1', { xff: '203.0.113.5' }, '203.0.113.5'],
  ['the rightmost that is not trusted', '10.0.0.1', { xff: '1.1.1.1, 203.0.113.5, 10.2.3.4' }, '203.0.113.5'],
  ['one alone may be trusted', '192.0.2.7', { xff: '203.0.113.5, 192.0.2.7' }, '203.0.113.5'],
  ['where all are trusted it is the leftmost', '10.0.0.1', { xff: '10.0.0.3, 10.0.0.2' }, '10.0.0.3'],
  ['ports are taken off', '10.0.0.1', { xff: '203.0.113.5:4711' }, '203.0.113.5'],
  ['of IPv6 too', '10.0.0.1', { xff: '[2001:DB9::1]:4711' }, '2001:db9::1'],
  ['IPv6 without brackets', '10.0.0.1', { xff: '2001:db9::1' }, '2001:db9::1'],
  ['IPv6 is one text, however it is spelled', '10.0.0.1', { xff: '2001:0DB9:0:0::0001' }, '2001:db9::1'],
  ['an IPv4 address within IPv6 is one', '10.0.0.1', { xff: '1.1.1.1, ::ffff:10.0.0.9' }, '1.1.1.1'],
  ['over a Unix socket', 'unix', { xff: '203.0.113.5' }, '203.0.113.5'],
  ['Forwarded', '10.0.0.1', { forwarded: 'for=203.0.113.5;proto=https;by=10.0.0.1' }, '203.0.113.5'],
  ['Forwarded with IPv6', '10.0.0.1', { forwarded: 'For="[2001:db9::1]:4711"' }, '2001:db9::1'],
  [
    'Forwarded with several',
    '10.0.0.1',
    { forwarded: 'for=1.1.1.1, for=203.0.113.5, for=10.2.3.4' },
    '203.0.113.5',
  ],
  ['a comma within quotes', '10.0.0.1', { forwarded: 'by="a,b;c\\"d";for=203.0.113.5' }, '203.0.113.5'],
  [
    'unknown is the proxy that says so',
    '10.0.0.1',
    { forwarded: 'for=1.1.1.1, for=unknown, for=10.0.0.2' },
    '10.0.0.2',
  ],
  ['an obfuscated name too', '10.0.0.1', { forwarded: 'for=_hidden' }, '10.0.0.1'],
  ['both headers', '10.0.0.1', { xff: '203.0.113.5', forwarded: 'for=203.0.113.5' }, 'BadRequest'],
  ['an empty header', '10.0.0.1', { xff: '' }, 'BadRequest'],
  ['a name', '10.0.0.1', { xff: 'client.test' }, 'BadRequest'],
  ['nonsense left of what counts', '10.0.0.1', { xff: 'x, 203.0.113.5' }, 'BadRequest'],
  ['unknown in X-Forwarded-For', '10.0.0.1', { xff: 'unknown' }, 'BadRequest'],
  ['an address of five parts', '10.0.0.1', { xff: '1.2.3.4.5' }, 'BadRequest'],
  ['a zone', '10.0.0.1', { xff: 'fe80::1%eth0' }, 'BadRequest'],
  ['an element without for', '10.0.0.1', { forwarded: 'proto=https' }, 'BadRequest'],
  ['for twice', '10.0.0.1', { forwarded: 'for=1.1.1.1;for=2.2.2.2' }, 'BadRequest'],
  ['IPv6 without brackets in Forwarded', '10.0.0.1', { forwarded: 'for="2001:db9::1"' }, 'BadRequest'],
  ['a quote that does not end', '10.0.0.1', { forwarded: 'for="1.1.1.1' }, 'BadRequest'],
  ['an empty element', '10.0.0.1', { forwarded: 'for=1.1.1.1,' }, 'BadRequest'],
];

for (const [what, peer, headers, expected] of cases)
  test(`whose address counts: ${what}`, () => {
    assert.equal(clientOf(peer, headers), expected);
  });

test('without trusted proxies the peer counts, whatever is sent', () => {
  const none = createForwardedAddresses([]);
  assert.deepEqual(none.clientOf('127.0.0.1', { xForwardedFor: '1.1.1.1', forwarded: undefined }), {
    ok: true,
    value: '127.0.0.1',
  });
  assert.equal(none.clientOf('unix', { xForwardedFor: '1.1.1.1', forwarded: undefined }).ok, true);
});
