import { Command } from 'commander';
import { localCommands } from './token/local.ts';
import { remoteCommands } from './token/remote.ts';

/** `token mint`, `attenuate`, `inspect`, `verify`, `discharge`, `revoke`, `keys`. Standard output carries the result alone. */
export function tokenCommand(): Command {
  const command = new Command('token').description(
    'make, narrow, read, check and revoke capabilities, the tokens that callers send as Authorization: Bearer',
  );
  for (const inner of [...localCommands(), ...remoteCommands()]) command.addCommand(inner);
  return command;
}
