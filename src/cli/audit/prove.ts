import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { leafHash, verifyInclusion } from '../../audit/format/merkle.ts';
import { parseRecord } from '../../audit/format/record.ts';
import {
  decodeBundle,
  entriesLevel,
  entryFromTiles,
  inclusionFromTiles,
  readTile,
  tilesAt,
  tileWidth,
} from '../../audit/format/tiles.ts';
import { formatTlogProof } from '../../audit/format/tlog-proof.ts';
import { ownCommand } from '../../core/own-package.ts';
import { fail, failWith } from '../fail.ts';
import { Progress } from '../progress.ts';
import {
  archiveFlag,
  archiveHelp,
  claimed,
  countOf,
  logHelp,
  notVerified,
  type OpenLog,
  openLog,
} from './open-log.ts';

interface Options {
  archive?: string;
  index?: string;
  opId?: string;
  entry?: string;
  out?: string;
}

export function proveCommand(): Command {
  return new Command('prove')
    .description(
      'write a proof (C2SP tlog-proof) that a record is on the log; it is checked with no access to the log',
    )
    .argument('<log>', logHelp)
    .option('--index <number>', 'the record by its place in the log, from 0')
    .option('--op-id <id>', 'the record by its op_id; the newest one, where there are several')
    .option('--entry <file>', 'write the record itself there: whoever checks the proof needs it to the byte')
    .option(archiveFlag, archiveHelp)
    .option('--out <file>', 'where the proof goes (default: standard output)')
    .addHelpText(
      'after',
      `
Exit status: 0 written; 1 no such record under the checkpoint; 2 the log does not lead to its own checkpoint.

Example:
  ${ownCommand} audit prove data/audit --op-id 0192f7c1-5b1e-7c3a-9d2e-1f2a3b4c5d6e --out op.tlog-proof --entry op.json
  ${ownCommand} audit verify --keys audit.vkeys --proof op.tlog-proof --entry op.json`,
    )
    .action((directory: string, options: Options) => {
      const log = openLog(directory, options.archive);
      if (log.note === undefined) fail(`${directory} has no checkpoint yet`);
      const { size, root } = claimed(log.note);
      const index = indexOf(log, size, options);
      const entry = index < size ? entryFromTiles(log.tiles, index, size) : undefined;
      if (!entry?.ok) fail(`there is no record ${index} under the checkpoint of ${size}`);
      const path = inclusionFromTiles(log.tiles, index, size);
      if (!path.ok || !verifyInclusion(index, size, leafHash(entry.value), path.value, root)) {
        failWith(notVerified, 'the record does not lead to the root of the checkpoint; run audit verify');
      }
      if (options.entry !== undefined) writeFileSync(options.entry, entry.value);
      const proof = formatTlogProof({ index, path: path.value, checkpoint: log.note });
      if (options.out === undefined) process.stdout.write(proof);
      else writeFileSync(options.out, proof);
    });
}

function indexOf(log: OpenLog, size: number, { index, opId }: Options): number {
  if ((index === undefined) === (opId === undefined)) fail('give one of --index and --op-id');
  return index === undefined ? find(log, size, opId!) : countOf(index, '--index');
}

/** From the newest record back. There is no index of op_ids: 200,000 records take about a second. */
function find({ tiles, minimumIndex }: OpenLog, size: number, opId: string): number {
  const wanted = Buffer.from(JSON.stringify(opId));
  const progress = new Progress('searching', 'records');
  const all = [...tilesAt(entriesLevel, size, Math.floor(minimumIndex / tileWidth))];
  for (const tile of all.toReversed()) {
    progress.at(size - tile.index * tileWidth, size);
    const bundle = readTile(tiles, tile);
    // Most bundles do not have the text at all, which is much quicker to see than what the records are.
    if (
      bundle === undefined ||
      !Buffer.from(bundle.buffer, bundle.byteOffset, bundle.length).includes(wanted)
    )
      continue;
    const entries = decodeBundle(bundle, tile.width);
    if (!entries.ok) continue;
    const at = entries.value.findLastIndex((entry) => parseRecord(entry)?.op_id === opId);
    if (at >= 0) {
      progress.end();
      return tile.index * tileWidth + at;
    }
  }
  progress.end();
  return fail('no record has that op_id', 'one that was made in the last second has no checkpoint yet');
}
