import { Command } from 'commander';
import { manifest, ownCommand, startCommand } from '../core/own-package.ts';
import { openSystemCalls } from '../engine/system-calls.ts';
import { auditCommand } from './audit.ts';
import { backupCommand } from './backup.ts';
import { clientCommands } from './client/commands.ts';
import { configCommand } from './config.ts';
import { failOnSystemErrors } from './fail.ts';
import { healthCommand } from './health.ts';
import { rootCommand } from './root.ts';
import { serveCommand } from './serve.ts';
import { storeCommand } from './store.ts';
import { approveCommand } from './token/approve.ts';
import { tokenCommand } from './token.ts';
import { versionCommand } from './version.ts';
import { witnessCommand } from './witness.ts';

const program = new Command('intaglio')
  .description('Keys and signatures for callers who count microseconds.')
  .version(manifest.version, '--version', 'print the version')
  // `attest` and `attest verify` have options of the same names: what comes after a command is its own.
  .enablePositionalOptions()
  .addCommand(serveCommand())
  .addCommand(healthCommand())
  .addCommand(tokenCommand())
  .addCommand(approveCommand())
  .addCommand(configCommand())
  .addCommand(auditCommand())
  .addCommand(rootCommand())
  .addCommand(storeCommand())
  .addCommand(backupCommand())
  .addCommand(witnessCommand())
  .addCommand(versionCommand());
for (const command of clientCommands(() => program)) program.addCommand(command);
program.addHelpText(
  'after',
  `
Examples:
  ${startCommand.padEnd(ownCommand.length + 36)} serve on 127.0.0.1:7441 with the data in ./data
  ${ownCommand} token mint --tenant acme --scope kms:sign,kms:verify --expires 1h
  ${ownCommand} keys create --purpose demo --alg ml-dsa-65 --token-file data/bootstrap.token
  ${ownCommand} config print                        what the settings come to
  ${ownCommand} audit verify data/audit --keys audit.vkeys`,
);

// Commands that were made apart do not inherit this.
function pointToHelp(command: Command): void {
  command.showHelpAfterError('(add --help for what is accepted)');
  for (const inner of command.commands) pointToHelp(inner);
}

/** Of an option that takes one value, a second one would silently win. Lists have parsers of their own, which collect. */
function refuseRepeated(command: Command): void {
  for (const option of command.options) {
    if (option.parseArg !== undefined || option.variadic) continue;
    let given = false;
    command.on(`option:${option.name()}`, () => {
      if (given) command.error(`error: ${option.long ?? option.flags} is given twice`);
      given = true;
    });
  }
  for (const inner of command.commands) refuseRepeated(inner);
}

pointToHelp(program);
refuseRepeated(program);
// Most commands hold a capability or a key for a moment, and a witness its keys. `serve` has a setting for this.
program.hook('preAction', (_, command) => {
  if (command.parent === program && command.name() === 'serve') return;
  openSystemCalls().forbidCoreDumps();
  failOnSystemErrors();
});
await program.parseAsync();
