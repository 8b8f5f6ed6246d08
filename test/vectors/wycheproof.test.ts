import assert from 'node:assert/strict';
import test from 'node:test';
import { type BatchItem, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { schemes } from '../../src/engine/engine.ts';
import { bytes, runBatch } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import { loadVectors } from './load.ts';

const files = {
  ed25519: 'ed25519',
  ecdsa_secp256r1_sha256: 'ecdsa-p256-sha256',
  rsa_pss_2048_sha256_mgf1_32: 'ps256',
  rsa_pss_3072_sha256_mgf1_32: 'ps256',
  rsa_pss_4096_sha256_mgf1_32: 'ps256',
  rsa_signature_2048_sha256: 'rs256',
  rsa_signature_3072_sha256: 'rs256',
  rsa_signature_4096_sha256: 'rs256',
  ecdsa_secp256r1_sha256_p1363: 'ecdsa-p256-sha256-p1363',
  ecdsa_secp384r1_sha384: 'ecdsa-p384-sha384',
  ecdsa_secp384r1_sha384_p1363: 'ecdsa-p384-sha384-p1363',
  rsa_pss_2048_sha384_mgf1_48: 'ps384',
  rsa_pss_4096_sha512_mgf1_64: 'ps512',
  rsa_signature_2048_sha384: 'rs384',
  rsa_signature_2048_sha512: 'rs512',
} as const;

for (const { name, create } of availableEngines()) {
  const engine = create();
  const root = engine.openRoot({ kind: 'memory' });
  for (const [file, scheme] of Object.entries(files)) {
    test(`${name}: Wycheproof ${file}: valid signatures verify, all others are refused`, () => {
      for (const { publicKey, tests } of loadVectors(file).testGroups) {
        const items = tests.map(
          ({ msg, sig }): BatchItem => ({
            op: batchOps.verify,
            scheme: schemes[scheme],
            keyNumber: 0,
            key: bytes(publicKey),
            inputs: [bytes(msg), bytes(sig)],
          }),
        );
        const results = runBatch(engine, root, items);
        for (const [index, { tcId, comment, result }] of tests.entries()) {
          // "acceptable" is PKCS#1 v1.5 without the NULL of the digest's parameters: legacy, and refused here.
          const expected = result === 'valid' ? batchStatuses.ok : batchStatuses.rejected;
          assert.equal(results[index]?.status, expected, `tcId ${tcId}: ${comment}`);
        }
      }
    });
  }
}
