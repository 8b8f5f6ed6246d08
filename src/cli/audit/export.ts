import { Command } from 'commander';
import { exportLog } from '../../audit/disk/static-log.ts';
import { retainedFrom } from '../../audit/reading/retention.ts';
import { ownCommand } from '../../core/own-package.ts';
import { fail, failWith } from '../fail.ts';
import { Progress } from '../progress.ts';
import { type EventExport, exportEvents } from './export-events.ts';
import { archivedFlag, archivedHelp, claimed, countOf, logHelp, notVerified, openLog } from './open-log.ts';

type Options = Partial<Omit<EventExport, 'archivedBefore'>> & { readonly allowArchived?: string };

export function exportCommand(): Command {
  return new Command('export')
    .description(
      'write a log as plain files (C2SP tlog-tiles) for auditors, or as lines for security monitoring (--format)',
    )
    .argument('<log>', logHelp)
    .argument(
      '[directory]',
      'where the files go; one with an older export of the same log is brought up to date',
    )
    .option(archivedFlag, archivedHelp)
    .option('--format <format>', 'one line a record on standard output instead: jsonl, cef or ocsf')
    .option('-f, --follow', 'with --format: go on with what comes, until interrupted')
    .option('--cursor <file>', 'with --format: begin behind what this file says, and write it anew')
    .option(
      '--metrics-file <file>',
      "with --format: how far it is and how late, for node_exporter's textfile collector",
    )
    .addHelpText(
      'after',
      `
Nothing is verified on the way; run audit verify on the export. Any web server can serve the directory as it is, once it
may read it: what is written is as private as the log (0600, directories 0700).

Exit status: 0 all is written; 1 the command could not be carried out; 2 a part of the log is missing or damaged.

Examples:
  ${ownCommand} audit export data/audit /srv/export
  ${ownCommand} audit export data/audit --format ocsf --follow --cursor /var/lib/intaglio-export/cursor | your-shipper`,
    )
    .action((log: string, directory: string | undefined, options: Options) => {
      const { format, allowArchived, ...others } = options;
      const archivedBefore = countOf(allowArchived ?? '0', '--allow-archived');
      if (format !== undefined && directory === undefined) {
        return exportEvents(log, { format, archivedBefore, ...others });
      }
      if (format !== undefined || directory === undefined) fail('give a directory or --format');
      if (Object.keys(others).length > 0) fail('--follow, --cursor and --metrics-file go with --format');
      exportFiles(log, directory, archivedBefore);
    });
}

function exportFiles(log: string, directory: string, archivedBefore: number): void {
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
}
