import { Command } from 'commander';
import { manifest, ownCommand, startCommand } from '../core/own-package.ts';
import { openSystemCalls } from '../engine/system-calls.ts';
import { limitExit } from './exit-limit.ts';
import { failOnSystemErrors } from './fail.ts';

interface Group {
  readonly names: readonly string[];
  load(): Promise<readonly Command[]>;
}

/** In the order of the help. A command loads the files of its own group, as most take longer to load than to run. */
const groups: readonly Group[] = [
  { names: ['serve'], load: async () => [(await import('./serve.ts')).serveCommand()] },
  {
    names: ['serve-dek'],
    load: async () => [(await import('./dek/serve-dek.ts')).serveDekCommand()],
  },
  { names: ['health'], load: async () => [(await import('./health.ts')).healthCommand()] },
  { names: ['token'], load: async () => [(await import('./token.ts')).tokenCommand()] },
  { names: ['approve'], load: async () => [(await import('./token/approve.ts')).approveCommand()] },
  { names: ['config'], load: async () => [(await import('./config.ts')).configCommand()] },
  { names: ['audit'], load: async () => [(await import('./audit.ts')).auditCommand()] },
  {
    names: ['receipt'],
    load: async () => [(await import('./client/receipt.ts')).receiptCommand()],
  },
  { names: ['root'], load: async () => [(await import('./root.ts')).rootCommand()] },
  { names: ['store'], load: async () => [(await import('./store.ts')).storeCommand()] },
  { names: ['backup'], load: async () => [(await import('./backup.ts')).backupCommand()] },
  { names: ['dek'], load: async () => [(await import('./dek/commands.ts')).dekCommand()] },
  { names: ['witness'], load: async () => [(await import('./witness.ts')).witnessCommand()] },
  { names: ['version'], load: async () => [(await import('./version.ts')).versionCommand()] },
  {
    names: ['keys', 'sign', 'verify', 'encrypt', 'decrypt', 'wrap', 'unwrap', 'derive', 'attest', 'status'],
    load: async () => (await import('./client/commands.ts')).clientCommands(),
  },
  {
    names: ['completion'],
    load: async () => [(await import('./client/completion.ts')).completionCommand(() => program)],
  },
];

const program = new Command('intaglio')
  .description('Keys and signatures for callers who count microseconds.')
  .version(manifest.version, '--version', 'print the version')
  // `attest` and `attest verify` have options of the same names: what comes after a command is its own.
  .enablePositionalOptions();
// Help, completion and the nearest name to a wrong one want them all.
const wanted = groups.filter(({ names }) => names.includes(process.argv[2] ?? ''));
const alone = wanted.length === 1 && process.argv[2] !== 'completion';
for (const { load } of alone ? wanted : groups)
  for (const command of await load()) program.addCommand(command);
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

/** They have a setting for core dumps. */
const services: ReadonlySet<string> = new Set(['serve', 'serve-dek']);

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

/** After the last line that a command writes. Joining threads and freeing the heap take some 10 ms, on a busy machine a second. */
const exitLimitMs = 5_000;

pointToHelp(program);
refuseRepeated(program);
// Most commands hold a capability or a key for a moment, and a witness its keys. `serve` has a setting for this.
program.hook('preAction', (_, command) => {
  limitExit(exitLimitMs);
  if (command.parent === program && services.has(command.name())) return;
  openSystemCalls().forbidCoreDumps();
  failOnSystemErrors();
});
await program.parseAsync();
