import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Command } from 'commander';
import { replaceFile, systemFiles } from '../../audit/disk/files.ts';
import { claimedHead } from '../../audit/disk/head.ts';
import {
  chunkLeaves,
  epochDirectory,
  type Layout,
  layoutOf,
  segmentLeaves,
  segmentsIn,
} from '../../audit/disk/layout.ts';
import { lastRecordUs, sealedBundles } from '../../audit/disk/segments.ts';
import { hashBytes } from '../../audit/format/merkle.ts';
import { chunkRoot } from '../../audit/writer/scrub.ts';
import { ownCommand } from '../../core/own-package.ts';
import { fail, failWith } from '../fail.ts';
import { Progress } from '../progress.ts';
import { notVerified } from './open-log.ts';

export function archiveCommand(): Command {
  return new Command('archive')
    .description(
      'move the oldest records of the log elsewhere: segments that the log says it no longer keeps',
    )
    .argument('<data directory>', 'of a service, which may run')
    .argument('<archive>', 'where the files go; the same one each time')
    .option('--audit-dir <directory>', 'KMS_AUDIT_DIR of the service, where it is not in the data directory')
    .option('--before <date>', 'only segments all of whose records are older, such as 2019-01-01 (UTC)')
    .addHelpText(
      'after',
      `
The service lets segments go when all of their records are older than KMS_AUDIT_RETENTION, and a record of the log says so. This
command copies them, compares the copies with the tiles of the log, and only then removes them where they were. What it was
stopped at it does again. Tiles and roots stay, so that every proof stays valid.

Exit status: 0 all of them are moved, or there is none; 1 the command could not be carried out; 2 a segment is damaged.

Examples:
  ${ownCommand} audit archive data /srv/audit-archive --before 2019-01-01
  ${ownCommand} audit verify data/audit --archive /srv/audit-archive --keys audit.vkeys`,
    )
    .action(archive);
}

async function archive(
  dataDir: string,
  directory: string,
  { auditDir = join(dataDir, 'audit'), before }: { auditDir?: string; before?: string },
): Promise<void> {
  const beforeUs = before === undefined ? Number.POSITIVE_INFINITY : Date.parse(before) * 1000;
  if (Number.isNaN(beforeUs)) fail('--before takes a date, such as 2019-01-01');
  const head = claimedHead(systemFiles, join(dataDir, 'audit.head'));
  if (head === undefined) fail(`${dataDir} is not the data directory of a service: it has no audit.head`);
  const from = layoutOf(epochDirectory(auditDir, head.epoch));
  const to = layoutOf(epochDirectory(directory, head.epoch));
  const released = segmentsIn(systemFiles, from, 'ents.zst').filter(
    (segment) => segment < head.minimumIndex / segmentLeaves,
  );
  const progress = new Progress('archiving', 'segments');
  let moved = 0;
  for (const segment of released) {
    const lastUs = lastRecordUs(systemFiles, from, segment);
    // From the oldest on, without a hole: the log is whole from some index.
    if (lastUs !== undefined && lastUs >= beforeUs) break;
    await move(segment, from, to);
    moved++;
    progress.at(moved, released.length);
  }
  progress.end();
  const kept = head.minimumIndex === 0 ? '; the log lets none go (KMS_AUDIT_RETENTION)' : '';
  process.stdout.write(`${directory}: ${moved} segments of ${segmentLeaves} records${kept}\n`);
}

/** Copy, compare, remove: a crash after any step leaves each record in at least one of the two places. */
async function move(segment: number, from: Layout, to: Layout): Promise<void> {
  const [source, target] = [from.entries(segment), to.entries(segment)];
  const damage = damageOf(from, from, segment);
  if (damage !== undefined) failWith(notVerified, `${source}: ${damage}; it stays where it is`);
  systemFiles.makeDirectory(to.segments);
  if (!existsSync(target)) {
    const temporary = `${target}.tmp`;
    await pipeline(createReadStream(source), createWriteStream(temporary, { mode: 0o600 }));
    const file = systemFiles.open(temporary, 'write');
    await file.sync();
    file.close();
    systemFiles.rename(temporary, target);
  }
  const tile = systemFiles.read(from.tile(segment));
  if (tile !== undefined) await replaceFile(systemFiles, to.tile(segment), tile);
  for (const directory of [to.segments, to.directory, dirname(to.directory)]) {
    await systemFiles.syncDirectory(directory);
  }
  const copied = damageOf(to, from, segment);
  if (copied !== undefined) failWith(notVerified, `${target} is not what ${basename(source)} was: ${copied}`);
  systemFiles.remove(source);
  await systemFiles.syncDirectory(from.segments);
}

/** Holds the entries in one place against the tile in the other; undefined where all fit. */
function damageOf(entries: Layout, tiles: Layout, segment: number): string | undefined {
  const tile = systemFiles.read(tiles.tile(segment));
  if (tile?.length !== chunkLeaves * hashBytes) return 'its tile is missing or has a wrong length';
  let chunk = 0;
  for (const bundle of sealedBundles(systemFiles, entries, segment)) {
    const root = bundle && chunkRoot(bundle);
    if (root === undefined || !tile.subarray(chunk * hashBytes, (chunk + 1) * hashBytes).equals(root)) {
      return `entries from ${segment * segmentLeaves + chunk * chunkLeaves} on do not fit their tile`;
    }
    chunk++;
  }
  return undefined;
}
