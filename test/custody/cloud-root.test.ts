import { describe } from 'node:test';
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
});
