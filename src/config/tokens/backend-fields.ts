import { field } from '../field.ts';
import { boolean, integer, oneOf } from '../kinds.ts';

/** Settings of a service whose backends of keys may be away. */
export const backendFields = {
  verifyCacheTtlMs: field(
    'KMS_VERIFY_CACHE_TTL_MS',
    integer(0, 2_592_000_000),
    300_000,
    'How long, in milliseconds since the last contact with the backend of a key, its public key verifies without a remark. 5 minutes is longer than a token takes to restart, and shorter than anybody should go without hearing of a lost one. 30 days is the most.',
    'reload',
  ),
  verifyStale: field<'serve' | 'refuse'>(
    'KMS_VERIFY_STALE',
    oneOf('serve', 'refuse'),
    'serve',
    'What becomes of a verification beyond KMS_VERIFY_CACHE_TTL_MS: `serve` answers it with `stale: true`, `refuse` answers 503 until the backend is there again. A public key does not change; what may be out of date is whether its token still has the private one.',
    'reload',
  ),
  attestRequire: field(
    'KMS_ATTEST_REQUIRE',
    boolean,
    false,
    'Whether signing needs evidence of where the key is (docs/attestation.md): without it sign requests are answered 403 AttestationMissing, and `/readyz` is 503 and lists `attestation` while a backend gives none. Keys in software have evidence too, of what they are. Needs the audit log, whose keys sign it.',
  ),
  attestFailOpen: field(
    'KMS_ATTEST_FAIL_OPEN',
    boolean,
    false,
    'With KMS_ATTEST_REQUIRE: sign without evidence where there is none, and list `attestation` under `degraded` meanwhile. Keys whose policy has `attest: "require"` are refused in any case.',
  ),
  backendsRequired: field(
    'KMS_BACKENDS_REQUIRED',
    boolean,
    false,
    'Whether the service is not ready while a backend of keys is away. By default `/readyz` lists it under `degraded` and stays 200: keys of other backends work, and so does every verification.',
  ),
};
