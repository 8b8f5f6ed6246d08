/**
 * `npm run aws:moto`: the KMS of moto (PyPI), which others wrote by the documents of AWS, holds the contract of a cloud KMS. Needs
 * Python 3 with venv, and PyPI. `npm test` has a fake of our own, which has faults that moto lacks.
 */
import {
  CreateKeyCommand,
  DisableKeyCommand,
  EnableKeyCommand,
  KMSClient,
  ScheduleKeyDeletionCommand,
} from '@aws-sdk/client-kms';
import { awsProvider } from '../../../src/custody/root-key/aws/index.ts';
import { cloudRootContract } from '../../contracts/cloud-root.ts';
import { hasPython, pythonTool } from '../../drill/python-tool.ts';
import type { CloudKey, CloudServer } from '../../support/cloud/server.ts';
import { startEmulator } from './emulator.ts';

/** The program `moto_server` of an installation that is there. */
const installed = process.env.MOTO_SERVER;
const region = 'eu-central-1';
const credentials = { accessKeyId: 'AKIAMOTO', secretAccessKey: 'moto' };

async function startMoto(): Promise<CloudServer<'aws'>> {
  const program = installed ?? pythonTool('moto[kms,server]', 'moto_server');
  const moto = await startEmulator(program, (port) => ['--host', '127.0.0.1', '--port', String(port)]);
  const { endpoint } = moto;
  const client = new KMSClient({ region, endpoint, credentials });
  const named = (key: string): CloudKey<'aws'> => ({
    ...{ kind: 'aws', key, endpoint, algorithm: 'SYMMETRIC_DEFAULT' },
  });
  return {
    kind: 'aws',
    async newKey() {
      const { KeyMetadata } = await client.send(new CreateKeyCommand({}));
      return named(KeyMetadata?.Arn ?? '');
    },
    missingKey: () => named(`arn:aws:kms:${region}:123456789012:key/00000000-0000-0000-0000-000000000000`),
    disable: async ({ key }) => void (await client.send(new DisableKeyCommand({ KeyId: idOf(key) }))),
    enable: async ({ key }) => void (await client.send(new EnableKeyCommand({ KeyId: idOf(key) }))),
    scheduleDeletion: async ({ key }) =>
      void (await client.send(new ScheduleKeyDeletionCommand({ KeyId: idOf(key), PendingWindowInDays: 7 }))),
    provider: (limits) => awsProvider(limits, credentials),
    async close() {
      client.destroy();
      await moto.stop();
    },
  };
}

/** Moto takes no ARN here. */
function idOf(arn: string): string {
  return arn.slice(arn.indexOf('/') + 1);
}

// It decrypts by keys in every state.
if (installed !== undefined || hasPython())
  cloudRootContract('the KMS of moto', startMoto, { lacksStates: true });
else {
  process.stderr.write('there is no Python with venv here\n');
  process.exitCode = 1;
}
