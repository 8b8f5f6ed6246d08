import { type GoldenCase, get, key, post } from './ask.ts';

/** Public keys in standard formats, tokens and certification requests: what is the same in every run. */
export const standardFormats: readonly GoldenCase[] = [
  get('jwks: a purpose without keys', '/v1/kms/jwks?purpose=nothing'),
  get('jwks: an unknown parameter', '/v1/kms/jwks?what=1'),
  get('jwks: a text that is no kid', '/v1/kms/jwks?kid=nothing'),
  get('read: an unknown format', `${key('{kid:ed25519}')}?format=p12`),
  get('read: ML-DSA for SSH', `${key('{kid:ml-dsa-65}')}?format=ssh`),
  post('jwt: no claims', '/v1/kms/jwt', { kid: '{kid:ed25519}' }),
  post('jwt: the alg of another key', '/v1/kms/jwt', {
    kid: '{kid:ed25519}',
    header: { alg: 'ES256' },
    claims: {},
  }),
  get('attest: no kid', '/v1/kms/attest'),
  get('attest: a nonce of seven bytes', '/v1/kms/attest?kid=nothing&nonce=AAAAAAAAAA'),
  get('attest: an unknown parameter', '/v1/kms/attest?kid=nothing&what=1'),
  get('attest: a text that is no kid', '/v1/kms/attest?kid=nothing&nonce=AAAAAAAAAAA'),
  get('attest', '/v1/kms/attest?kid={kid:ed25519}&nonce=AAAAAAAAAAA'),
  post('csr: no name', '/v1/kms/csr', { kid: '{kid:ed25519}', subject: 'nothing' }),
];
