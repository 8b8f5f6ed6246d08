import { Command } from 'commander';
import { ownCommand } from '../../core/own-package.ts';
import { type ServiceAddress, withServiceAddress } from '../service-client.ts';
import { askService } from './ask-service.ts';

interface Options extends ServiceAddress {
  tokenFile: string;
}

export function rotateKeysCommand(): Command {
  const command = new Command('rotate-keys').description(
    'replace the keys that sign the checkpoints; who trusts the old ones comes to trust the new ones',
  );
  return withServiceAddress(command)
    .requiredOption('--token-file <file>', "a file with a capability of the operator's tenant for kms:admin")
    .addHelpText(
      'after',
      `
The log announces the new keys under a checkpoint of the old ones. Then both sign for KMS_AUDIT_KEY_OVERLAP_MS, and then
the old ones are destroyed. Give the new keys (they are printed) to the witnesses before that; audit verify finds them by
itself from the old ones.

Example:
  ${ownCommand} audit rotate-keys --token-file admin.token`,
    )
    .action(async ({ tokenFile, ...address }: Options) => {
      const { text } = await askService(address, '/v1/kms/audit/rotate-keys', tokenFile, {});
      process.stdout.write(text);
    });
}
