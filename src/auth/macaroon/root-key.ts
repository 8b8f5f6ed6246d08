import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { MacKey } from '../../core/mac-key.ts';
import { errorCode, readPrivateFile, writePrivateFile } from '../../core/private-file.ts';
import { scopes } from '../../core/scope.ts';
import { judgeSecretFile, type SecretRule } from '../../core/secret-file.ts';
import { macaroonKeyOf } from './key.ts';
import { mintToken } from './mint.ts';
import {
  MemoryRootKeys,
  macaroonKeyBytes,
  openWiped,
  RootKeyFiles,
  rootKeyIds,
  rootKeyPath,
  type ServiceRootKeys,
} from './root-keys.ts';

const bootstrapName = 'bootstrap.token';

export type MacaroonKey =
  | { readonly ok: true; readonly rootKey: Uint8Array; readonly rootKeyId: number }
  /** `missing`: there is no such file. `problem` is for the operator. */
  | { readonly ok: false; readonly missing: boolean; readonly problem: string };

export type Capabilities =
  | {
      readonly ok: true;
      readonly rootKeys: ServiceRootKeys;
      /** The administrator's capability where this call made one. `path` is where it was written; undefined in amnesia mode. */
      readonly bootstrap?: { readonly token: string; readonly path: string | undefined };
      /** The directory was used before, so this call replaced a key that is lost: no capability of before is valid any more. */
      readonly replacedLost?: boolean;
    }
  | { readonly ok: false; readonly problem: string };

export function macaroonKeyPath(dataDir: string): string {
  return rootKeyPath(dataDir, 0);
}

/**
 * The macaroon root keys of a data directory. The first call makes one, and the administrator's capability (tenant
 * `default`, all scopes) in `bootstrap.token`; both are 0600 and on disk when this returns. In amnesia mode both are
 * made at every call, and the disk is not touched: the caller has to show the capability to somebody. `openKey` takes a
 * key's bytes to where they are used; here they are wiped.
 */
export function openCapabilityKeys(
  at: { readonly dataDir: string; readonly amnesia: boolean; readonly secretRule: SecretRule },
  openKey: (rootKey: Uint8Array) => MacKey = macaroonKeyOf,
): Capabilities {
  if (at.amnesia) {
    const rootKeys = new MemoryRootKeys(openKey);
    const token = bootstrapToken(rootKeys.get(0) as MacKey);
    return { ok: true, rootKeys, bootstrap: { token, path: undefined } };
  }
  const rootKeys = new RootKeyFiles(at.dataDir, at.secretRule, openKey);
  const loaded = rootKeys.reload();
  if (!loaded.ok) return loaded;
  if (rootKeys.ids.length === 0) return makeCapabilities(at.dataDir, rootKeys, openKey);
  const path = join(at.dataDir, bootstrapName);
  const problem = existsSync(path) ? judgeSecretFile(path, at.secretRule) : undefined;
  return problem === undefined ? { ok: true, rootKeys } : { ok: false, problem };
}

function makeCapabilities(
  dataDir: string,
  rootKeys: RootKeyFiles,
  openKey: (rootKey: Uint8Array) => MacKey,
): Capabilities {
  const replacedLost = existsSync(join(dataDir, 'audit.head'));
  const bytes = randomBytes(macaroonKeyBytes);
  const token = bootstrapToken(openWiped(Uint8Array.from(bytes), openKey));
  const made = writeCapabilities(dataDir, bytes, token);
  bytes.fill(0);
  if (!made.ok) return made;
  const loaded = rootKeys.reload();
  return loaded.ok ? { ok: true, rootKeys, bootstrap: { token, path: made.path }, replacedLost } : loaded;
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

/**
 * Reads the newest key, or the one with this id, without making one. Refuses a file that the rule for secrets does not
 * allow, and a wrong length.
 */
export function readMacaroonKey(dataDir: string, rule: SecretRule, id?: number): MacaroonKey {
  let rootKeyId = id;
  try {
    rootKeyId ??= rootKeyIds(dataDir).at(-1) ?? 0;
  } catch (error) {
    return { ok: false, missing: false, problem: `cannot read ${dataDir} (${errorCode(error)})` };
  }
  const read = readPrivateFile(rootKeyPath(dataDir, rootKeyId), macaroonKeyBytes, rule);
  return read.ok ? { ok: true, rootKey: read.bytes, rootKeyId } : read;
}

function bootstrapToken(rootKey: MacKey): string {
  const minted = mintToken({ rootKey, tenant: 'default', scopes });
  if (!minted.ok) throw new Error('the bootstrap capability is malformed');
  return minted.value;
}
