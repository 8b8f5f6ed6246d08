import { type Command, Option } from 'commander';
import { endpointProblem } from '../../custody/root-key/cloud/endpoint.ts';
import type { CloudKind, CloudTarget } from '../../custody/root-key/cloud/wrapping.ts';
import {
  awsKeyPattern,
  azureKeyPattern,
  gcpKeyPattern,
  type ListedSourceOf,
} from '../../custody/root-key/listed-source.ts';
import { fail } from '../fail.ts';

type Wanted<T> = T extends unknown
  ? Omit<T, 'id' | 'createdAtMs' | 'checkedAtMs' | 'generation' | 'root'>
  : never;
/** A key of a cloud KMS as a command line describes it. */
export type WantedCloudSource = Wanted<CloudTarget>;

/** The options by which such a key is described; commander's names. */
export interface CloudOptions {
  readonly awsKms?: string;
  readonly gcpKms?: string;
  readonly azureKey?: string;
  readonly endpoint?: string;
  readonly keyAlgorithm?: ListedSourceOf<'azure'>['algorithm'];
}

export function withCloudOptions(command: Command): Command {
  return command
    .option('--aws-kms <arn>', 'the same as --kind aws: the ARN of a symmetric key of AWS KMS')
    .option('--gcp-kms <name>', 'the same as --kind gcp: projects/P/locations/L/keyRings/R/cryptoKeys/K')
    .option('--azure-key <url>', 'the same as --kind azure: https://VAULT.vault.azure.net/keys/NAME/VERSION')
    .option('--endpoint <url>', 'aws, gcp: another address of the KMS, such as that of a private endpoint')
    .addOption(
      new Option('--key-algorithm <name>', 'azure: the way in which it wraps; A256KW: of a managed HSM')
        .choices(['RSA-OAEP-256', 'A256KW'])
        .default('RSA-OAEP-256'),
    );
}

/** The kind that an option of its own stands for. */
export function cloudKindIn({ awsKms, gcpKms, azureKey }: CloudOptions): CloudKind | undefined {
  const given = [
    ...(awsKms === undefined ? [] : (['aws'] as const)),
    ...(gcpKms === undefined ? [] : (['gcp'] as const)),
    ...(azureKey === undefined ? [] : (['azure'] as const)),
  ];
  if (given.length > 1) fail('give one of --aws-kms, --gcp-kms and --azure-key: each is a source of its own');
  return given[0];
}

/** Ends the command where an option is missing or cannot be. */
export function cloudSource(kind: CloudKind, options: CloudOptions): WantedCloudSource {
  const { endpoint } = options;
  if (endpoint !== undefined) requireAddress(kind, endpoint, '--endpoint');
  const at = endpoint === undefined ? undefined : { endpoint };
  switch (kind) {
    case 'aws': {
      const key = named(options.awsKms, '--aws-kms');
      if (!new RegExp(awsKeyPattern).test(key))
        fail(
          `${key} is no ARN of a key: arn:aws:kms:REGION:ACCOUNT:key/ID (an alias may be pointed at another key, and is not taken)`,
        );
      return { kind, key, algorithm: 'SYMMETRIC_DEFAULT', ...at };
    }
    case 'gcp': {
      const key = named(options.gcpKms, '--gcp-kms');
      if (!new RegExp(gcpKeyPattern).test(key))
        fail(
          `${key} is no name of a key: projects/P/locations/L/keyRings/R/cryptoKeys/K (without a version: the primary one wraps)`,
        );
      return { kind, key, algorithm: 'GOOGLE_SYMMETRIC_ENCRYPTION', ...at };
    }
    case 'azure': {
      if (endpoint !== undefined) fail('--endpoint: the key of Azure holds its address');
      const key = named(options.azureKey, '--azure-key');
      requireAddress(kind, key, key);
      if (!new RegExp(azureKeyPattern).test(key))
        fail(
          `${key} is no identifier of a key with its version: https://VAULT.vault.azure.net/keys/NAME/VERSION`,
        );
      return { kind, key, algorithm: options.keyAlgorithm ?? 'RSA-OAEP-256' };
    }
  }
}

function requireAddress(kind: CloudKind, address: string, what: string): void {
  const problem = endpointProblem(kind, address);
  if (problem !== undefined) fail(`${what} ${problem}`);
}

function named(value: string | undefined, option: string): string {
  return value ?? fail(`give ${option}`);
}
