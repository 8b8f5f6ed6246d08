import { rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, writePrivateFile } from '../../core/private-file.ts';
import { StartError } from '../../core/start-error.ts';
import { encryptForPassphrase, encryptForRecipients } from './age.ts';
import type { ListedSource, ListedSourceOf } from './listed-source.ts';
import { cloudIn, openByPassphrase, type Reading, readSource, sourcePlace } from './read-source.ts';
import { absolutePath, type Surroundings, withSecret } from './secret-place.ts';
import { shareFileName, splitForOfficers } from './shares.ts';

/** The path at which a rotation puts the next key of a file. */
export function nextPath(path: string): string {
  return `${path}.next`;
}

/** Makes the same source for another root key, not yet listed. Throws a StartError where it cannot be. */
export async function renewSource(
  listed: ListedSource,
  secret: Uint8Array,
  of: Pick<ListedSource, 'id' | 'generation' | 'root' | 'createdAtMs'>,
  around: Reading,
): Promise<ListedSource> {
  // Nobody has yet seen the new source open.
  const { checkedAtMs: _, ...source } = listed;
  switch (source.kind) {
    case 'file': {
      const next = nextPath(absolutePath(around.dataDir, source.path));
      // A rotation that never began left it: nothing is sealed under it.
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
          (await openByPassphrase(source, passphrase)).fill(0);
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
      // Access to the present key is the right to the next one.
      (await readSource(source, around)).fill(0);
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

/** Each key has a directory of its name: shares of two keys would be mixed up. */
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

/** The scrypt work factor of the age file's header: `-> scrypt <salt> <logN>`. */
function workFactorOf(age: string): number | undefined {
  const body = age.split('\n').slice(1, 6).join('');
  const header = Buffer.from(body, 'base64').toString('latin1');
  const found = /^-> scrypt \S+ (\d{1,2})$/m.exec(header);
  return found === null ? undefined : Number(found[1]);
}
