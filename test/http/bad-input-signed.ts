import { helloWorldB3 } from '../support/service.ts';
import { badMember, wrongTexts } from './bad-input-bodies.ts';
import { canary, type Facts, refused } from './bad-input-table.ts';

// --- What is signed or verified, where it is not payload_b3 alone.

const base64 = (bytes: number, fill = 7) => Buffer.alloc(bytes, fill).toString('base64');
const notBase64 = {
  'a number': 7,
  null: null,
  'an object': {},
  'an array': [canary],
  'not base64': `${canary}!!`,
  'without its padding': base64(32).replace(/=+$/, ''),
  'of the URL alphabet': '-_-_',
  'with a line end': `${base64(30)}\n`,
  'with bits beyond its end': base64(32).replace(/.=$/, 'B='),
};

interface Route {
  readonly name: 'sign' | 'verify';
  /** What names the keys. */
  readonly keys: (facts: Facts, kid?: keyof Facts) => Record<string, unknown>;
}

const routes: readonly Route[] = [
  { name: 'sign', keys: (facts, kid = 'kid') => ({ kid: facts[kid] }) },
  {
    name: 'verify',
    keys: (facts, kid = 'kid') => ({ sigs: [{ kid: facts[kid], signature_b64: facts.signature }] }),
  },
];

for (const { name, keys } of routes) {
  const body = (what: string, status: number, code: string, json: object, kid?: keyof Facts) =>
    refused(`${name}: ${what}`, status, code, (facts) => ({
      path: `/v1/kms/${name}`,
      json: { ...keys(facts, kid), ...json },
    }));
  const wrong = (what: string, json: object, kid?: keyof Facts) => body(what, 400, 'BadRequest', json, kid);
  const unsupported = (what: string, json: object, kid?: keyof Facts) =>
    body(what, 400, 'Unsupported', json, kid);

  badMember(name, 'message_b64', { ...notBase64, 'of 65,537 bytes': base64(65_537) }, keys);
  badMember(
    name,
    'mu_b64',
    { ...notBase64, 'of 63 bytes': base64(63), 'of 65 bytes': base64(65), empty: '' },
    (facts) => keys(facts, 'mlDsa'),
  );
  badMember(
    name,
    'digest_b64',
    {
      ...notBase64,
      empty: '',
      'of 31 bytes': base64(31),
      'of 33 bytes': base64(33),
      'of 65 bytes': base64(65),
    },
    (facts) => ({ ...keys(facts, 'rsa'), hash: 'sha256' }),
  );
  badMember(
    name,
    'hash',
    { ...wrongTexts, unknown: canary, 'in capitals': 'SHA256', weak: 'sha1', 'of another length': 'sha512' },
    (facts) => ({ ...keys(facts, 'rsa'), digest_b64: base64(32) }),
  );
  badMember(
    name,
    'context_b64',
    { ...notBase64, 'of 256 bytes': base64(256), 'of 258 bytes': base64(258) },
    (facts) => ({ ...keys(facts, 'mlDsa'), message_b64: '' }),
  );

  const one = {
    payload_b3: helloWorldB3,
    message_b64: base64(3),
    digest_b64: base64(32),
    mu_b64: base64(64),
  };
  wrong('nothing that is signed', {});
  wrong('a context and nothing else', { context_b64: '' });
  const members = Object.entries(one);
  for (const [first, value] of members) {
    for (const [second, other] of members) {
      if (first < second)
        wrong(`${first} and ${second}`, { [first]: value, [second]: other, hash: 'sha256' }, 'mlDsa');
    }
    if (first !== 'digest_b64') wrong(`${first} with a hash`, { [first]: value, hash: 'sha256' }, 'mlDsa');
  }
  wrong('all at once', { ...one, hash: 'sha256', context_b64: '' }, 'mlDsa');
  wrong('a digest without its hash', { digest_b64: base64(32) }, 'rsa');
  wrong('a mu with a context', { mu_b64: base64(64), context_b64: '' }, 'mlDsa');
  refused(`${name}: a mu for a kid without its version`, 400, 'BadRequest', (facts) => {
    const text = JSON.stringify(keys(facts, 'mlDsa')).replace('#v1', '');
    return { path: `/v1/kms/${name}`, json: { ...JSON.parse(text), mu_b64: base64(64) } };
  });

  unsupported('a mu with a key that is not ML-DSA', { mu_b64: base64(64) });
  unsupported('a context with Ed25519', { message_b64: base64(3), context_b64: base64(3) });
  unsupported('an empty context with Ed25519', { payload_b3: helloWorldB3, context_b64: '' });
  unsupported('a context with RSA', { message_b64: base64(3), context_b64: '' }, 'rsa');
  for (const [hash, bytes] of Object.entries({ sha256: 32, sha384: 48, sha512: 64 })) {
    unsupported(`HashML-DSA, ${hash}`, { digest_b64: base64(bytes), hash }, 'mlDsa');
  }
  unsupported('SHA-256 with Ed25519', { digest_b64: base64(32), hash: 'sha256' });
}

refused('sign: a digest by a hash that the alg does not have', 400, 'Unsupported', ({ rsa }) => ({
  path: '/v1/kms/sign',
  json: { kid: rsa, alg: 'PS256', digest_b64: base64(48), hash: 'sha384' },
}));
refused('sign: a digest with pure Ed25519', 400, 'Unsupported', ({ kid }) => ({
  path: '/v1/kms/sign',
  json: { kid, alg: 'ed25519', digest_b64: base64(64), hash: 'sha512' },
}));
refused('sign: HashML-DSA by name', 400, 'Unsupported', ({ mlDsa }) => ({
  path: '/v1/kms/sign',
  json: { kid: mlDsa, alg: 'hash-ml-dsa-65', digest_b64: base64(64), hash: 'sha512' },
}));
refused('sign: a mu with two keys', 400, 'BadRequest', ({ mlDsa }) => ({
  path: '/v1/kms/sign',
  json: { kid_set: [mlDsa, mlDsa], mu_b64: base64(64) },
}));
