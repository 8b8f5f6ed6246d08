import { registry } from '../../src/algorithms/registry.ts';
import { type GoldenCase, get, key, post } from './ask.ts';

const hello_b64 = 'aGVsbG8=';
const made = (name: string, ...members: readonly string[]) =>
  Object.fromEntries(members.map((member) => [member, `{made:${name}.${member}}`]));
const encrypted = (name: string) => ({
  kid: `{kid:${name}}`,
  ...made(name, 'nonce_b64', 'ciphertext_b64'),
});
const encryptingAlgorithms = registry.filter(({ kind }) => kind === 'aead').map(({ name }) => name);
const wrappingAlgorithms = registry
  .filter(({ kind }) => kind === 'kem' || kind === 'key_wrap' || kind === 'aead')
  .map(({ name }) => name);

const kms = (name: string, path: string, json: unknown, more: Partial<GoldenCase> = {}) =>
  post(`${path}: ${name}`, `/v1/kms/${path}`, json, more);

/** Made, read, wrapped with and unwrapped, every algorithm that wraps; encrypted with, those that encrypt. */
export const sealing: readonly GoldenCase[] = [
  post('create: to sign', '/v1/kms/keys', { purpose: 'web', alg: 'ed25519' }, { keep: 'signer' }),
  ...wrappingAlgorithms.flatMap((alg): GoldenCase[] => [
    post(`create: ${alg}`, '/v1/kms/keys', { purpose: 'web', alg }, { keep: alg }),
    get(`read: ${alg}`, key(`{kid:${alg}}`)),
    kms(alg, 'wrap', { kid: `{id:${alg}}`, plaintext_b64: hello_b64 }, { keep: `${alg} wrapped` }),
    kms(alg, 'unwrap', { kid: `{kid:${alg}}`, ...made(`${alg} wrapped`, 'wrapped_b64') }),
  ]),
  ...encryptingAlgorithms.flatMap((alg): GoldenCase[] => [
    kms(
      alg,
      'encrypt',
      { kid: `{id:${alg}}`, plaintext_b64: hello_b64, aad_b64: hello_b64 },
      { keep: `${alg} text` },
    ),
    kms(alg, 'decrypt', { ...encrypted(`${alg} text`), aad_b64: hello_b64 }),
    kms(`${alg}, another aad`, 'decrypt', { ...encrypted(`${alg} text`) }),
  ]),
  kms('a key of 32 bytes', 'wrap', { kid: '{kid:ml-kem-768}', size: 32 }),
  kms('neither plaintext nor size', 'wrap', { kid: '{kid:ml-kem-768}' }),
  kms('an aad for KWP', 'wrap', { kid: '{kid:aes-256-kwp}', plaintext_b64: hello_b64, aad_b64: hello_b64 }),
  kms('a key that signs', 'wrap', { kid: '{kid:signer}', size: 32 }),
  kms('what does not open', 'unwrap', { kid: '{kid:x25519}', wrapped_b64: hello_b64 }),
  kms('without its plaintext', 'datakey', { kid: '{kid:x25519}', size: 16 }),
  kms('with its plaintext', 'datakey', { kid: '{kid:x25519}', size: 64, plaintext: true }),
  kms('of another size', 'datakey', { kid: '{kid:x25519}', size: 24 }),
  kms('a caller without the scope', 'datakey', { kid: '{kid:x25519}', size: 16 }, { as: 'reader' }),
  post('rotate: a key that encrypts and wraps', key('{id:aes-256-gcm}', '/rotate'), {}),
  kms('wrapped', 'rewrap', { kid: '{kid:aes-256-gcm}', ...made('aes-256-gcm wrapped', 'wrapped_b64') }),
  kms('encrypted', 'rewrap', { ...encrypted('aes-256-gcm text'), aad_b64: hello_b64 }),
  kms('a caller without the scopes', 'rewrap', { ...encrypted('aes-256-gcm text') }, { as: 'reader' }),
  kms('by an old version', 'encrypt', { kid: '{kid:aes-256-gcm}', plaintext_b64: hello_b64 }),
  kms('too long', 'encrypt', { kid: '{kid:aes-256-gcm}', plaintext_b64: 'AAAA'.repeat(21_846) }),
  kms("a caller's nonce", 'encrypt', {
    kid: '{id:aes-256-gcm}',
    plaintext_b64: hello_b64,
    nonce_b64: hello_b64,
  }),
  kms('good and bad items', 'encrypt/batch', {
    items: [
      { kid: '{id:aes-256-gcm}', plaintext_b64: hello_b64 },
      { kid: '{kid:signer}', plaintext_b64: hello_b64 },
      { kid: '{id:aes-256-gcm}', plaintext_b64: 'hello' },
    ],
  }),
  kms('good and bad items', 'decrypt/batch', {
    items: [{ ...encrypted('xaes-256-gcm text'), aad_b64: hello_b64 }, { ...encrypted('xaes-256-gcm text') }],
  }),
  kms('32 bytes', 'random', { size: 32 }),
  kms('none', 'random', { size: 0 }),
  kms("another tenant's key", 'decrypt', { ...encrypted('xaes-256-gcm text') }, { as: 'globex' }),
];
