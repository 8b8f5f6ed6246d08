import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Config } from '../../config/load.ts';
import { errorCode } from '../../core/private-file.ts';
import { listedPath } from '../../custody/root-key/secret-place.ts';
import type { SecretPlace } from '../../custody/root-key/sources-file.ts';
import { operatorKeyIn } from '../../custody/tpm/policy.ts';
import { newReference } from '../../custody/tpm/root-sealing.ts';
import { tpmPlaceOf } from '../../custody/tpm/transport.ts';
import { fail } from '../fail.ts';
import { type CloudOptions, cloudKindIn, cloudSource, withCloudOptions } from './cloud-options.ts';
import type { WantedSource } from './new-source.ts';

/** The options by which a source is described; commander's names. */
export interface SourceOptions extends CloudOptions {
  readonly kind?: WantedSource['kind'];
  readonly id?: string;
  readonly file?: string;
  readonly descriptor?: number;
  readonly credential?: string;
  readonly passphraseFile?: string;
  readonly passphraseFd?: number;
  readonly passphraseCredential?: string;
  readonly recipient: readonly string[];
  readonly identityFile?: string;
  readonly proveWith: readonly string[];
  readonly threshold?: number;
  readonly out?: string;
  readonly module?: string;
  readonly token?: string;
  readonly tokenSerial?: string;
  readonly keyLabel?: string;
  readonly keyIdHex?: string;
  readonly mechanism?: 'aes-gcm' | 'rsa-oaep';
  readonly pinFile?: string;
  readonly pinFd?: number;
  readonly pinCredential?: string;
  readonly tpm?: boolean;
  readonly tcti?: string;
  readonly pcrs?: readonly number[];
  readonly operatorKey?: string;
  readonly askPin?: boolean;
}

const kinds = [
  ...['file', 'descriptor', 'credential', 'passphrase', 'recipients', 'shares', 'pkcs11', 'tpm'],
  ...['aws', 'gcp', 'azure'],
];

export function withSourceOptions(command: Command, kindDefault?: WantedSource['kind']): Command {
  const kind = new Option('--kind <kind>', 'the way in which the key is kept').choices(kinds);
  if (kindDefault !== undefined) kind.default(kindDefault);
  return withCloudOptions(command.addOption(kind))
    .option('--id <name>', 'its name in the list: a-z, 0-9 and - (default: the kind)')
    .option('--file <path>', 'file: the path of the raw key; made where it is missing')
    .option('--descriptor <n>', 'descriptor: its number, from 3 on', descriptorOf)
    .option('--credential <name>', "credential: the file's name in $CREDENTIALS_DIRECTORY")
    .option('--passphrase-file <path>', 'passphrase: read from this file, now and at each start')
    .option('--passphrase-fd <n>', 'passphrase: read from this open descriptor', descriptorOf)
    .option('--passphrase-credential <name>', 'passphrase: read from this credential of systemd')
    .option('--recipient <age1...>', 'recipients, shares: an age key; once for each', collect, [])
    .option('--identity-file <path>', 'recipients: the identity by which a start opens it')
    .option('--prove-with <path>', 'recipients, shares: an identity file, for the proof alone', collect, [])
    .option('--threshold <k>', 'shares: so many are needed', thresholdOf)
    .option('--out <directory>', 'shares: where share-<n>.age are written')
    .option('--module <path>', 'pkcs11: the module')
    .option('--token <label>', 'pkcs11: the token')
    .option('--token-serial <serial>', 'pkcs11: the token, by its serial number')
    .option('--key-label <label>', 'pkcs11: the key in the token that wraps')
    .option('--key-id-hex <hex>', 'pkcs11: the same by its CKA_ID')
    .addOption(
      new Option('--mechanism <name>', 'pkcs11: the way in which it wraps')
        .choices(['aes-gcm', 'rsa-oaep'])
        .default('aes-gcm'),
    )
    .option('--pin-file <path>', 'pkcs11, tpm: the PIN, now and at each start')
    .option('--pin-fd <n>', 'pkcs11, tpm: the PIN, from this open descriptor', descriptorOf)
    .option('--pin-credential <name>', 'pkcs11, tpm: the PIN, from this credential of systemd')
    .option('--tpm', 'the same as --kind tpm')
    .option(
      '--operator-key <file>',
      "tpm: the operator's public key of P-256, in PEM, which approves other PCR values",
    )
    .option(
      '--pcrs <numbers>',
      `tpm: with commas, of the SHA-256 bank (default: ${defaultPcrs.join()})`,
      pcrsIn,
    )
    .option(
      '--tcti <name>',
      `tpm: device:PATH, swtpm:path=SOCKET or swtpm:host=HOST,port=N (default: KMS_TPM, or ${defaultTcti})`,
    )
    .option('--ask-pin', 'tpm: a PIN as well, from the terminal at each start');
}

