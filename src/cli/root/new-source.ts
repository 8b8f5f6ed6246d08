import { timingSafeEqual } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { errorCode, writePrivateFile } from '../../core/private-file.ts';
import { StartError } from '../../core/start-error.ts';
import {
  decryptByIdentities,
  encryptForPassphrase,
  encryptForRecipients,
  identitiesIn,
} from '../../custody/root-key/age.ts';
import type { ListedSource, ListedSourceOf, SecretPlace } from '../../custody/root-key/listed-source.ts';
import { cloudIn, type Reading, readSource, sharesBy } from '../../custody/root-key/read-source.ts';
import { freeId } from '../../custody/root-key/renew-all.ts';
import { sealInTpm, writeShareFiles } from '../../custody/root-key/renew-source.ts';
import { absolutePath, withSecret } from '../../custody/root-key/secret-place.ts';
import type { WantedCloudSource } from './cloud-options.ts';

/** A source as a command line describes it. */
export type WantedSource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'descriptor'; readonly descriptor: number }
  | { readonly kind: 'credential'; readonly name: string }
  | { readonly kind: 'passphrase'; readonly passphrase: SecretPlace; readonly scryptLogN?: number }
  | {
      readonly kind: 'recipients';
      readonly recipients: readonly string[];
      /** Kept: a start opens it by itself. */
      readonly identity?: SecretPlace;
      /** Not kept: for the proof. */
      readonly proof: readonly string[];
    }
  | {
      readonly kind: 'shares';
      readonly threshold: number;
      readonly recipients: readonly string[];
      readonly directory: string;
      readonly proof: readonly string[];
    }
  | ({ readonly kind: 'pkcs11'; readonly pin: SecretPlace } & Pick<
      ListedSourceOf<'pkcs11'>,
      'module' | 'token' | 'key' | 'mechanism'
    >)
  | ({ readonly kind: 'tpm'; readonly pin?: SecretPlace } & Pick<
      ListedSourceOf<'tpm'>,
      'tcti' | 'pcrs' | 'operatorKey' | 'reference'
    >)
  | WantedCloudSource;

export interface NewSource {
  readonly source: ListedSource;
  /** For whoever called: what was seen to open. */
  readonly proof: string;
}

/** The identities of the key that is given to the source, and what the list already has. */
export interface Of {
  readonly root: string;
  readonly generation: number;
  readonly listed: readonly ListedSource[];
  readonly id: string | undefined;
}

/**
 * Makes a source for this root key and proves that it opens before anybody lists it. Throws a StartError. The secret stays as it
 * is.
 */
export async function makeSource(
  wanted: WantedSource,
  secret: Uint8Array,
  of: Of,
  around: Reading,
): Promise<NewSource> {
  const { root, generation, listed } = of;
  if (of.id !== undefined && listed.some(({ id }) => id === of.id))
    throw new StartError(`there is a source ${of.id} already`);
  const createdAtMs = Date.now();
  const common = {
    ...{ id: of.id ?? freeId(wanted.kind, listed), createdAtMs, checkedAtMs: createdAtMs, generation, root },
  };
  const source = await sealedIn(wanted, secret, common, around);
  const proof = await prove(wanted, source, secret, around);
  return { source, proof };
}

type Common = Pick<ListedSource, 'id' | 'createdAtMs' | 'generation' | 'root'> & { checkedAtMs: number };

