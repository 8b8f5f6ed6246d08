import { digest, type GoldenCase, hybrid, post, sign, verify } from './ask.ts';

const ofOldPurpose = [{ kid: '{kid:old}', signature_b64: '{sig:old.0}' }];
const set = ['single', 'pqSingle'].map((name, n) => ({
  kid: `{kid:${name}}`,
  signature_b64: `{sig:pair.${n}}`,
}));
const whole = [0, 1].map((n) => ({ kid: '{kid:whole}', signature_b64: `{sig:whole.${n}}` }));
const single = { purpose: 'web', alg: 'ed25519' };

/** In phase 2, with a purpose that is still classical. */
export const migrating: readonly GoldenCase[] = [
  post('phase 2: create a classical key', '/v1/kms/keys', single, { keep: 'single' }),
  post(
    'phase 2: create a post-quantum key',
    '/v1/kms/keys',
    { ...single, alg: 'ml-dsa-65' },
    { keep: 'pqSingle' },
  ),
  post('phase 2: create a hybrid key', '/v1/kms/keys', { ...single, alg: hybrid }, { keep: 'whole' }),
  post('phase 2: create for the old purpose', '/v1/kms/keys', { ...single, purpose: 'old' }, { keep: 'old' }),
  sign('phase 2, classical alone', { kid: '{kid:single}' }),
  sign('phase 2, a set', { kid_set: ['{kid:single}', '{kid:pqSingle}'] }, { keep: 'pair' }),
  sign('phase 2, hybrid', { kid: '{kid:whole}' }, { keep: 'whole' }),
  sign('phase 2, hybrid, one part by its alg', { kid: '{kid:whole}', alg: 'ed25519' }),
  sign('phase 2, hybrid, a weaker mode', { kid: '{kid:whole}', policy: { mode: 'or' } }),
  sign('phase 2, the old purpose', { kid: '{kid:old}' }, { keep: 'old' }),
  verify('phase 2, a set', set),
  verify('phase 2, half of a set', set.slice(0, 1)),
  verify('phase 2, hybrid', whole),
  verify('phase 2, hybrid, pq_only', whole, { policy: { mode: 'pq_only' } }),
  verify('phase 2, hybrid, a weaker mode', whole, { policy: { mode: 'or' } }),
  verify('phase 2, hybrid, stripped', whole.slice(1)),
  verify('phase 2, the old purpose', ofOldPurpose),
  verify('phase 2, mixed', [whole[0], set[1]]),
  verify('valid now', whole, {
    policy: { not_before: '2020-01-01T00:00:00Z', not_after: '9999-12-31T23:59:59.999+00:00' },
  }),
  verify('not valid yet', whole, { policy: { not_before: '9999-01-01T00:00:00Z' } }),
  verify('valid no more', whole, { policy: { not_after: '2020-02-29T00:00:00+14:00' } }),
  verify('valid at no time', whole, { policy: { not_after: '2020-02-30T00:00:00Z' } }),
  post('verify batch: phase 2', '/v1/kms/verify/batch', {
    items: [
      { payload_b3: digest, sigs: whole },
      { payload_b3: digest, sigs: set.slice(0, 1) },
    ],
  }),
];
