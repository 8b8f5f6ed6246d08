import { Command } from 'commander';
import { ownCommand } from '../../core/own-package.ts';
import { fail } from '../fail.ts';
import { type ServiceAddress, withServiceAddress } from '../service-client.ts';
import { askService } from './ask-service.ts';

interface Options extends ServiceAddress {
  reason?: string;
  approval?: string;
  pending?: true;
  tokenFile: string;
}

export function acceptCommand(): Command {
  const command = new Command('accept')
    .description(
      'after an integrity failure: two people accept the loss, and the next epoch of the log starts under a new origin',
    )
    .option(
      '--reason <text>',
      'the first approver: why, for the record that begins the epoch; at most 500 characters',
    )
    .option('--approval <id>', 'the second approver: confirms what the first one was answered')
    .option('--pending', 'shows the failure, and which approvals wait for a second approver');
  return withServiceAddress(command)
    .requiredOption('--token-file <file>', 'a file with a capability of your own for kms:admin')
    .addHelpText(
      'after',
      `
Each approver uses a capability of their own; capabilities attenuated from one are one. An approval waits 15 minutes for
the second approver, in the memory of the service, and is for the failure that was there when it was given.

The old epoch stays as it is, for whoever looks into it. The new one's first record has its origin, size, root, the hash
of the evidence, and both approvers. Make sure that both epochs' checkpoints reach the people who verify the log.

Example:
  alice:  ${ownCommand} audit accept --reason "disk replaced, ticket 4711" --token-file alice.token
  bob:    ${ownCommand} audit accept --pending --token-file bob.token
          ${ownCommand} audit accept --approval 5f0c1d2e3a4b5c6d --token-file bob.token`,
    )
    .action(accept);
}

async function accept({ reason, approval, pending, tokenFile, ...address }: Options): Promise<void> {
  if ([reason, approval, pending].filter((given) => given !== undefined).length !== 1)
    fail('give exactly one of --reason (first approver), --approval (second approver) and --pending');
  const body = pending === true ? undefined : { reason, approval };
  const { status, text } = await askService(address, '/v1/kms/audit/accept', tokenFile, body);
  process.stdout.write(text);
  if (status === 202)
    process.stderr.write(
      'nothing is accepted yet: another approver has to confirm, with --approval and the id above\n',
    );
}
