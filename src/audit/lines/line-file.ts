import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readSync,
  type Stats,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { errorCode, readPrivateFile, writePrivateFile } from '../../core/private-file.ts';
import type { SecretRule } from '../../core/secret-file.ts';
import { StartError } from '../../core/start-error.ts';
import {
  headBytes,
  headText,
  type Line,
  type LineKey,
  type LoggedRecord,
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
  /**
   * Opens the files anew where somebody else removed, replaced or changed them: `last` is then what is there. Throws where they
   * cannot be opened or written; the next call tries it again.
   */
  look(): void;
  /** All of them or, where it throws, perhaps a part, which the next `look` puts right. */
  append(records: readonly LoggedRecord[]): void;
  close(): void;
}

export const lineFiles = { log: 'kms-audit.log', key: 'kms-audit.key', head: 'kms-audit.head' } as const;

/** Throws a StartError. `report`: for the operator, what was found of an earlier end, or that others change the files. */
export function openLineFile(
  directory: string,
  rule: SecretRule,
  report: (problem: string) => void,
): LineFile {
  const key = keyAt(join(directory, lineFiles.key), rule);
  const paths = { log: join(directory, lineFiles.log), head: join(directory, lineFiles.head) };
  let opened: Opened | undefined = openAll(paths, key, report);
  const writeHead = (files: Opened) => {
    const text = headText(key, files.last);
    if (writeSync(files.head, text, 0) !== text.length) throw new Error(`${paths.head} was not written`);
    files.inHead = files.last.hmac;
  };
  const closeAll = () => {
    if (opened === undefined) return;
    closeSync(opened.log);
    closeSync(opened.head);
    opened = undefined;
  };
  return {
    get last() {
      return opened?.last ?? noLine;
    },
    look() {
      if (opened !== undefined && !isAsLeft(opened, paths)) {
        report('kms-audit.log or kms-audit.head was removed, replaced or changed by somebody else');
        closeAll();
      }
      opened ??= openAll(paths, key, report);
      if (opened.inHead !== opened.last.hmac) writeHead(opened);
    },
    append(records) {
      if (records.length === 0) return;
      if (opened === undefined || fstatSync(opened.log).size !== opened.bytes)
        throw new Error(`somebody else changes ${paths.log}`);
      let newest = opened.last;
      let text = '';
      for (const each of records) {
        const line = lineOf(key, newest, each);
        text += line.text;
        newest = line;
      }
      const bytes = Buffer.from(text);
      try {
        for (let at = 0; at < bytes.length; ) at += writeSync(opened.log, bytes, at);
      } catch (cause) {
        // Half a line would be glued to the next one. Where this fails as well the next look finds it.
        ftruncateSync(opened.log, opened.bytes);
        throw cause;
      }
      opened.bytes += bytes.length;
      opened.last = newest;
      writeHead(opened);
    },
    close: closeAll,
  };
}

interface Opened {
  readonly log: number;
  readonly head: number;
  last: Line;
  /** Of the log, as we left it. */
  bytes: number;
  /** The hmac of the line that is in the head; undefined: of none that we wrote. */
  inHead: string | undefined;
}

type Paths = Readonly<Record<'log' | 'head', string>>;

function openAll(paths: Paths, key: LineKey, report: (problem: string) => void): Opened {
  const log = openOwn(paths.log, constants.O_APPEND);
  let head: number | undefined;
  try {
    head = openOwn(paths.head, 0);
    if (isSameFile(fstatSync(log), fstatSync(head)))
      throw new StartError(`${paths.log} and ${paths.head} are one file`);
    const line = headIn(head, key);
    if (line === undefined && fstatSync(head).size > 0) {
      report('kms-audit.head was not written by this service');
      // What somebody put behind it would stay there, and no head of ours be read again.
      ftruncateSync(head, 0);
    }
    const last = lastOf(log, key, line, report);
    // None is there before the first line.
    const inHead = line?.hmac ?? (last === noLine ? noLine.hmac : undefined);
    return { log, head, last, bytes: fstatSync(log).size, inHead };
  } catch (cause) {
    closeSync(log);
    if (head !== undefined) closeSync(head);
    throw cause;
  }
}

function isSameFile(one: Stats, other: Stats): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}

/** The names lead to our files, and nobody has made the log longer or shorter, or the head longer. */
function isAsLeft({ log, head, bytes }: Opened, paths: Paths): boolean {
  const isAt = (file: number, path: string) => {
    const [own, found] = [fstatSync(file), lstatSync(path, { throwIfNoEntry: false })];
    return found !== undefined && isSameFile(found, own);
  };
  if (!isAt(log, paths.log) || !isAt(head, paths.head)) return false;
  return fstatSync(log).size === bytes && fstatSync(head).size <= headBytes;
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
