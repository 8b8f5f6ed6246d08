import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { StartError } from '../../core/start-error.ts';
import { RootKeyError } from '../../custody/root-key/source.ts';
import { rootSourcesName } from '../../custody/root-key/sources-file.ts';

export interface DekPlace {
  readonly dataDir: string;
  readonly config?: string | undefined;
}

/** A StartError in the words of `--config`: whoever gave no file, or another one, has lost nothing. */
export function inWordsOfConfig(cause: StartError, { dataDir, config }: DekPlace): string {
  const { message } = cause;
  if (!(cause instanceof RootKeyError)) return message;
  const hasOwnKey = ['root.key', rootSourcesName].some((name) => existsSync(join(dataDir, name)));
  if (config === undefined)
    return hasOwnKey || cause.reason === 'another'
      ? message
      : `${message}; a directory that was made with --config opens with that configuration alone`;
  return hasOwnKey
    ? `${message}: either ${dataDir} was made without --config, so start it without, or ${config} has another master key`
    : `${message}: ${config} has another master key than ${dataDir}; give the file of before (intaglio dek reseal changes the key)`;
}
