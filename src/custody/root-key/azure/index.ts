import type { CloudLimits } from '../cloud/limits.ts';
import { CloudTrouble } from '../cloud/trouble.ts';
import type { CloudProvider } from '../cloud/wrapping.ts';

export function azureProvider(_limits: CloudLimits): CloudProvider<'azure'> {
  throw new CloudTrouble('failed');
}
