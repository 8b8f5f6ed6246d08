import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { cloudRootContract, cloudRootFaults } from '../contracts/cloud-root.ts';
import { startFakeAws } from '../support/cloud/fake-aws.ts';
import { startFakeAzure } from '../support/cloud/fake-azure.ts';
import { startFakeGcp } from '../support/cloud/fake-gcp.ts';

// Most of the time is pauses before a call is made again.
describe('a cloud KMS', { concurrency: true }, () => {
  cloudRootContract('AWS KMS', startFakeAws);
  cloudRootFaults('AWS KMS', startFakeAws, [
    ['other-key', 'wrap'],
    ['other-key', 'unwrap'],
  ]);
  cloudRootContract('Google Cloud KMS', startFakeGcp);
  cloudRootFaults('Google Cloud KMS', startFakeGcp, [
    ['other-key', 'wrap'],
    ['unverified', 'wrap'],
    ['wrong-checksum', 'wrap'],
    ['wrong-checksum', 'unwrap'],
  ]);
  cloudRootContract('Azure Key Vault', startFakeAzure);
  cloudRootFaults('Azure Key Vault', startFakeAzure, [
    ['other-key', 'wrap'],
    ['other-key', 'unwrap'],
  ]);

  test('a clock that is a day off is set right by the date of AWS, and where that cannot be, the operator reads it', async (t) => {
    const fake = await startFakeAws();
    t.after(() => fake.close());
    const key = await fake.newKey();
    fake.fault(key, 'day-ahead');
    const algorithm = 'SYMMETRIC_DEFAULT' as const;
    const of = { root: 'x', id: 'cloud', generation: 1, createdAtMs: 1, ...key, algorithm };
    const limits = { connectMs: 30_000, attemptMs: 30_000, attempts: 4, wholeMs: 60_000 };
    const { signal } = new AbortController();
    const provider = fake.provider(limits);
    const source = await provider.wrap(of, Buffer.from('a root key'), signal);
    assert.equal(Buffer.from(await provider.unwrap(source, signal)).toString(), 'a root key');
    // Without another try it is said.
    await assert.rejects(fake.provider({ ...limits, attempts: 1 }).unwrap(source, signal), { kind: 'clock' });
  });
});
