import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { judgeSecretFile, ownerAndMode, type SecretRule } from './secret-file.ts';

export type PrivateFile =
  | { readonly ok: true; readonly bytes: Uint8Array }
  /** `missing`: there is no such file. `problem` is for the operator. */
  | { readonly ok: false; readonly missing: boolean; readonly problem: string };

/** Reads a secret of exactly `length` bytes. Refuses a file that the rule for secrets does not allow, and a wrong length. */
export function readPrivateFile(path: string, length: number, rule: SecretRule): PrivateFile {
  const refused = (problem: string) =>
    ({ ok: false, missing: false, problem: `${path} ${problem}` }) as const;
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = errorCode(error);
    if (code !== 'ENOENT') {
      const stat = statSync(path, { throwIfNoEntry: false });
      return refused(`cannot be opened: ${code}${stat === undefined ? '' : ` ${ownerAndMode(stat)}`}`);
    }
    if (isDangling(path)) return refused('is a symbolic link to a file that is missing');
    return { ok: false, missing: true, problem: `there is no ${path}` };
  }
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) return refused('is not a regular file');
    const problem = judgeSecretFile(path, rule, stat);
    if (problem !== undefined) return { ok: false, missing: false, problem };
    if (stat.size !== length) return refused(`must hold exactly ${length} bytes`);
    const bytes = readFileSync(file);
    if (bytes.length === length) return { ok: true, bytes };
    bytes.fill(0);
    return refused('changed while it was read');
  } catch (error) {
    return refused(`cannot be read (${errorCode(error)})`);
  } finally {
    closeSync(file);
  }
}

/** Settings, policies, key sets and certificates of a service have a hundredth of it. */
const maxRegularBytes = 16 * 1024 * 1024;

/**
 * The bytes of a regular file. Of nothing else: opening a pipe holds the thread up until somebody writes, and a device may have no
 * end. Throws as readFileSync does, with a `code` that says what it is instead.
 */
export function readRegularFile(path: string): Buffer {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(file);
    const refused = (code: string) => Object.assign(new Error(`${path}: ${code}`), { code });
    if (stat.isDirectory()) throw refused('EISDIR');
    if (!stat.isFile()) throw refused('no regular file');
    if (stat.size > maxRegularBytes) throw refused(`more than ${maxRegularBytes} bytes`);
    return readFileSync(file);
  } finally {
    closeSync(file);
  }
}

/** A link to nothing, which is no reason to make a new secret: the mount may come later. */
export function isDangling(path: string): boolean {
  return !existsSync(path) && lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
}

/**
 * Whole or not at all, and on disk when it returns: written beside, synced, and given its name. `create` fails with
 * EEXIST where the name is taken, and never writes through a link.
 */
export function writePrivateFile(
  path: string,
  content: string | Uint8Array,
  how: 'create' | 'replace',
): void {
  const beside = `${path}.${randomBytes(6).toString('hex')}.new`;
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const file = openSync(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    writeFileSync(file, content);
    fsyncSync(file);
    if (how === 'create') linkSync(beside, path);
    else renameSync(beside, path);
  } finally {
    closeSync(file);
    rmSync(beside, { force: true });
  }
  syncPath(dirname(path));
}

/** What a file or a directory holds is on the disk when it returns. */
export function syncPath(path: string): void {
  const descriptor = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}
