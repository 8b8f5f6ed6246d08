import { cloudRootContract, cloudRootFaults } from '../contracts/cloud-root.ts';
import { startFakeAws } from '../support/cloud/fake-aws.ts';

cloudRootContract('AWS KMS', startFakeAws);
cloudRootFaults('AWS KMS', startFakeAws);
