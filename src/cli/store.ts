import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { ownCommand } from '../core/own-package.ts';
import { errorCode } from '../core/private-file.ts';
import { checkEveryPage } from '../store/lmdb/data-file.ts';
import { heldBy, lockDirectory } from '../store/lmdb/directory-lock.ts';
import { fail, failWith, refusing } from './fail.ts';

const damagedStatus = 2;

/** `store check` changes nothing; neither needs a key. */
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
  ${ownCommand} store check data`,
    )
    .action(checkStore);
  const compacting = new Command('compact')
    .description(
      'write the store anew without its free pages, so that what was destroyed is in no byte of it',
    )
    .argument('<data directory>', 'of a service that is stopped, or a copy of one')
    .addHelpText(
      'after',
      `
A destroyed key is in no record any more, but until its page is used again its sealed private part may lie in data.mdb, and in
every backup of it. What a file system or disk keeps of a file that was replaced is not this command's.

Exit status: 0 done; 1 the command could not be carried out, and the store is as it was.

Example:
  ${ownCommand} store compact data`,
    )
    .action(compactStore);
  const accepting = new Command('accept')
    .description(
      'after a start that refused the store: say that its records are to be taken as they are, and why; the next start does it',
    )
    .argument('<data directory>', 'of a service that is stopped')
    .requiredOption('--failure <id>', 'the failure that you looked at, as the refusal names it')
    .requiredOption('--reason <text>', 'why, for the audit log; 1 to 500 characters')
    .addHelpText(
      'after',
      `
The head over all records of the store says that one was removed, put there or put back in another way than by the service. A
backup that was made before has the records as they were: restoring it is the better way. What was accepted goes onto the audit
log with the reason and the names of the records. Where the log knows later states of keys it refuses signatures all the same,
until two people accept that: intaglio audit accept.

Example:
  npm run -s intaglio -- store accept data --failure 5f0c1d2e3a4b5c6d --reason "counters lost, ticket 4711"`,
    )
    .action(acceptStore);
  return new Command('store')
    .description('look after the key store')
    .addCommand(check)
    .addCommand(compacting)
    .addCommand(accepting);
}

async function acceptStore(
  dataDir: string,
  { failure, reason }: { failure: string; reason: string },
): Promise<void> {
  if (!/^[0-9a-f]{16}$/.test(failure)) fail('--failure takes the 16 hexadecimal digits of the refusal');
  if (reason.length < 1 || reason.length > 500) fail('--reason takes 1 to 500 characters');
  await withStore(dataDir, 'accept', async (_directory, path) => {
    const { addOfflineAct, offlineActor } = await import('../assemble/offline-acts.ts');
    await refusing(async () => {
      const act = { type: 'store.accepted', atMs: Date.now(), actor: offlineActor(), reason } as const;
      addOfflineAct(dataDir, { ...act, facts: { failure } });
    });
    process.stdout.write(`${path}: the next start takes it as it is, if it is still what ${failure} names\n`);
  });
}

async function compactStore(dataDir: string): Promise<void> {
  await withStore(dataDir, 'compact', async (directory, path) => {
    try {
      // It loads LMDB, which no other command needs.
      const { compact } = await import('../store/lmdb/compact.ts');
      const { records, bytesBefore, bytesAfter } = await compact(directory);
      process.stdout.write(`${path}: ${records} records, ${bytesAfter} bytes instead of ${bytesBefore}\n`);
    } catch (cause) {
      fail(`${path} cannot be compacted: ${(cause as Error).message}`);
    }
  });
}

async function checkStore(dataDir: string): Promise<void> {
  await withStore(dataDir, 'check', (_directory, path) => {
    try {
      const checked = checkEveryPage(path);
      if ('damage' in checked) failWith(damagedStatus, `${path}: ${checked.damage}`);
      process.stdout.write(`${path}: ${checked.pages} pages, none damaged\n`);
    } catch (cause) {
      fail(`${path} cannot be read (${errorCode(cause)})`);
    }
  });
}

/** Holds the store meanwhile. */
async function withStore(
  dataDir: string,
  verb: string,
  use: (directory: string, path: string) => Promise<void> | void,
): Promise<void> {
  const directory = join(dataDir, 'store');
  const path = join(directory, 'data.mdb');
  if (!existsSync(path)) fail(`there is no ${path}`);
  const unlock = await lockDirectory(directory);
  if (unlock === undefined)
    fail(`${dataDir} is in use: ${await heldBy(directory)}; stop the service, or ${verb} a copy`);
  try {
    await use(directory, path);
  } finally {
    await unlock();
  }
}