/** Ends the command where an option is missing. Paths begin at the working directory. */
export function wantedSource(
  options: SourceOptions,
  { dataDir, tpm }: Pick<Config, 'dataDir' | 'tpm'>,
): WantedSource {
  const listed = (path: string) => listedPath(dataDir, path);
  const kind =
    options.tpm === true
      ? 'tpm'
      : (cloudKindIn(options) ?? options.kind ?? fail(`give --kind: one of ${kinds.join(', ')}`));
  switch (kind) {
    case 'file':
      return { kind, path: listed(needed(options.file, '--file')) };
    case 'descriptor':
      return { kind, descriptor: needed(options.descriptor, '--descriptor') };
    case 'credential':
      return { kind, name: needed(options.credential, '--credential') };
    case 'passphrase':
      return {
        kind,
        passphrase: placeIn(
          listed,
          options.passphraseFile,
          options.passphraseFd,
          options.passphraseCredential,
        ),
      };
    case 'recipients': {
      const { recipient: recipients, proveWith: proof, identityFile } = options;
      if (recipients.length === 0) fail('give --recipient, once for each');
      return {
        ...{ kind, recipients, proof },
        ...(identityFile === undefined
          ? undefined
          : { identity: { from: 'file', path: listed(identityFile) } }),
      };
    }
    case 'shares': {
      const { recipient: recipients, proveWith: proof } = options;
      const threshold = needed(options.threshold, '--threshold');
      if (recipients.length < threshold)
        fail('give --recipient once for each officer, at least --threshold of them');
      return { kind, threshold, recipients, proof, directory: listed(needed(options.out, '--out')) };
    }
    case 'aws':
    case 'gcp':
    case 'azure':
      return cloudSource(kind, options);
    case 'tpm':
      return tpmSource({ tcti: tpm === 'none' ? defaultTcti : tpm, ...options }, listed);
    case 'pkcs11':
      return {
        ...{
          kind,
          module: resolve(needed(options.module, '--module')),
          mechanism: options.mechanism ?? 'aes-gcm',
        },
        pin: placeIn(listed, options.pinFile, options.pinFd, options.pinCredential),
        token:
          options.tokenSerial === undefined
            ? { label: needed(options.token, '--token or --token-serial') }
            : { serial: options.tokenSerial },
        key:
          options.keyIdHex === undefined
            ? { label: needed(options.keyLabel, '--key-label or --key-id-hex') }
            : { idHex: options.keyIdHex },
      };
  }
}

/** Firmware, its extensions, the boot loader or the kernel, and Secure Boot (TCG PC Client Platform Firmware Profile, 3.3.4). */
const defaultPcrs = [0, 2, 4, 7] as const;
const defaultTcti = 'device:/dev/tpmrm0';

function tpmSource(
  options: SourceOptions & { readonly tcti: string },
  listed: (path: string) => string,
): WantedSource {
  const { tcti, pcrs = defaultPcrs, askPin = false, pinFile, pinFd, pinCredential } = options;
  const path = needed(options.operatorKey, '--operator-key');
  const pem = readOrFail(path);
  // Whoever has it there can approve any state of the machine.
  if (pem.includes('PRIVATE KEY'))
    fail(
      `${path} is the private key, which belongs to the operator's machine alone: give what openssl pkey -in FILE -pubout writes`,
    );
  const key = operatorKeyIn(pem) ?? fail(`${path} is no P-256 key in PEM`);
  const operatorKey = key.export({ format: 'der', type: 'spki' }).toString('base64');
  const withPin = askPin || [pinFile, pinFd, pinCredential].some((place) => place !== undefined);
  const pin = withPin ? { pin: placeIn(listed, pinFile, pinFd, pinCredential) } : undefined;
  if (tpmPlaceOf(tcti) === undefined)
    fail(`${tcti} names no TPM: device:PATH, swtpm:path=SOCKET or swtpm:host=HOST,port=N`);
  return { kind: 'tpm', tcti, pcrs: [...pcrs], operatorKey, reference: newReference(), ...pin };
}

export function readOrFail(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    return fail(`${path} cannot be read (${errorCode(cause)})`);
  }
}

function pcrsIn(text: string): number[] {
  const pcrs = text.split(',').map((each) => (/^\d{1,2}$/.test(each) ? Number(each) : 24));
  if (pcrs.some((pcr) => pcr > 23) || new Set(pcrs).size !== pcrs.length)
    throw new InvalidArgumentError('numbers from 0 to 23, with commas');
  return pcrs.sort((one, other) => one - other);
}

function placeIn(
  listed: (path: string) => string,
  path: string | undefined,
  descriptor: number | undefined,
  name: string | undefined,
): SecretPlace {
  const given = [path, descriptor, name].filter((one) => one !== undefined);
  if (given.length > 1) fail('give one place for the secret, not several');
  if (path !== undefined) return { from: 'file', path: listed(path) };
  if (descriptor !== undefined) return { from: 'descriptor', descriptor };
  return name === undefined ? { from: 'terminal' } : { from: 'credential', name };
}

function needed<T>(value: T | undefined, option: string): T {
  return value ?? fail(`give ${option}`);
}

export function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

function descriptorOf(text: string): number {
  const number = Number(text);
  if (!/^\d{1,5}$/.test(text) || number < 3) throw new InvalidArgumentError('a number from 3 on');
  return number;
}

function thresholdOf(text: string): number {
  const number = Number(text);
  if (!/^\d{1,3}$/.test(text) || number < 2 || number > 255)
    throw new InvalidArgumentError('a number from 2 to 255');
  return number;
}
