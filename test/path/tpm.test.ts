import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { cpSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyAttestation } from '../../src/client/attestation.ts';
import { isTpmEvidence, type TpmBound, type TpmClaims, tpmKeyName } from '../../src/client/tpm-evidence.ts';
import { Writer } from '../../src/custody/tpm/wire.ts';
import { askEvidence, makeKey } from '../support/evidence.ts';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, temporaryDirectory } from '../support/service.ts';
import { createSwtpm, noSwtpm } from '../support/swtpm.ts';
import { acceptTampered } from '../support/tampered-store.ts';

test('a data directory that was put back whole is refused by the counter in the TPM, until that is accepted and audited', {
  skip: noSwtpm,
  timeout: 120_000,
}, async () => {
  const tpm = await createSwtpm();
  try {
    const [dataDir, copy] = [temporaryDirectory(), temporaryDirectory()];
    const env = { KMS_TPM: tpm.tcti, KMS_TPM_COUNTER: '0x01800200' };
    const first = await startInProcess({ dataDir, env });
    await first.stop();
    cpSync(dataDir, copy, { recursive: true });
    const second = await startInProcess({ dataDir, env });
    await call(second, second.token, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' });
    await second.stop();
    rmSync(dataDir, { recursive: true });
    cpSync(copy, dataDir, { recursive: true });

    assert.match(await acceptTampered({ dataDir, env }), /it was put back: the TPM has counted to/);
    const third = await startInProcess({ dataDir, env });
    try {
      const { body } = await call(third, third.token, 'GET', '/readyz');
      assert.deepEqual(body.missing, []);
      assert.ok(!body.degraded.includes('tpm_counter'));
    } finally {
      await third.stop();
    }
  } finally {
    await tpm.remove();
  }
});

test('a key in the TPM signs, is refused while the TPM is gone, verifies meanwhile, and signs when it is back', {
  skip: noSwtpm,
  timeout: 120_000,
}, async () => {
  const tpm = await createSwtpm();
  const service = await startInProcess({ dataDir: temporaryDirectory(), env: { KMS_TPM: tpm.tcti } });
  try {
    const ask = (path: string, body: object) => call(service, service.token, 'POST', path, body);
    const made = await ask('/v1/kms/keys', {
      ...{ purpose: 'test', alg: 'ecdsa-p256' },
      policy: { backend: 'tpm' },
    });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    const { kid } = made.body;
    const sign = () => ask('/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
    const signed = await sign();
    assert.equal(signed.status, 200);
    const verify = () => ask('/v1/kms/verify', { payload_b3: helloWorldB3, sigs: signed.body.sigs });
    assert.equal((await verify()).body.ok, true);

    await tpm.stop();
    assert.equal((await sign()).status, 503);
    assert.equal((await verify()).body.ok, true);
    const ready = await call(service, service.token, 'GET', '/readyz');
    assert.ok(ready.body.degraded.includes('backend_tpm'));

    await tpm.start();
    while ((await sign()).status !== 200) await sleep(50);
  } finally {
    await service.stop();
    await tpm.remove();
  }
});

test('the TPM itself signs where its key is: for the nonce and the key alone, with the PCRs, and nothing that was changed passes', {
  skip: noSwtpm,
  timeout: 120_000,
}, async (t) => {
  const tpm = await createSwtpm();
  for (const pcr of [0, 4, 5, 5, 7]) await tpm.extend(pcr);
  const service = await startInProcess({ dataDir: temporaryDirectory(), env: { KMS_TPM: tpm.tcti } });
  try {
    const { vkeys: keys } = (await call(service, service.token, 'GET', '/v1/kms/audit/vkeys')).body;
    for (const alg of ['ecdsa-p256', 'rsa-2048']) {
      const kid = await makeKey(service, service.token, { alg, policy: { backend: 'tpm' } });
      const nonce = randomBytes(32).toString('base64url');
      const given = await askEvidence(service, service.token, kid, nonce);
      assert.equal(given.status, 200, JSON.stringify(given.body));
      const verdict = verifyAttestation(given.body, { keys, kid, nonce });
      assert.ok(verdict.ok, JSON.stringify(verdict));
      const { cnf, intaglio_key: key, submods } = verdict.claims;
      assert.equal(key.class, 'tpm');
      const [claims] = submods?.token.intaglio_tpm ?? [];
      assert.ok(claims !== undefined);
      assert.deepEqual(Object.keys(claims.pcrs.values), ['0', '1', '2', '3', '4', '5', '6', '7']);
      const own = tpmKeyName(claims.signer);
      assert.ok(verifyAttestation(given.body, { keys, kid, nonce, tpm: own }).ok);
      const stranger = own.replace(/.$/, own.endsWith('0') ? '1' : '0');
      const by = verifyAttestation(given.body, { keys, kid, nonce, tpm: stranger });
      assert.ok(!by.ok && by.reason === 'untrusted_tpm');

      const bound = { kid, nonce, publicKeySha256: key.public_key_sha256, thumbprint: cnf?.jkt };
      assert.ok(isTpmEvidence(claims, bound));
      checkQuote(t, claims, bound);
      const flipped = (text: string) => Buffer.from(text, 'base64url').fill(7, 40, 41).toString('base64url');
      const wrong: [TpmClaims, TpmBound][] = [
        [claims, { ...bound, nonce: randomBytes(32).toString('base64url') }],
        [claims, { ...bound, nonce: undefined }],
        [claims, { ...bound, kid: `${kid}0` }],
        [claims, { ...bound, publicKeySha256: '00' }],
        [claims, { ...bound, thumbprint: 'x' }],
        [{ ...claims, quoted: claims.certified }, bound],
        [{ ...claims, certified: claims.quoted }, bound],
        [{ ...claims, quoted: { ...claims.quoted, attest: flipped(claims.quoted.attest) } }, bound],
        [{ ...claims, key: claims.signer }, bound],
        [
          { ...claims, pcrs: { bank: 'sha256', values: { ...claims.pcrs.values, 4: '11'.repeat(32) } } },
          bound,
        ],
        [{ ...claims, pcrs: { bank: 'sha256', values: {} } }, bound],
        [{ ...claims, pcrs: { bank: 'sha256', values: shifted(claims.pcrs.values) } }, bound],
      ];
      for (const [index, [changed, of]] of wrong.entries())
        assert.equal(isTpmEvidence(changed, of), false, String(index));
    }
  } finally {
    await service.stop();
    await tpm.remove();
  }
});

/** The value of PCR 5 under the number 4, with the same bytes in a row. */
function shifted(values: TpmClaims['pcrs']['values']): TpmClaims['pcrs']['values'] {
  return { ...values, 3: `${values['3']}${values['4']}`, 4: `${values['5']}`, 5: '' };
}

/** Eight of them as tpm2_quote writes them: TPML_PCR_SELECTION, a count and TPML_DIGEST, as C has them in memory. */
function pcrsAsTools(values: readonly Buffer[]): Buffer {
  const bytes = Buffer.alloc(4 + 16 * 8 + 4 + 4 + 8 * 66);
  bytes.writeUInt32LE(1);
  bytes.writeUInt16LE(0x0b, 4);
  bytes.set([3, 0xff], 6);
  bytes.writeUInt32LE(1, 132);
  bytes.writeUInt32LE(values.length, 136);
  for (const [index, value] of values.entries()) {
    bytes.writeUInt16LE(value.length, 140 + index * 66);
    value.copy(bytes, 142 + index * 66);
  }
  return bytes;
}

/** tpm2-tools judge the quote, with the nonce and the key in its qualification, and see where one of its parts is another. */
function checkQuote(t: test.TestContext, { signer, quoted, pcrs }: TpmClaims, bound: TpmBound): void {
  if (!existsSync('/usr/bin/tpm2_checkquote')) {
    t.diagnostic('tpm2_checkquote is not installed: apt-get install tpm2-tools');
    return;
  }
  const directory = temporaryDirectory();
  const file = (name: string, bytes: Uint8Array) => {
    writeFileSync(join(directory, name), bytes);
    return join(directory, name);
  };
  const bytesOf = (text: string) => Buffer.from(text, 'base64url');
  // TPM2B_PUBLIC, and TPMT_SIGNATURE of ECDSA with SHA-256.
  const publicArea = file('signer', new Writer().sized(bytesOf(signer)).done());
  const [r, s] = [bytesOf(quoted.signature).subarray(0, 32), bytesOf(quoted.signature).subarray(32)];
  const signature = file('signature', new Writer().u16(0x18).u16(0x0b).sized(r).sized(s).done());
  const values = Object.values(pcrs.values).map((value) => Buffer.from(value, 'hex'));
  const of = (...named: readonly (string | undefined)[]) =>
    createHash('sha256')
      .update(['intaglio/tpm-evidence/v1', ...named].join('\0'))
      .digest('hex');
  const judged = (qualification: string, attest: Buffer, measured: readonly Buffer[]) =>
    spawnSync('tpm2_checkquote', [
      ...['-u', publicArea, '-s', signature, '-g', 'sha256', '-q', qualification],
      ...['-m', file('quote', attest)],
      ...['-f', file('pcrs', pcrsAsTools(measured))],
    ]).status;
  const ours = of(bound.kid, bound.nonce, bound.publicKeySha256);
  const attest = bytesOf(quoted.attest);
  assert.equal(judged(ours, attest, values), 0);
  assert.notEqual(judged(of(bound.kid, 'another', bound.publicKeySha256), attest, values), 0);
  assert.notEqual(judged(of('another', bound.nonce, bound.publicKeySha256), attest, values), 0);
  assert.notEqual(judged(ours, Buffer.from(attest).fill(7, 40, 41), values), 0);
  assert.notEqual(judged(ours, attest, [...values.slice(0, 4), Buffer.alloc(32, 1), ...values.slice(5)]), 0);
}
