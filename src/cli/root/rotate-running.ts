import { setTimeout as delay } from 'node:timers/promises';
import { askService } from '../audit/ask-service.ts';
import { Progress } from '../progress.ts';
import type { ServiceAddress } from '../service-client.ts';

const path = '/v1/kms/admin/root';
const pollMs = 200;

interface Report {
  readonly generation: number;
  readonly root: string;
  readonly rotation?: { readonly done: number; readonly total: number };
}

/** Has a running service replace its root key, and shows how far it is. */
export async function rotateRunning(address: ServiceAddress, tokenFile: string): Promise<void> {
  const progress = new Progress('sealing anew', 'records');
  let report = reportIn((await askService(address, `${path}/rotate`, tokenFile, {})).text);
  while (report.rotation !== undefined) {
    progress.at(report.rotation.done, report.rotation.total);
    await delay(pollMs);
    report = reportIn((await askService(address, path, tokenFile)).text);
  }
  progress.end();
  process.stdout.write(`root key ${report.root}, generation ${report.generation}\n`);
}

function reportIn(text: string): Report {
  return JSON.parse(text) as Report;
}
