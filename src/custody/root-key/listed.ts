import { existsSync, readFileSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, readPrivateFile, writePrivateFile } from '../../core/private-file.ts';
import { StartError } from '../../core/start-error.ts';
import {
  decryptByIdentities,
  decryptByPassphrase,
  encryptForPassphrase,
  encryptForRecipients,
  identitiesIn,
} from './age.ts';
import { type CloudWrapping, cloudPlace } from './cloud/wrapping.ts';
import {
  absolutePath,
  credentialPath,
  nameOfPlace,
  readDescriptor,
  readSecretPlace,
  type Surroundings,
} from './secret-place.ts';
import { joinShares, openShare, shareFileName, splitForOfficers } from './shares.ts';
import type { ListedSource, ListedSourceOf, SecretPlace } from './sources-file.ts';
import { refusedPins } from './tpm-pin.ts';

/**
 * The bytes of the root key by way of each kind of source. All of this is done by commands and by a process of its own
 * (workers/root-sources.ts), never by the one that serves: libraries that decrypt in JavaScript leave copies behind.
 */

/** A key in a token that wraps the root key. */
export interface TokenWrapping {
  /** Base64, with all that unwrapping needs. */
  wrap(source: ListedSourceOf<'pkcs11'>, pin: Uint8Array, secret: Uint8Array): Promise<string>;
  unwrap(source: ListedSourceOf<'pkcs11'>, pin: Uint8Array): Promise<Uint8Array>;
}

/** A TPM that gives the root key back where its PCRs are approved. What cannot be is a StartError. */
export interface TpmSealing {
  /** `parent`: only under the storage root key of this name. */
  seal(
    where: Pick<ListedSourceOf<'tpm'>, 'tcti' | 'pcrs' | 'operatorKey' | 'reference'> & {
      readonly parent?: string;
    },
    pin: Uint8Array | undefined,
    secret: Uint8Array,
  ): Promise<ListedSourceOf<'tpm'>['sealed']>;
  /** `refused`: is called where the TPM refused the PIN. */
  unseal(
    source: ListedSourceOf<'tpm'>,
    pin: Uint8Array | undefined,
    refused: () => void,
  ): Promise<Uint8Array>;
}

export interface Reading extends Surroundings {
  readonly token?: TokenWrapping;
  readonly tpm?: TpmSealing;
  readonly cloud?: CloudWrapping;
}

export const rootSecretBytes = 32;

/** Where a rotation puts the next key of a file. */
export function nextPath(path: string): string {
  return `${path}.next`;
}

/** The name of a source in messages. No secret. */
export function sourcePlace(source: ListedSource): string {
  switch (source.kind) {
    case 'file':
      return source.path;
    case 'descriptor':
      return `descriptor ${source.descriptor}`;
    case 'credential':
      return `the credential ${source.name}`;
    case 'passphrase':
      return `${source.id} (a passphrase from ${nameOfPlace(source.passphrase)})`;
    case 'recipients':
      return `${source.id} (age recipients${source.identity === undefined ? '' : `, identity in ${nameOfPlace(source.identity)}`})`;
    case 'shares':
      return `${source.id} (${source.threshold} of ${source.recipients.length} shares in ${source.directory})`;
    case 'pkcs11':
      return `${source.id} (the token ${'label' in source.token ? source.token.label : source.token.serial})`;
    case 'tpm':
      return `${source.id} (the TPM ${source.tcti})`;
    case 'aws':
    case 'gcp':
    case 'azure':
      return cloudPlace(source);
  }
}

/** The 32 bytes in a buffer of their own, which the caller wipes. Throws a StartError. */
export async function readSource(source: ListedSource, around: Reading): Promise<Uint8Array> {
  const bytes = await readBytes(source, around);
  if (bytes.length === rootSecretBytes) return bytes;
  bytes.fill(0);
  throw new StartError(`${sourcePlace(source)} must give exactly ${rootSecretBytes} bytes`);
}

function readBytes(source: ListedSource, around: Reading): Uint8Array | Promise<Uint8Array> {
  switch (source.kind) {
    case 'file':
      return rawFile(absolutePath(around.dataDir, source.path), around);
    case 'credential':
      return rawFile(credentialPath(around, source.name), around);
    case 'descriptor':
      return readDescriptor(source.descriptor, around.rule);
    case 'passphrase':
      return byPassphrase(source, around);
    case 'recipients':
      return byIdentity(source, around);
    case 'shares':
      return byShares(source, around);
    case 'pkcs11':
      return byToken(source, around);
    case 'tpm':
      return byTpm(source, around);
    case 'aws':
    case 'gcp':
    case 'azure':
      return cloudIn(around).unwrap(source);
  }
}

