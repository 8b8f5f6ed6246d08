import { type GoldenCase, get, key, opId, post, sign } from './ask.ts';

const context = { origin: 'edge-1.example', instance: 'a', epoch: 7 };
const derive = (name: string, json: object, more: Partial<GoldenCase> = {}) =>
  post(
    `derive: ${name}`,
    '/v1/kms/derive',
    { kid: '{kid:parent}', context, alg: 'aes-256-gcm', ...json },
    more,
  );
/** SubjectPublicKeyInfo of the Ed25519 key of RFC 8032, test 1. */
const spki_b64 = 'MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=';
const importing = (name: string, json: object, more: Partial<GoldenCase> = {}) =>
  post(`import: ${name}`, '/v1/kms/keys/import', { purpose: 'web', alg: 'ed25519', ...json }, more);

export const derivedAndBrought: readonly GoldenCase[] = [
  post('create: to derive from', '/v1/kms/keys', { purpose: 'web', alg: 'hkdf-sha256' }, { keep: 'parent' }),
  derive('a key', {}, { keep: 'derived' }),
  derive('the same again', {}),
  derive('a key with a public part', { alg: 'ed25519' }),
  derive('an alg whose secret is not plain bytes', { alg: 'rsa-2048' }),
  derive('a colon in the origin', { context: { ...context, origin: 'a:b' } }),
  derive('an epoch that is no whole number', { context: { ...context, epoch: 0.5 } }),
  derive('from a key that does not', { kid: '{kid:derived}' }),
  derive('as another tenant', {}, { as: 'globex' }),
  get('read: a derived key', key('{kid:derived}')),
  post('rotate: a derived key', key('{id:derived}', '/rotate'), {}),
  post('seal', '/v1/kms/seal', { purpose: 'web', plaintext_b64: 'aGVsbG8=' }),
  post('seal: a purpose that is none', '/v1/kms/seal', { purpose: 'W', plaintext_b64: 'aGVsbG8=' }),
  post('seal: plaintext that is no base64', '/v1/kms/seal', { purpose: 'web', plaintext_b64: '!' }),
  post('unseal: what was not sealed', '/v1/kms/unseal', { sealed_b64: 'AAAA' }),
  post('unseal: without the scope', '/v1/kms/unseal', { sealed_b64: 'AAAA' }, { as: 'reader' }),
  get('wrapping key', '/v1/kms/keys/import/wrapping-key'),
  get('wrapping key: of another alg', '/v1/kms/keys/import/wrapping-key?alg=ed25519'),
  importing('no such wrapping key', { wrapping_key_id: opId(1), material_b64: 'AAAA' }),
  importing('both forms', { wrapping_key_id: opId(1), material_b64: 'AAAA', spki_b64 }),
  importing('a public key', { spki_b64, op_id: opId(2) }, { keep: 'public' }),
  importing('the same by op_id', { spki_b64, op_id: opId(2) }),
  importing('a public key of another alg', { alg: 'ecdsa-p256', spki_b64 }),
  post('import: the next version', key('{id:public}', '/import'), { spki_b64 }),
  sign('a public key alone', { kid: '{id:public}' }),
  get('read: a public key alone', key('{id:public}')),
  post(
    'create: with usages',
    '/v1/kms/keys',
    {
      purpose: 'web',
      alg: 'ed25519',
      policy: { usages: ['verify'] },
    },
    { keep: 'limited' },
  ),
  sign('a use that is not among the usages', { kid: '{kid:limited}' }),
  get('read: with usages', key('{kid:limited}')),
];
