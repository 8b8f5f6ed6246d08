import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { macaroonSalt } from '../auth/macaroon/key.ts';
import { macaroonKeyPath, openCapabilityKeys } from '../auth/macaroon/root-key.ts';
import { noRootKeys, type ServiceRootKeys } from '../auth/macaroon/root-keys.ts';
import type { Config } from '../config/load.ts';
import { errorCode } from '../core/private-file.ts';
import { judgeSecretDirectory, type SecretRule } from '../core/secret-file.ts';
import { StartError } from '../core/start-error.ts';
import type { Engine } from '../engine/engine.ts';
import type { Logger } from '../observe/log.ts';

function secretRuleOf({ groupReadableSecrets }: Config): SecretRule {
  return { groupAllowed: groupReadableSecrets };
}

/** A folder in a data directory whose restore is not finished. */
export const restoringName = '.restoring';

/** Of a restore that was cut off nothing may be read yet. Throws a StartError. */
export function requireRestored({ amnesia, dataDir }: Config): void {
  if (amnesia || !existsSync(join(dataDir, restoringName))) return;
  throw new StartError(
    `a restore of ${dataDir} was interrupted: run the same intaglio backup restore again, which finishes it or begins anew`,
  );
}

/** Before anything is put there: made where it is missing, and refused where others may write into it. */
export function openDataDir(config: Config): void {
  if (config.amnesia) return;
  openDirectory('data', config.dataDir, config);
  // In the data directory the log makes its own.
  const apart = resolve(config.auditDir) !== resolve(config.dataDir, 'audit');
  if (config.audit === 'on' && apart) openDirectory('audit', config.auditDir, config);
}

function openDirectory(what: string, directory: string, config: Config): void {
  if (existsSync(directory)) {
    if (!statSync(directory).isDirectory())
      throw new StartError(`the ${what} directory ${directory} is no directory`);
    const problem = judgeSecretDirectory(directory, secretRuleOf(config));
    if (problem !== undefined) throw new StartError(problem);
    return;
  }
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new StartError(
      `the ${what} directory ${directory} cannot be made (${errorCode(cause)}): make it, with the service's user as its owner`,
      { cause },
    );
  }
}

/**
 * The keys that capabilities are made with, and the administrator's where only memory holds it. Where no capability counts no file
 * is made, and one that is there is not read.
 */
export function openMacaroons(
  config: Config,
  log: Logger,
  { engine, withoutCapabilities }: { readonly engine: Engine; readonly withoutCapabilities: boolean },
): { readonly rootKeys: ServiceRootKeys; readonly administratorToken: string | undefined } {
  if (withoutCapabilities) return { rootKeys: noRootKeys, administratorToken: undefined };
  const { dataDir, amnesia } = config;
  const openKey = (rootKey: Uint8Array) => engine.macKey(engine.extractMacKey(rootKey, macaroonSalt));
  const capabilities = openCapabilityKeys({ dataDir, amnesia, secretRule: secretRuleOf(config) }, openKey);
  if (!capabilities.ok) throw new StartError(capabilities.problem);
  const { rootKeys, bootstrap, replacedLost } = capabilities;
  if (replacedLost === true) {
    log.warn(
      { path: macaroonKeyPath(config.dataDir) },
      'MADE A NEW MACAROON KEY IN PLACE OF ONE THAT IS MISSING: no capability minted before is valid any more; put the old file back, or mint them again. A directory of serve-dek never had one',
    );
  }
  // One that lies in its file is not kept here.
  return { rootKeys, administratorToken: bootstrap?.path === undefined ? bootstrap?.token : undefined };
}