/** Throws a StartError. */
export function cloudIn({ cloud }: Reading): CloudWrapping {
  if (cloud === undefined) throw new StartError('a cloud KMS cannot be asked by this process');
  return cloud;
}

function rawFile(path: string, { rule }: Surroundings): Uint8Array {
  const read = readPrivateFile(path, rootSecretBytes, rule);
  if (!read.ok) throw new StartError(read.problem);
  return read.bytes;
}

async function byPassphrase(source: ListedSourceOf<'passphrase'>, around: Surroundings): Promise<Uint8Array> {
  return withSecret(source.passphrase, `passphrase of the root key (${source.id})`, around, (passphrase) =>
    openedBy(source, passphrase),
  );
}

async function openedBy(source: ListedSourceOf<'passphrase'>, passphrase: Uint8Array): Promise<Uint8Array> {
  const opened = await decryptByPassphrase(source.age, passphrase);
  if (opened === undefined) throw new StartError(`${sourcePlace(source)} is not the right one`);
  return opened;
}

async function byIdentity(source: ListedSourceOf<'recipients'>, around: Surroundings): Promise<Uint8Array> {
  const { identity } = source;
  if (identity === undefined)
    throw new StartError(
      `${sourcePlace(source)} has no identity file here: it opens with intaglio root join`,
    );
  return withSecret(identity, `identity of the root key (${source.id})`, around, async (file) => {
    const opened = await decryptByIdentities(source.age, identitiesIn(file, nameOfPlace(identity)));
    if (opened === undefined)
      throw new StartError(`${sourcePlace(source)}: this identity is of no recipient`);
    return opened;
  });
}

async function byShares(source: ListedSourceOf<'shares'>, around: Surroundings): Promise<Uint8Array> {
  const { identities = [], threshold } = source;
  if (identities.length === 0)
    throw new StartError(`${sourcePlace(source)} opens with the officers' identities: intaglio root join`);
  const read: string[] = [];
  for (const path of identities) {
    if (!existsSync(absolutePath(around.dataDir, path))) continue;
    await withSecret({ from: 'file', path }, path, around, async (file) => {
      read.push(...identitiesIn(file, path));
    });
  }
  return sharesBy(source, read, threshold, around);
}

/** Joins as many of the source's shares as these identities open. Throws a StartError where they are too few. */
export async function sharesBy(
  source: ListedSourceOf<'shares'>,
  identities: readonly string[],
  threshold: number,
  around: Surroundings,
): Promise<Uint8Array> {
  const shares: Uint8Array[] = [];
  const directory = absolutePath(around.dataDir, source.directory);
  try {
    for (let number = 1; number <= source.recipients.length && shares.length < threshold; number++) {
      const path = join(directory, shareFileName(number));
      if (!existsSync(path)) continue;
      const share = await openShare(readFileSync(path), identities);
      if (share !== undefined) shares.push(share);
    }
    if (shares.length === threshold) return await joinShares(shares);
    throw new StartError(
      `${sourcePlace(source)}: ${shares.length} of ${threshold} shares were opened by the identities that are there`,
    );
  } finally {
    for (const share of shares) share.fill(0);
  }
}

async function byToken(source: ListedSourceOf<'pkcs11'>, around: Reading): Promise<Uint8Array> {
  const { token } = around;
  if (token === undefined)
    throw new StartError(`${sourcePlace(source)} needs the npm package pkcs11js, which is not installed`);
  return withSecret(source.pin, `PIN of ${sourcePlace(source)}`, around, (pin) => token.unwrap(source, pin));
}

function byTpm(source: ListedSourceOf<'tpm'>, around: Reading): Promise<Uint8Array> {
  const { tpm } = around;
  if (tpm === undefined) throw new StartError(`${sourcePlace(source)} cannot be asked by this process`);
  const { pin } = source;
  if (pin === undefined) return tpm.unseal(source, undefined, () => {});
  const refusals = refusedPins(source.id, pin, around);
  refusals.requireNew();
  return withSecret(pin, `PIN of ${sourcePlace(source)}`, around, async (typed) => {
    const opened = await tpm.unseal(source, typed, () => refusals.note());
    refusals.forget();
    return opened;
  });
}

