import type { CloudLimits } from '../cloud/limits.ts';
import { CloudTrouble } from '../cloud/trouble.ts';
import type { CloudProvider } from '../cloud/wrapping.ts';

export function gcpProvider(_limits: CloudLimits): CloudProvider<'gcp'> {
  throw new CloudTrouble('failed');
}
