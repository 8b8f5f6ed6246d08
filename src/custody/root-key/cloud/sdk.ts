import { settleNetwork } from './network.ts';
import { quietThisProcess } from './quiet.ts';
import { CloudTrouble } from './trouble.ts';

/** A provider's SDK: an optional dependency, which is loaded when a source asks for it, and never before. Throws a CloudTrouble. */
export async function loadSdk<T>(name: string, load: () => Promise<T>): Promise<T> {
  quietThisProcess();
  settleNetwork();
  try {
    return await load();
  } catch {
    throw new CloudTrouble('no-package', name);
  }
}
