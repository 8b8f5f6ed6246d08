import { cloudHostileContract } from '../contracts/cloud-hostile.ts';

for (const kind of ['aws', 'gcp', 'azure'] as const) cloudHostileContract(kind);
