import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { parseRecord } from '../../audit/format/record.ts';
import {
  decodeBundle,
  entriesLevel,
  readTile,
  type TileReader,
  tilesAt,
  tileWidth,
  widthAt,
} from '../../audit/format/tiles.ts';
import { ownCommand } from '../../core/own-package.ts';
import { fail } from '../fail.ts';
import { countOf, logHelp, openLog } from './open-log.ts';

/** New checkpoints come once a second at the most. */
const followMs = 1_000;

interface Options {
  lines: string;
  follow?: boolean;
  key?: string;
  tenant?: string;
}

export function tailCommand(): Command {
  return new Command('tail')
    .description('print the newest records, one JSON object a line, as they are on the log')
    .argument('<log>', logHelp)
    .option('-n, --lines <number>', 'how many', '10')
    .option('-f, --follow', 'go on with what comes, until interrupted')
    .option('--key <key_id>', 'of one key only')
    .option('--tenant <name>', 'of one tenant only')
    .addHelpText(
      'after',
      `
Example:
  ${ownCommand} audit tail data/audit --follow --tenant acme`,
    )
    .action(tail);
}

async function tail(directory: string, options: Options): Promise<void> {
  const lines = countOf(options.lines, '--lines');
  let log = openLog(directory);
  const { tiles, size, minimumIndex } = log;
  const found: string[] = [];
  for (const tile of [...tilesAt(entriesLevel, size, Math.floor(minimumIndex / tileWidth))].toReversed()) {
    if (found.length >= lines) break;
    const first = tile.index * tileWidth;
    found.unshift(...recordsOf(tiles, first, first + tile.width, size, options));
  }
  print(found.slice(Math.max(0, found.length - lines)));
  for (let at = size; options.follow === true; ) {
    await delay(followMs);
    log = log.refresh();
    if (log.size < at) fail('the log is shorter than it was', 'it was exported anew, or it was taken back');
    print(recordsOf(log.tiles, at, log.size, log.size, options));
    at = log.size;
  }
}

/** The chosen ones of records [from, to), as text. */
function recordsOf(
  tiles: TileReader,
  from: number,
  to: number,
  size: number,
  { key, tenant }: Options,
): string[] {
  const texts: string[] = [];
  for (let at = from; at < to; at = (Math.floor(at / tileWidth) + 1) * tileWidth) {
    const index = Math.floor(at / tileWidth);
    const width = widthAt(entriesLevel, index, size);
    const bundle = readTile(tiles, { level: entriesLevel, index, width });
    const entries = bundle && decodeBundle(bundle, width);
    if (!entries?.ok) fail(`the records from ${at} on cannot be read; run audit verify`);
    for (const entry of entries.value.slice(at % tileWidth, to - index * tileWidth)) {
      const record = key === undefined && tenant === undefined ? undefined : parseRecord(entry);
      const chosen =
        (key === undefined || record?.key_id === key) && (tenant === undefined || record?.tenant === tenant);
      if (chosen) texts.push(Buffer.from(entry).toString('utf8'));
    }
  }
  return texts;
}

function print(texts: readonly string[]): void {
  process.stdout.write(texts.map((text) => `${text}\n`).join(''));
}
