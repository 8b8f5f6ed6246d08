import { badMember, refuseBadBodies } from './bad-input-bodies.ts';
import { canary, type Facts, refused } from './bad-input-table.ts';

// --- Routes that encrypt and wrap: each member missing, of another type, in another form, too long.

const plaintext_b64 = 'aGVsbG8=';
const nonce_b64 = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';
const ciphertext_b64 = 'A'.repeat(64);

const goods: Readonly<Record<string, (facts: Facts) => Record<string, unknown>>> = {
  encrypt: ({ aead: kid }) => ({ kid, plaintext_b64 }),
  decrypt: ({ aead: kid }) => ({ kid, ciphertext_b64, nonce_b64 }),
  wrap: ({ aead: kid }) => ({ kid, plaintext_b64 }),
  unwrap: ({ aead: kid }) => ({ kid, wrapped_b64: ciphertext_b64 }),
  rewrap: ({ aead: kid }) => ({ kid, wrapped_b64: ciphertext_b64 }),
  datakey: ({ aead: kid }) => ({ kid, size: 32 }),
  random: () => ({ size: 32 }),
};

for (const [name, good] of Object.entries(goods))
  refuseBadBodies({ name, path: () => `/v1/kms/${name}`, good });
for (const name of ['encrypt', 'decrypt'])
  refuseBadBodies({
    name: `${name} batch`,
    path: () => `/v1/kms/${name}/batch`,
    good: (facts) => ({ items: [goods[name]?.(facts)] }),
  });

const badBase64: Readonly<Record<string, unknown>> = {
  'a number': 7,
  null: null,
  'an object': {},
  'an array': [canary],
  'not base64': `${canary}!!`,
  'without its padding': 'aGVsbG8',
  'with too much padding': 'aGVsbG8=====',
  'of the URL alphabet': '-_AA',
  'with a line end': 'aGVsbG8=\n',
  'with bits beyond its end': 'aGVsbG9=',
};
const tooLong = (bytes: number) => ({ 'a byte too long': Buffer.alloc(bytes + 1).toString('base64') });
const largest = 64 * 1024;

for (const [route, member, mostBytes] of [
  ['encrypt', 'plaintext_b64', largest],
  ['encrypt', 'aad_b64', largest],
  ['decrypt', 'ciphertext_b64', largest + 16],
  ['decrypt', 'aad_b64', largest],
  ['wrap', 'plaintext_b64', largest],
  ['wrap', 'aad_b64', largest],
  ['unwrap', 'wrapped_b64', largest + 1_568 + 16],
  ['unwrap', 'aad_b64', largest],
  ['rewrap', 'wrapped_b64', largest + 1_568 + 16],
  ['rewrap', 'aad_b64', largest],
  ['datakey', 'aad_b64', largest],
] as const) {
  const good = goods[route] as (facts: Facts) => Record<string, unknown>;
  badMember(route, member, badBase64, good);
  badMember(route, member, tooLong(mostBytes), good, 413, 'TooLarge');
}
badMember('decrypt', 'nonce_b64', { ...badBase64, 'too long for any': 'A'.repeat(92) }, goods.decrypt!);

const badSizes = {
  'a text': '32',
  null: null,
  zero: 0,
  negative: -32,
  'with a fraction': 16.5,
  odd: 31,
  'too much': 128,
};
badMember('datakey', 'size', badSizes, goods.datakey!);
badMember('wrap', 'size', badSizes, ({ aead: kid }) => ({ kid }));
badMember('random', 'size', { ...badSizes, odd: 1_025, 'too much': 2 ** 31 }, goods.random!);
badMember('datakey', 'plaintext', { 'a text': 'true', null: null, 'a number': 1 }, goods.datakey!);

for (const [route, good] of Object.entries(goods)) {
  if (route === 'random') continue;
  badMember(
    route,
    'kid',
    { 'a number': 7, null: null, 'an array': [canary], empty: '', 'no kid': canary },
    good,
  );
  for (const [what, status, code, kid] of [
    ["another tenant's kid", 404, 'NotFound', ({ foreignAead }: Facts) => foreignAead],
    ['a kid that is not there', 404, 'NotFound', ({ missing }: Facts) => missing],
    ['a key of signatures', 400, 'Unsupported', ({ kid }: Facts) => kid],
    ['a key that is destroyed', 409, 'Conflict', ({ destroyedAead }: Facts) => destroyedAead],
  ] as const)
    refused(`${route}: ${what}`, status, code, (facts) => ({
      path: `/v1/kms/${route}`,
      json: { ...good(facts), kid: kid(facts) },
    }));
}

const notOne = (name: string, route: string, body: object) =>
  refused(`${route}: ${name}`, 400, 'BadRequest', ({ aead: kid }) => ({
    path: `/v1/kms/${route}`,
    json: { kid, ...body },
  }));
notOne('neither plaintext nor size', 'wrap', {});
notOne('both plaintext and size', 'wrap', { plaintext_b64, size: 32 });
notOne('nothing to rewrap', 'rewrap', {});
notOne('a ciphertext without its nonce', 'rewrap', { ciphertext_b64 });
notOne('a nonce without a ciphertext', 'rewrap', { nonce_b64 });
notOne('two forms', 'rewrap', { wrapped_b64: ciphertext_b64, ciphertext_b64, nonce_b64 });
notOne('a wrapped one with a nonce', 'rewrap', { wrapped_b64: ciphertext_b64, nonce_b64 });
for (const member of ['nonce_b64', 'iv', 'tag', 'tag_b64'])
  notOne(`a caller's ${member}`, 'encrypt', { plaintext_b64, [member]: nonce_b64 });
