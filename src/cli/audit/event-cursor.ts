import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { errorCode, syncPath } from '../../core/private-file.ts';
import { fail } from '../fail.ts';

/** How far an export for security monitoring has come. Written after what it counts has been taken, so nothing is lost. */
export interface EventCursor {
  readonly origin: string;
  /** The first index that was not given out yet. */
  readonly next: number;
  /** Hash of the leaf before `next`, in hex: a log that was replaced has another. Empty: there is none. */
  readonly last_leaf: string;
  /** Entries that were passed over, because they are no longer kept. */
  readonly skipped: number;
  /** Records under the checkpoint that were not given out, and the age of the oldest of them. */
  readonly lag_records: number;
  readonly lag_seconds: number;
  /** RFC 3339. */
  readonly written_at: string;
}

/** A cursor is a few hundred bytes. */
const maxBytes = 4_096;

/** The cursor in the file; undefined where there is no file yet. Ends the command where it is something else. */
export function readCursor(path: string): EventCursor | undefined {
  if (!existsSync(path)) return undefined;
  try {
    const bytes = readFileSync(path);
    const cursor = JSON.parse(bytes.subarray(0, maxBytes).toString('utf8')) as EventCursor;
    const whole =
      typeof cursor.origin === 'string' &&
      typeof cursor.last_leaf === 'string' &&
      [cursor.next, cursor.skipped].every((count) => Number.isSafeInteger(count) && count >= 0);
    if (whole) return cursor;
  } catch (error) {
    if (!(error instanceof SyntaxError)) fail(`cannot read ${path}: ${errorCode(error)}`);
  }
  return fail(`${path} is not a cursor of audit export`, 'remove it to begin with the oldest record');
}

/** Durable when this returns: the file has these bytes or the ones before, also after a power loss. */
export function writeCursor(path: string, cursor: EventCursor): void {
  replaceDurably(path, `${JSON.stringify(cursor)}\n`, 0o600);
}

/** node_exporter's textfile collector reads `*.prom` files, as a user of its own; half a file it must never see. */
export function writeMetrics(
  path: string,
  { next, skipped, lag_records, lag_seconds, written_at }: EventCursor,
): void {
  const gauges: [string, string, number][] = [
    ['next_index', 'First record that was not exported yet', next],
    ['skipped_records', 'Records that were no longer kept when they were due', skipped],
    ['lag_records', 'Records under the checkpoint that were not exported', lag_records],
    ['lag_seconds', 'Age of the oldest record that was not exported', lag_seconds],
    ['timestamp_seconds', 'When the export last looked at the log', Date.parse(written_at) / 1000],
  ];
  const text = gauges.map(
    ([name, help, value]) =>
      `# HELP intaglio_audit_export_${name} ${help}\n# TYPE intaglio_audit_export_${name} gauge\nintaglio_audit_export_${name} ${value}\n`,
  );
  replaceDurably(path, text.join(''), 0o644);
}

function replaceDurably(path: string, text: string, mode: number): void {
  const temporary = `${path}.tmp`;
  const file = openSync(temporary, 'w', mode);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
  syncPath(dirname(path));
}
