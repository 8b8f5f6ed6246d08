import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { scopes } from '../../core/scope.ts';
import { mintToken } from './mint.ts';

const rootKeyBytes = 32;

export type MacaroonKey =
  | { readonly ok: true; readonly rootKey: Uint8Array }
  /** `missing`: there is no such file. `problem` is for the operator. */
  | { readonly ok: false; readonly missing: boolean; readonly problem: string };

export type Capabilities =
  | {
      readonly ok: true;
      readonly rootKey: Uint8Array;
      /** The administrator's capability where this call made one. `path` is where it was written; undefined in amnesia mode. */
      readonly bootstrap?: { readonly token: string; readonly path: string | undefined };
    }
  | { readonly ok: false; readonly problem: string };

export function macaroonKeyPath(dataDir: string): string {
  return join(dataDir, 'macaroon.key');
}

/**
 * The macaroon root key of a data directory. The first call makes it, and the administrator's capability (tenant
 * `default`, all scopes) in `bootstrap.token`; both are 0600 and on disk when this returns. In amnesia mode both are
 * made at every call, and the disk is not touched: the caller has to show the capability to somebody.
 */
export function openCapabilities(at: { readonly dataDir: string; readonly amnesia: boolean }): Capabilities {
  if (at.amnesia) {
    const rootKey = randomBytes(rootKeyBytes);
    return { ok: true, rootKey, bootstrap: { token: bootstrapToken(rootKey), path: undefined } };
  }
  const read = readMacaroonKey(at.dataDir);
  if (read.ok || !read.missing) return read;

  const rootKey = randomBytes(rootKeyBytes);
  const token = bootstrapToken(rootKey);
  const path = join(at.dataDir, 'bootstrap.token');
  try {
    mkdirSync(at.dataDir, { recursive: true, mode: 0o700 });
    // The capability first: a crash between the two leaves no key, and the next start makes both again. The other way
    // round a crash would leave a service that nobody can talk to. A capability that was removed later stays removed.
    writePrivateFile(path, `${token}\n`, 'replace');
    writePrivateFile(macaroonKeyPath(at.dataDir), rootKey, 'create');
  } catch (error) {
    return { ok: false, problem: `cannot make the macaroon key in the data directory (${errorCode(error)})` };
  }
  return { ok: true, rootKey, bootstrap: { token, path } };
}

/** Reads the key, without making one. Refuses a file that others may read, a link, and a wrong length. */
export function readMacaroonKey(dataDir: string): MacaroonKey {
  const path = macaroonKeyPath(dataDir);
  const refused = (problem: string) =>
    ({ ok: false, missing: false, problem: `${path} ${problem}` }) as const;
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT') return { ok: false, missing: true, problem: `there is no ${path}` };
    return refused(`cannot be opened (${code === 'ELOOP' ? 'it is a symbolic link' : code})`);
  }
  try {
    const { mode, size } = fstatSync(file);
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) return refused('is not a regular file');
    if ((mode & 0o077) !== 0) return refused('may be read by others; run chmod 600 on it');
    if (size !== rootKeyBytes) return refused(`must hold exactly ${rootKeyBytes} bytes`);
    const rootKey = readFileSync(file);
    return rootKey.length === rootKeyBytes ? { ok: true, rootKey } : refused('changed while it was read');
  } catch (error) {
    return refused(`cannot be read (${errorCode(error)})`);
  } finally {
    closeSync(file);
  }
}

function bootstrapToken(rootKey: Uint8Array): string {
  const minted = mintToken({ rootKey, tenant: 'default', scopes });
  if (!minted.ok) throw new Error('the bootstrap capability is malformed');
  return minted.value;
}

/**
 * Whole or not at all, and on disk when it returns: written beside, synced, and given its name. `create` fails with
 * EEXIST where the name is taken, and never writes through a link.
 */
function writePrivateFile(path: string, content: string | Uint8Array, how: 'create' | 'replace'): void {
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
  const directory = openSync(dirname(path), constants.O_RDONLY);
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}
