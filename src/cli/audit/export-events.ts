import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { systemFiles } from '../../audit/disk/files.ts';
import { epochsIn } from '../../audit/disk/layout.ts';
import { leafHash } from '../../audit/format/merkle.ts';
import { parseRecord } from '../../audit/format/record.ts';
import { decodeBundle, entriesLevel, readTile, tileWidth, widthAt } from '../../audit/format/tiles.ts';
import { retainedFrom } from '../../audit/reading/retention.ts';
import { fail, failWith } from '../fail.ts';
import { type EventCursor, readCursor, writeCursor, writeMetrics } from './event-cursor.ts';
import { claimed, notVerified, type OpenLog, openLog } from './open-log.ts';
import { eventFormats, formatEvent } from './security-events.ts';

/** New checkpoints come once a second at the most. */
const followMs = 1_000;

/** 4,096 records are written before the cursor is: syncing it for each bundle of 256 would be most of the work. */
const bundlesAWrite = 16;

export interface EventExport {
  readonly format: string;
  readonly follow?: boolean;
  readonly cursor?: string;
  readonly metricsFile?: string;
  /** Entries before this index may be missing though no record says so. */
  readonly archivedBefore: number;
}

/** Writes records to standard output, from the cursor on, in the order of the log. */
export async function exportEvents(directory: string, options: EventExport): Promise<void> {
  const format = eventFormats.find((name) => name === options.format);
  if (format === undefined) fail(`--format takes one of ${eventFormats.join(', ')}`);
  if (options.follow === true && options.cursor === undefined) {
    fail('--follow needs --cursor, or each restart would give every record again');
  }
  const save = (cursor: EventCursor) => {
    if (options.cursor !== undefined) writeCursor(options.cursor, cursor);
    if (options.metricsFile !== undefined) writeMetrics(options.metricsFile, cursor);
  };
  const found = options.cursor === undefined ? undefined : readCursor(options.cursor);
  let [log, cursor] = found === undefined ? [undefined, undefined] : [logOfCursor(directory, found), found];
  for (;;) {
    // Looked for first: an epoch behind which there is another has ended, and has its last checkpoint.
    const logs = logsIn(directory);
    log ??= logs[0]!;
    const ended = log !== logs.at(-1);
    const opened = openLog(log);
    for await (const reached of exportOne(opened, cursor, {
      format,
      ended,
      archivedBefore: options.archivedBefore,
    })) {
      save(reached);
      cursor = reached;
    }
    if (ended) {
      log = logs[logs.indexOf(log) + 1]!;
      cursor = cursor && { ...cursor, next: 0, last_leaf: '' };
      continue;
    }
    if (options.follow !== true) return;
    await delay(followMs);
  }
}

/** An audit directory has one log for each epoch; any other directory is one. */
function logsIn(directory: string): string[] {
  const epochs = epochsIn(systemFiles, directory);
  return epochs.length === 0 ? [directory] : epochs.map((epoch) => join(directory, `e${epoch}`));
}

function logOfCursor(directory: string, { origin }: EventCursor): string {
  const log = logsIn(directory).find((candidate) => {
    const { note } = openLog(candidate);
    return note !== undefined && claimed(note).origin === origin;
  });
  return log ?? failWith(notVerified, `the cursor is of ${origin}, which is not in ${directory}`);
}

interface OneExport {
  readonly format: (typeof eventFormats)[number];
  /** True of an epoch behind which there is another. */
  readonly ended: boolean;
  readonly archivedBefore: number;
}

/** Gives the cursor after each write, once it has been taken, and at least once where there is a checkpoint. */
async function* exportOne(
  log: OpenLog,
  from: EventCursor | undefined,
  { format, ended, archivedBefore }: OneExport,
): AsyncGenerator<EventCursor> {
  if (log.note === undefined) return;
  const { origin } = claimed(log.note);
  let next = from?.next ?? 0;
  let lastLeaf = from?.last_leaf ?? '';
  let skipped = from?.skipped ?? 0;
  requireSameLog(log, next, lastLeaf);
  const skipTo = (index: number, why: string) => {
    process.stderr.write(`intaglio: records ${next} to ${index - 1} of ${origin} are passed over: ${why}\n`);
    skipped += index - next;
    next = index;
    lastLeaf = '';
  };
  if (log.minimumIndex > next) {
    const from = Math.min(log.minimumIndex, log.size);
    const kept = Math.max(retainedFrom(log.tiles, log.size, log.minimumIndex), archivedBefore);
    if (kept > next) skipTo(Math.min(from, kept), 'they are no longer kept');
    if (from > next) {
      const why = 'they are missing, and no record says that they are no longer kept';
      if (!ended) failWith(notVerified, `the records ${next} to ${from - 1}: ${why}; run audit verify`);
      skipTo(from, why);
    }
  }
  const at = (): EventCursor => ({
    ...{ origin, next, last_leaf: lastLeaf, skipped, lag_records: log.size - next },
    lag_seconds: lagSeconds(log, next),
    written_at: new Date().toISOString(),
  });
  while (next < log.size) {
    const lines: string[] = [];
    for (let bundle = 0; bundle < bundlesAWrite && next < log.size; bundle++) {
      const entries = entriesFrom(log, next);
      if (entries === undefined) {
        if (!ended) failWith(notVerified, `the records from ${next} on cannot be read; run audit verify`);
        skipTo(log.size, 'they cannot be read');
        break;
      }
      for (const entry of entries) {
        const line = formatEvent(format, entry, { origin, index: next });
        if (line === undefined) failWith(notVerified, `the entry ${next} is not a record; run audit verify`);
        lines.push(line);
        next++;
      }
      lastLeaf = hexLeaf(entries.at(-1)!);
    }
    await write(lines);
    yield at();
  }
  yield at();
}

/** A log that was replaced by another of its name would be exported from the middle on, and nobody would know. */
function requireSameLog(log: OpenLog, next: number, lastLeaf: string): void {
  if (log.size < next) {
    failWith(notVerified, `the log has ${log.size} records and ${next} were exported: it was taken back`);
  }
  const before = lastLeaf === '' ? undefined : entriesFrom(log, next - 1)?.[0];
  if (before !== undefined && hexLeaf(before) !== lastLeaf) {
    failWith(notVerified, `record ${next - 1} is not the one that was exported: the log was replaced`);
  }
}

/** The entries from this index to the end of its bundle; undefined where they cannot be read. */
function entriesFrom({ tiles, size }: OpenLog, from: number): Uint8Array[] | undefined {
  const index = Math.floor(from / tileWidth);
  const width = widthAt(entriesLevel, index, size);
  const bytes = readTile(tiles, { level: entriesLevel, index, width });
  const entries = bytes && decodeBundle(bytes, width);
  return entries?.ok ? entries.value.slice(from % tileWidth) : undefined;
}

function hexLeaf(entry: Uint8Array): string {
  return Buffer.from(leafHash(entry)).toString('hex');
}

function lagSeconds(log: OpenLog, next: number): number {
  const entry = next < log.size ? entriesFrom(log, next)?.[0] : undefined;
  const record = entry && parseRecord(entry);
  return record === undefined ? 0 : Math.max(0, Math.round(Date.now() - record.ts / 1000) / 1000);
}

/** Resolves when the system has taken the lines: a reader that is slow slows this down, and nothing is kept beyond it. */
function write(lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return Promise.resolve();
  return new Promise((resolve) => {
    // What fails here ends the command (fail.ts): the cursor stays before these lines.
    process.stdout.write(`${lines.join('\n')}\n`, (error) => {
      if (error === null || error === undefined) resolve();
    });
  });
}
