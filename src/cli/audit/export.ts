import { Command } from 'commander';
import { exportLog } from '../../audit/disk/static-log.ts';
import { retainedFrom } from '../../audit/reading/retention.ts';
import { fail, failWith } from '../fail.ts';
import { Progress } from '../progress.ts';
import { archivedFlag, archivedHelp, claimed, countOf, logHelp, notVerified, openLog } from './open-log.ts';

export function exportCommand(): Command {
  return new Command('export')
    .description('write a log as plain files (C2SP tlog-tiles), for auditors and for tools that are not ours')
    .argument('<log>', logHelp)
    .argument(
      '<directory>',
      'where the files go; one with an older export of the same log is brought up to date',
    )
    .option(archivedFlag, archivedHelp)
    .addHelpText(
      'after',
      `
Nothing is verified on the way; run audit verify on the export. Any web server can serve the directory as it is, once it
may read it: what is written is as private as the log (0600, directories 0700).

Exit status: 0 all is written; 1 the command could not be carried out; 2 a part of the log is missing or damaged.

Example:
  npm run -s intaglio -- audit export data/audit /srv/export`,
    )
    .action((log: string, directory: string, { allowArchived = '0' }: { allowArchived?: string }) => {
      const archivedBefore = countOf(allowArchived, '--allow-archived');
      const { tiles, note, minimumIndex } = openLog(log);
      if (note === undefined) fail(`${log} has no checkpoint yet`);
      const checkpoint = claimed(note);
      const expected = Math.max(retainedFrom(tiles, checkpoint.size, minimumIndex), archivedBefore);
      if (minimumIndex > expected) {
        const range = `the entries from ${expected} to ${minimumIndex - 1}`;
        failWith(notVerified, `${log} lacks ${range}, and no record says that they are no longer kept`);
      }
      const progress = new Progress('exporting', 'records');
      for (const { done, missing } of exportLog(tiles, checkpoint, note, minimumIndex, directory)) {
        if (missing !== undefined) failWith(notVerified, `${log} has no ${missing}, or not all of it`);
        progress.at(done, checkpoint.size);
      }
      progress.end();
      process.stdout.write(`${directory}: ${checkpoint.size} records of ${checkpoint.origin}\n`);
    });
}
