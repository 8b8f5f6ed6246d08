import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readPrivateFile } from '../../core/private-file.ts';
import { StartError } from '../../core/start-error.ts';
import { decryptByIdentities, decryptByPassphrase, identitiesIn } from './age.ts';
import { type CloudWrapping, cloudPlace } from './cloud/wrapping.ts';
import type { ListedSource, ListedSourceOf } from './listed-source.ts';
import {
  absolutePath,
  credentialPath,
  nameOfPlace,
  readDescriptor,
  type Surroundings,
  withSecret,
} from './secret-place.ts';
import { joinShares, openShare, shareFileName } from './shares.ts';
import { refusedPins } from './tpm-pin.ts';

/**
 * Reads the root key by each kind of source. Commands do that, and a process of its own (workers/root-sources.ts), and never the
 * one that serves: libraries that decrypt in JavaScript leave copies behind.
 */

/** A key in a token that wraps the root key. */
export interface TokenWrapping {
  /** Gives base64, with all that unwrapping needs. */
  wrap(source: ListedSourceOf<'pkcs11'>, pin: Uint8Array, secret: Uint8Array): Promise<string>;
  unwrap(source: ListedSourceOf<'pkcs11'>, pin: Uint8Array): Promise<Uint8Array>;
}

/** A TPM that gives the root key back while its PCRs are approved. Refusals are StartErrors. */
export interface TpmSealing {
  /** `parent`: only under the storage root key of this name. */
  seal(
    where: Pick<ListedSourceOf<'tpm'>, 'tcti' | 'pcrs' | 'operatorKey' | 'reference'> & {
      readonly parent?: string;
    },
    pin: Uint8Array | undefined,
    secret: Uint8Array,
  ): Promise<ListedSourceOf<'tpm'>['sealed']>;
  /** `refused`: called where the TPM refused the PIN. */
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
    openByPassphrase(source, passphrase),
  );
}

/** Opens by a passphrase. The caller wipes the key. Throws a StartError. */
export async function openByPassphrase(
  source: ListedSourceOf<'passphrase'>,
  passphrase: Uint8Array,
): Promise<Uint8Array> {
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
