import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { MacKey } from '../../core/mac-key.ts';
import { errorCode, readPrivateFile, writePrivateFile } from '../../core/private-file.ts';
import { scopes } from '../../core/scope.ts';
import { judgeSecretFile, type SecretRule } from '../../core/secret-file.ts';
import { macaroonKeyOf } from './key.ts';
import { mintToken } from './mint.ts';

const rootKeyBytes = 32;
const bootstrapName = 'bootstrap.token';

export type MacaroonKey =
  | { readonly ok: true; readonly rootKey: Uint8Array }
  /** `missing`: there is no such file. `problem` is for the operator. */
  | { readonly ok: false; readonly missing: boolean; readonly problem: string };

export type Capabilities =
  | {
      readonly ok: true;
      readonly rootKey: MacKey;
      /** The administrator's capability where this call made one. `path` is where it was written; undefined in amnesia mode. */
      readonly bootstrap?: { readonly token: string; readonly path: string | undefined };
      /** The directory was used before, so this call replaced a key that is lost: no capability of before is valid any more. */
      readonly replacedLost?: boolean;
    }
  | { readonly ok: false; readonly problem: string };

export function macaroonKeyPath(dataDir: string): string {
  return join(dataDir, 'macaroon.key');
}

/**
 * The macaroon root key of a data directory. The first call makes it, and the administrator's capability (tenant
 * `default`, all scopes) in `bootstrap.token`; both are 0600 and on disk when this returns. In amnesia mode both are
 * made at every call, and the disk is not touched: the caller has to show the capability to somebody. `openKey` takes the
 * key's bytes to where they are used; here they are wiped.
 */
export function openCapabilities(
  at: { readonly dataDir: string; readonly amnesia: boolean; readonly secretRule: SecretRule },
  openKey: (rootKey: Uint8Array) => MacKey = macaroonKeyOf,
): Capabilities {
  const read = at.amnesia ? undefined : readMacaroonKey(at.dataDir, at.secretRule);
  if (read?.ok === false && !read.missing) return read;
  const path = join(at.dataDir, bootstrapName);
  if (read?.ok && existsSync(path)) {
    const problem = judgeSecretFile(path, at.secretRule);
    if (problem !== undefined) return { ok: false, problem };
  }
  const bytes = read?.ok ? read.rootKey : randomBytes(rootKeyBytes);
  try {
    // V8 puts arrays of 64 bytes or less on its heap, and leaves their bytes there when native code asks for them; those
    // that are made over an ArrayBuffer are never there.
    const copy = new Uint8Array(new ArrayBuffer(rootKeyBytes));
    copy.set(bytes);
    const rootKey = openKey(copy);
    copy.fill(0);
    if (read?.ok) return { ok: true, rootKey };
    const token = bootstrapToken(rootKey);
    if (at.amnesia) return { ok: true, rootKey, bootstrap: { token, path: undefined } };
    const replacedLost = existsSync(join(at.dataDir, 'audit'));
    const made = writeCapabilities(at.dataDir, bytes, token);
    if (!made.ok) return made;
    return { ok: true, rootKey, bootstrap: { token, path: made.path }, replacedLost };
  } finally {
    bytes.fill(0);
  }
}

function writeCapabilities(
  dataDir: string,
  rootKey: Uint8Array,
  token: string,
): { readonly ok: true; readonly path: string } | { readonly ok: false; readonly problem: string } {
  const path = join(dataDir, bootstrapName);
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    // The capability first: a crash between the two leaves no key, and the next start makes both again. The other way
    // round a crash would leave a service that nobody can talk to. A capability that was removed later stays removed.
    writePrivateFile(path, `${token}\n`, 'replace');
    writePrivateFile(macaroonKeyPath(dataDir), rootKey, 'create');
  } catch (error) {
    return { ok: false, problem: `cannot make the macaroon key in the data directory (${errorCode(error)})` };
  }
  return { ok: true, path };
}

/** Reads the key, without making one. Refuses a file that the rule for secrets does not allow, and a wrong length. */
export function readMacaroonKey(dataDir: string, rule: SecretRule): MacaroonKey {
  const read = readPrivateFile(macaroonKeyPath(dataDir), rootKeyBytes, rule);
  return read.ok ? { ok: true, rootKey: read.bytes } : read;
}

function bootstrapToken(rootKey: MacKey): string {
  const minted = mintToken({ rootKey, tenant: 'default', scopes });
  if (!minted.ok) throw new Error('the bootstrap capability is malformed');
  return minted.value;
}
