import { Command } from 'commander';
import { systemFiles } from '../../audit/disk/files.ts';
import { openLogReader } from '../../audit/reading/log-reader.ts';
import { retainedFrom } from '../../audit/reading/retention.ts';
import { scrubLog } from '../../audit/writer/scrub.ts';
import { ownCommand } from '../../core/own-package.ts';
import { fail, failWith } from '../fail.ts';
import { Progress } from '../progress.ts';
import { archivedFlag, archivedHelp, countOf, isLive, notVerified } from './open-log.ts';

export function scrubCommand(): Command {
  return new Command('scrub')
    .description(
      "compare the sealed segments of a service's log with their tiles, as the service does in the background",
    )
    .argument(
      '<directory>',
      'the audit directory of a service (<data directory>/audit), or one epoch in it (audit/e1)',
    )
    .option(archivedFlag, archivedHelp)
    .addHelpText(
      'after',
      `
It needs no keys and says whether the disk still has what was written; audit verify says whether that is what was signed.

Exit status: 0 nothing is damaged; 1 the command could not be carried out; 2 damage.

Example:
  ${ownCommand} audit scrub data/audit`,
    )
    .action((directory: string, { allowArchived = '0' }: { allowArchived?: string }) => {
      const archivedBefore = countOf(allowArchived, '--allow-archived');
      if (!isLive(directory))
        fail(`${directory} is not an audit directory; check an export with audit verify`);
      const progress = new Progress('reading', 'chunks of 256 records');
      let read = 0;
      const reader = openLogReader(directory);
      const { minimumIndex } = reader;
      const kept = Math.max(
        retainedFrom(reader, reader.checkpoint()?.size ?? 0, minimumIndex),
        archivedBefore,
      );
      for (const { chunks, of, damage } of scrubLog(systemFiles, reader.layout, () => kept)) {
        if (damage !== undefined) failWith(notVerified, damage);
        progress.at(chunks, of);
        read = chunks;
      }
      progress.end();
      process.stdout.write(`${directory}: ${read} chunks of sealed segments, none damaged\n`);
    });
}
