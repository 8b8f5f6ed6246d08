import type { Command } from 'commander';
import type { Config } from '../../config/load.ts';
import { settingsOrFail } from '../settings.ts';

export interface DataDirOption {
  readonly dataDir?: string;
}

export function dataDirOf(command: Command): Command {
  return command.option('--data-dir <directory>', 'of the service (default: as KMS_DATA_DIR says)');
}

export function configOf({ dataDir }: DataDirOption): Config {
  return settingsOrFail(dataDir === undefined ? [] : ['--data-dir', dataDir]).config;
}
