import { digest, type GoldenCase, hybrid, post } from './ask.ts';

/** What is signed stands in each case. */
const sign = (name: string, json: object, more: Partial<GoldenCase> = {}) =>
  post(`sign: ${name}`, '/v1/kms/sign', json, more);
const verify = (name: string, sigs: unknown, json: object) =>
  post(`verify: ${name}`, '/v1/kms/verify', { sigs, ...json });
const payload = { payload_b3: digest };
const message = { message_b64: 'aGVsbG8=' };
const context = { context_b64: 'YXBw' };
/** SHA-512 of `hello`. */
const sha512 = {
  digest_b64: 'm3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==',
  hash: 'sha512',
};

/** In other forms than payload_b3 alone, as far as every engine has them. */
export const otherForms: readonly GoldenCase[] = [
  sign('a message', { kid: '{kid:ed25519}', ...message, receipt: true }, { keep: 'message' }),
  verify('a message', [{ kid: '{kid:ed25519}', signature_b64: '{sig:message.0}' }], message),
  verify('a message as another', [{ kid: '{kid:ed25519}', signature_b64: '{sig:message.0}' }], {
    ...message,
    message_b64: '',
  }),
  sign('a message with a context', { kid: '{kid:ml-dsa-44}', ...message, ...context }, { keep: 'context' }),
  ...[context, { context_b64: '' }, {}].map((other, index) =>
    verify(
      `a context, ${['the same', 'an empty one', 'none'][index]}`,
      [{ kid: '{kid:ml-dsa-44}', signature_b64: '{sig:context.0}' }],
      { ...message, ...other },
    ),
  ),
  sign(
    'payload_b3 with a context',
    { kid: '{kid:ml-dsa-65}', ...payload, ...context },
    { keep: 'b3context' },
  ),
  verify('payload_b3 with a context', [{ kid: '{kid:ml-dsa-65}', signature_b64: '{sig:b3context.0}' }], {
    ...payload,
    ...context,
  }),
  sign('a digest, composite', { kid: '{kid:mldsa65-ed25519}', ...sha512, receipt: true }, { keep: 'digest' }),
  ...[sha512, message].map((same, index) =>
    verify(
      `a composite, ${['by the digest', 'by the message'][index]}`,
      [{ kid: '{kid:mldsa65-ed25519}', signature_b64: '{sig:digest.0}' }],
      same,
    ),
  ),
  sign('ES256', { kid: '{kid:ecdsa-p256}', alg: 'ES256', ...payload }, { keep: 'es256' }),
  verify('ES256', [{ kid: '{kid:ecdsa-p256}', alg: 'ES256', signature_b64: '{sig:es256.0}' }], payload),
  verify('ES256 by its length', [{ kid: '{kid:ecdsa-p256}', signature_b64: '{sig:es256.0}' }], payload),
  verify(
    'ES256 as DER',
    [{ kid: '{kid:ecdsa-p256}', alg: 'ecdsa-p256', signature_b64: '{sig:es256.0}' }],
    payload,
  ),
  sign('ES384', { kid: '{kid:ecdsa-p384}', alg: 'ES384', ...payload }),
  ...['PS384', 'PS512', 'RS384', 'RS512'].flatMap((alg) => [
    sign(alg, { kid: '{kid:rsa-2048}', alg, ...payload }, { keep: alg }),
    verify(alg, [{ kid: '{kid:rsa-2048}', alg, signature_b64: `{sig:${alg}.0}` }], payload),
  ]),
  sign('a context with Ed25519', { kid: '{kid:ed25519}', ...message, ...context }),
  sign('a context with a hybrid key', { kid: `{kid:${hybrid}}`, ...message, ...context }),
  sign('a digest with ML-DSA', { kid: '{kid:ml-dsa-65}', ...sha512 }),
  sign('a digest with a hybrid key', { kid: `{kid:${hybrid}}`, ...sha512 }),
  sign('a digest without its hash', { kid: '{kid:rsa-2048}', digest_b64: sha512.digest_b64 }),
  sign('a mu with Ed25519', { kid: '{kid:ed25519}', mu_b64: sha512.digest_b64 }),
  sign('a mu without the version', {
    kid: '{id:ml-dsa-65}',
    mu_b64: sha512.digest_b64,
  }),
  sign('nothing', { kid: '{kid:ed25519}' }),
  sign('two inputs', { kid: '{kid:ed25519}', ...payload, ...message }),
  post('sign batch: other forms', '/v1/kms/sign/batch', {
    items: [
      { kid: '{kid:ed25519}', ...message },
      { kid: '{kid:ml-dsa-44}', ...message, ...context },
      { kid: '{kid:ed25519}', ...sha512, alg: 'ed25519' },
    ],
  }),
];