async function sealedIn(
  wanted: WantedSource,
  secret: Uint8Array,
  common: Common,
  around: Reading,
): Promise<ListedSource> {
  switch (wanted.kind) {
    case 'file': {
      const path = absolutePath(around.dataDir, wanted.path);
      if (!existsSync(path)) writeRaw(path, secret);
      return { ...common, ...wanted };
    }
    case 'descriptor':
    case 'credential':
      return { ...common, ...wanted };
    case 'passphrase': {
      const { kind, passphrase, scryptLogN } = wanted;
      return withSecret(passphrase, 'new passphrase of the root key', around, async (typed) => ({
        ...{ ...common, kind, passphrase },
        age: await encryptForPassphrase(secret, typed, scryptLogN),
      }));
    }
    case 'recipients': {
      const { kind, identity } = wanted;
      const recipients = [...wanted.recipients];
      const age = await encryptForRecipients(secret, recipients);
      return { ...common, kind, age, recipients, ...(identity === undefined ? undefined : { identity }) };
    }
    case 'shares': {
      const { kind, threshold, directory } = wanted;
      const recipients = [...wanted.recipients];
      await writeShareFiles(absolutePath(around.dataDir, directory), secret, threshold, recipients);
      return { ...common, kind, threshold, recipients, directory };
    }
    case 'pkcs11': {
      const { token } = around;
      if (token === undefined)
        throw new StartError('a token needs the npm package pkcs11js, which is not installed');
      const { kind, pin, module, key, mechanism } = wanted;
      const unsealed = { ...common, kind, pin, module, key, mechanism, token: wanted.token, wrapped: '' };
      return withSecret(pin, 'PIN of the token', around, async (typed) => ({
        ...unsealed,
        wrapped: await token.wrap(unsealed, typed, secret),
      }));
    }
    case 'tpm': {
      const unsealed = { ...common, ...wanted, approved: [] };
      return { ...unsealed, sealed: await sealInTpm(unsealed, secret, around) };
    }
    case 'aws':
    case 'gcp':
    case 'azure':
      return cloudIn(around).wrap({ ...common, ...wanted }, secret);
  }
}

function writeRaw(path: string, secret: Uint8Array): void {
  try {
    writePrivateFile(path, secret, 'create');
  } catch (cause) {
    throw new StartError(`${path} cannot be made (${errorCode(cause)})`, { cause });
  }
}

async function prove(
  wanted: WantedSource,
  source: ListedSource,
  secret: Uint8Array,
  around: Reading,
): Promise<string> {
  if (source.kind === 'shares') return proveShares(source, proofOf(wanted), secret, around);
  if (source.kind === 'recipients' && source.identity === undefined) {
    const identities = identitiesOf(proofOf(wanted));
    if (identities.length === 0)
      throw new StartError(
        'one identity of the recipients is needed to see that it opens: --identity-file, or --prove-with',
      );
    const opened = await decryptByIdentities(source.age, identities);
    requireSame(opened, secret, source.id);
    return 'opened by the identity that was given, which is not kept: a start does not open it';
  }
  requireSame(await readSource(source, around), secret, source.id);
  return 'opened as a start does it';
}

async function proveShares(
  source: ListedSourceOf<'shares'>,
  proof: readonly string[],
  secret: Uint8Array,
  around: Reading,
): Promise<string> {
  const identities = identitiesOf(proof);
  if (identities.length === 0)
    return `not one of the ${source.recipients.length} shares was opened: have ${source.threshold} officers try it (intaglio root join --check) before you rely on it`;
  requireSame(await sharesBy(source, identities, source.threshold, around), secret, source.id);
  return `joined from ${source.threshold} shares by the identities that were given`;
}

function proofOf(wanted: WantedSource): readonly string[] {
  return wanted.kind === 'shares' || wanted.kind === 'recipients' ? wanted.proof : [];
}

/** Of identity files. */
export function identitiesOf(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    let file: Buffer;
    try {
      file = readFileSync(path);
    } catch (cause) {
      throw new StartError(`${path} cannot be read (${errorCode(cause)})`, { cause });
    }
    try {
      return identitiesIn(file, path);
    } finally {
      file.fill(0);
    }
  });
}

/** Wipes `opened`. */
function requireSame(opened: Uint8Array | undefined, secret: Uint8Array, id: string): void {
  const same = opened?.length === secret.length && timingSafeEqual(opened, secret);
  opened?.fill(0);
  if (!same) throw new StartError(`${id} gives another key than the one of this store, and is not listed`);
}
