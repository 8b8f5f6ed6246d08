import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { readPrivateFile, writePrivateFile } from '../../core/private-file.ts';
import type { SecretRule } from '../../core/secret-file.ts';
import { StartError } from '../../core/start-error.ts';
import {
  headText,
  type Line,
  lineKeyBytes,
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
  const file = openSync(join(directory, lineFiles.log), 'a+', 0o600);
  const head = openSync(
    join(directory, lineFiles.head),
    existsSync(join(directory, lineFiles.head)) ? 'r+' : 'w+',
    0o600,
  );
  let last = lastOf(file, key, readLineHead(key, readFileSync(head, 'latin1')), report);
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

export function keyAt(path: string, rule: SecretRule): Uint8Array {
  const read = readPrivateFile(path, lineKeyBytes, rule);
  if (read.ok) return read.bytes;
  if (!read.missing) throw new StartError(read.problem);
  const key = randomBytes(lineKeyBytes);
  writePrivateFile(path, key, 'create');
  return key;
}

function lastOf(
  file: number,
  key: Uint8Array,
  head: Line | undefined,
  report: (problem: string) => void,
): Line {
  const { size } = fstatSync(file);
  const tail = Buffer.alloc(Math.min(size, 2 * maxLineBytes));
  readSync(file, tail, 0, tail.length, size - tail.length);
  const end = tail.lastIndexOf(0x0a) + 1;
  // A kill has left half a line; its record is on the audit log, and comes again.
  if (end < tail.length) ftruncateSync(file, size - tail.length + end);
  const begin = end === 0 ? 0 : tail.lastIndexOf(0x0a, end - 2) + 1;
  const read = end === 0 ? undefined : readLine(key, tail.subarray(begin, end - 1).toString());
  const found = read === undefined ? noLine : read.ok ? read.line : undefined;
  if (found === undefined) report('the last line of kms-audit.log was not written by this service');
  const newest = found ?? head ?? noLine;
  if (head !== undefined && newest.n < head.n)
    report(
      `lines ${newest.n + 1} to ${head.n} of kms-audit.log are missing: they are written again from the audit log`,
    );
  return newest;
}
