import { Command } from 'commander';
import { manifest, ownCommand } from '../core/own-package.ts';
import { nativeEngineProblem } from '../engine/native/index.ts';
import { buildVersion } from '../observe/build-version.ts';

/** `version`: the version with its commit, and what it runs on here. */
export function versionCommand(): Command {
  return new Command('version')
    .description('print the version with its commit, the engine that `auto` takes here, and Node')
    .addHelpText('after', `\nExample:\n  ${ownCommand} version`)
    .action(() => {
      const problem = nativeEngineProblem();
      const lines = [
        `${manifest.name} ${buildVersion(manifest.version)}`,
        `engine ${problem === undefined ? 'native' : `openssl (${problem})`}`,
        `node ${process.version} ${process.platform}-${process.arch}`,
      ];
      process.stdout.write(`${lines.join('\n')}\n`);
    });
}