/** The same source for another root key; only the list has to be written still. Throws a StartError where it cannot be. */
export async function renewSource(
  listed: ListedSource,
  secret: Uint8Array,
  of: Pick<ListedSource, 'id' | 'generation' | 'root' | 'createdAtMs'>,
  around: Reading,
): Promise<ListedSource> {
  // Nobody has seen yet that the new one opens.
  const { checkedAtMs: _, ...source } = listed;
  switch (source.kind) {
    case 'file': {
      const next = nextPath(absolutePath(around.dataDir, source.path));
      // Of a rotation that did not come to begin: nothing is sealed under it.
      rmSync(next, { force: true });
      writePrivateFile(next, secret, 'create');
      return source;
    }
    case 'descriptor':
    case 'credential':
      throw new StartError(
        `${sourcePlace(source)} is handed over by whoever starts the service, and cannot be given another key here: add another source, remove this one, and rotate then`,
      );
    case 'passphrase':
      return withSecret(
        source.passphrase,
        `passphrase of the root key (${source.id})`,
        around,
        async (passphrase) => {
          (await openedBy(source, passphrase)).fill(0);
          return {
            ...source,
            ...of,
            age: await encryptForPassphrase(secret, passphrase, workFactorOf(source.age)),
          };
        },
      );
    case 'recipients':
      return { ...source, ...of, age: await encryptForRecipients(secret, source.recipients) };
    case 'shares':
      return { ...source, ...of, directory: await writeShares(source, secret, of.root, around) };
    case 'pkcs11': {
      const { token } = around;
      if (token === undefined)
        throw new StartError(`${sourcePlace(source)} needs the npm package pkcs11js, which is not installed`);
      return withSecret(source.pin, `PIN of ${sourcePlace(source)}`, around, async (pin) => ({
        ...source,
        ...of,
        wrapped: await token.wrap(source, pin, secret),
      }));
    }
    case 'tpm': {
      // Whoever may have the key before may have the one that comes.
      (await byTpm(source, around)).fill(0);
      const { parent } = source.sealed;
      return { ...source, ...of, sealed: await sealInTpm({ ...source, parent }, secret, around) };
    }
    case 'aws':
    case 'gcp':
    case 'azure':
      return cloudIn(around).wrap({ ...source, ...of }, secret);
  }
}

/** Throws a StartError. */
export async function sealInTpm(
  source: Omit<ListedSourceOf<'tpm'>, 'sealed'> & { readonly parent?: string },
  secret: Uint8Array,
  around: Reading,
): Promise<ListedSourceOf<'tpm'>['sealed']> {
  const { tpm } = around;
  if (tpm === undefined) throw new StartError('a TPM cannot be asked by this process');
  const { pin } = source;
  if (pin === undefined) return tpm.seal(source, undefined, secret);
  return withSecret(pin, `PIN for the TPM (${source.id})`, around, (typed) =>
    tpm.seal(source, typed, secret),
  );
}

/** Shares of two keys in one directory would be mixed up: each key has a directory of its name. */
async function writeShares(
  { recipients, threshold, directory }: ListedSourceOf<'shares'>,
  secret: Uint8Array,
  root: string,
  { dataDir }: Surroundings,
): Promise<string> {
  const made = `${directory.replace(/-[0-9a-f]{16}$/, '')}-${root}`;
  await writeShareFiles(absolutePath(dataDir, made), secret, threshold, recipients);
  return made;
}

/** Makes the directory where there is none. Throws a StartError. */
export async function writeShareFiles(
  directory: string,
  secret: Uint8Array,
  threshold: number,
  recipients: readonly string[],
): Promise<void> {
  const files = await splitForOfficers(secret, threshold, recipients);
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    for (const [index, file] of files.entries())
      writePrivateFile(join(directory, shareFileName(index + 1)), file, 'create');
  } catch (cause) {
    throw new StartError(`the shares cannot be written into ${directory} (${errorCode(cause)})`, { cause });
  }
}

/** As it was chosen: `-> scrypt <salt> <logN>` in the header. */
function workFactorOf(age: string): number | undefined {
  const body = age.split('\n').slice(1, 6).join('');
  const header = Buffer.from(body, 'base64').toString('latin1');
  const found = /^-> scrypt \S+ (\d{1,2})$/m.exec(header);
  return found === null ? undefined : Number(found[1]);
}

async function withSecret<T>(
  place: SecretPlace,
  what: string,
  around: Surroundings,
  use: (secret: Buffer) => Promise<T>,
): Promise<T> {
  const secret = await readSecretPlace(place, what, around);
  try {
    return await use(secret);
  } finally {
    secret.fill(0);
  }
}
