import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode, readPrivateFile, writePrivateFile } from '../../core/private-file.ts';
import type { SecretRule } from '../../core/secret-file.ts';
import { StartError } from '../../core/start-error.ts';
import {
  headBytes,
  headText,
  type Line,
  type LineKey,
  lineKeyBytes,
  lineKeyOf,
  lineOf,
  maxLineBytes,
  noLine,
  readLine,
  readLineHead,
} from './line.ts';

/** `kms-audit.log` of a data directory, with its key and its head beside it. */
export interface LineFile {
  /** The newest line. */
  readonly last: Line;
  /** All of them or, where it throws, perhaps a part: the next call writes behind what is whole. */
  append(records: readonly { readonly index: number; readonly record: unknown }[]): void;
  close(): void;
}

export const lineFiles = { log: 'kms-audit.log', key: 'kms-audit.key', head: 'kms-audit.head' } as const;

/** Throws a StartError. `report`: for the operator, what was found of an earlier end. */
export function openLineFile(
  directory: string,
  rule: SecretRule,
  report: (problem: string) => void,
): LineFile {
  const key = keyAt(join(directory, lineFiles.key), rule);
  const file = openOwn(join(directory, lineFiles.log), constants.O_APPEND);
  const head = openOwn(join(directory, lineFiles.head), 0);
  let last = lastOf(file, key, headIn(head, key), report);
  return {
    get last() {
      return last;
    },
    append(records) {
      if (records.length === 0) return;
      const before = fstatSync(file).size;
      let newest = last;
      let text = '';
      for (const { index, record } of records) {
        const line = lineOf(key, newest, index, record);
        text += line.text;
        newest = line;
      }
      const bytes = Buffer.from(text);
      try {
        for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
      } catch (cause) {
        // Half a line would be glued to the next one.
        ftruncateSync(file, before);
        throw cause;
      }
      last = newest;
      writeSync(head, headText(key, last), 0);
    },
    close() {
      closeSync(file);
      closeSync(head);
    },
  };
}

/** Throws a StartError: of a link, which could lead anywhere, and of a pipe, whose reader could hold the service up. */
function openOwn(path: string, flags: number): number {
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  let file: number;
  try {
    file = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | flags, 0o600);
  } catch (cause) {
    const code = errorCode(cause);
    throw new StartError(`${path} ${code === 'ELOOP' ? 'is a symbolic link' : `cannot be opened (${code})`}`);
  }
  if (fstatSync(file).isFile()) return file;
  closeSync(file);
  throw new StartError(`${path} is not a regular file`);
}

function headIn(head: number, key: LineKey): Line | undefined {
  const bytes = Buffer.alloc(headBytes + 1);
  const length = readSync(head, bytes, 0, bytes.length, 0);
  return readLineHead(key, bytes.toString('latin1', 0, length));
}

export function keyAt(path: string, rule: SecretRule): LineKey {
  const read = readPrivateFile(path, lineKeyBytes, rule);
  if (read.ok) return lineKeyOf(read.bytes);
  if (!read.missing) throw new StartError(read.problem);
  const key = randomBytes(lineKeyBytes);
  writePrivateFile(path, key, 'create');
  return lineKeyOf(key);
}

function lastOf(file: number, key: LineKey, head: Line | undefined, report: (problem: string) => void): Line {
  const end = endOfLines(file);
  // A kill has left half a line; its record is on the audit log, and comes again.
  ftruncateSync(file, end.at);
  const { tail } = end;
  const begin = tail.length < 2 ? 0 : tail.lastIndexOf(0x0a, tail.length - 2) + 1;
  const read = tail.length === 0 ? undefined : readLine(key, tail.subarray(begin, -1).toString());
  const found = read === undefined ? noLine : read.ok ? read.line : undefined;
  if (found === undefined) report('the last line of kms-audit.log was not written by this service');
  const newest = found ?? head ?? noLine;
  if (head !== undefined && newest.n < head.n)
    report(
      `lines ${newest.n + 1} to ${head.n} of kms-audit.log are missing: they are written again from the audit log`,
    );
  return newest;
}

/** Behind the last line end, and the bytes before it, one line at least where it is not too long to be one. */
function endOfLines(file: number): { readonly at: number; readonly tail: Buffer } {
  const tail = Buffer.alloc(2 * maxLineBytes);
  for (let to = fstatSync(file).size; to > 0; ) {
    const from = Math.max(0, to - tail.length);
    const read = readSync(file, tail, 0, to - from, from);
    const end = tail.subarray(0, read).lastIndexOf(0x0a) + 1;
    if (end > 0) {
      const at = from + end;
      const length = Math.min(at, tail.length);
      return { at, tail: tail.subarray(0, readSync(file, tail, 0, length, at - length)) };
    }
    to = from;
  }
  return { at: 0, tail: tail.subarray(0, 0) };
}
