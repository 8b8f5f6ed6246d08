import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { errorCode } from '../core/private-file.ts';
import { checkEveryPage } from '../store/lmdb/data-file.ts';
import { heldBy, lockDirectory } from '../store/lmdb/directory-lock.ts';
import { fail, failWith } from './fail.ts';

const damagedStatus = 2;

/** `store check`: needs no key, and changes nothing. */
export function storeCommand(): Command {
  const check = new Command('check')
    .description('read every page of the store that is in use, and say whether they fit together')
    .argument('<data directory>', 'of a service that is stopped, or a copy of one')
    .addHelpText(
      'after',
      `
LMDB keeps no checksums: pages and what points at them are compared. Whether a record is authentic is seen when it is used.

Exit status: 0 nothing is damaged; 1 the command could not be carried out; 2 damage.

Example:
  npm run -s intaglio -- store check data`,
    )
    .action(checkStore);
  return new Command('store').description('look after the key store').addCommand(check);
}

async function checkStore(dataDir: string): Promise<void> {
  const directory = join(dataDir, 'store');
  const path = join(directory, 'data.mdb');
  if (!existsSync(path)) fail(`there is no ${path}`);
  const unlock = await lockDirectory(directory);
  if (unlock === undefined)
    fail(`${dataDir} is in use: ${await heldBy(directory)}; stop the service, or check a copy`);
  try {
    const checked = checkEveryPage(path);
    if ('damage' in checked) failWith(damagedStatus, `${path}: ${checked.damage}`);
    process.stdout.write(`${path}: ${checked.pages} pages, none damaged\n`);
  } catch (cause) {
    fail(`${path} cannot be read (${errorCode(cause)})`);
  } finally {
    await unlock();
  }
}
