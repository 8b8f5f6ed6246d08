import { availableEngines } from '../support/engines.ts';
import { engineContract } from './contract.ts';

for (const { name, create } of availableEngines()) engineContract(name, create);
