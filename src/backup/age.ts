import { constants, createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { Decrypter, Encrypter } from 'age-encryption';
import { BackupRefusal } from './refusal.ts';

/** To whom a backup is sealed: a passphrase, or one or more recipients of age (https://age-encryption.org/v1). */
export type SealTo =
  | { readonly passphrase: string; readonly scryptLogN?: number }
  /** `age1…` (X25519), `age1pq1…` (ML-KEM-768 with X25519). */
  | { readonly recipients: readonly string[] };

export type OpenWith =
  | { readonly passphrase: string }
  /** `AGE-SECRET-KEY-1…`, `AGE-SECRET-KEY-PQ-1…`. */
  | { readonly identities: readonly string[] };

const firstLine = 'age-encryption.org/v1\n';
/** Twenty post-quantum recipients take 45 KB. A header without an end would be read into memory whole. */
const maxHeaderBytes = 128 * 1024;

/** The sealed bytes of `content`, piece by piece. Throws a BackupRefusal where a recipient is none. */
export async function sealBytes(
  to: SealTo,
  content: AsyncIterable<Uint8Array>,
): Promise<AsyncIterable<Uint8Array>> {
  const encrypter = new Encrypter();
  if ('passphrase' in to) {
    encrypter.setPassphrase(to.passphrase);
    if (to.scryptLogN !== undefined) encrypter.setScryptWorkFactor(to.scryptLogN);
  } else {
    for (const recipient of to.recipients) addRecipient(encrypter, recipient);
  }
  return encrypter.encrypt(ReadableStream.from(content));
}

function addRecipient(encrypter: Encrypter, recipient: string): void {
  try {
    encrypter.addRecipient(recipient);
  } catch (cause) {
    // It is a public key, and a mistake in typing shows best as it was typed.
    throw new BackupRefusal('wrong_key', `this is no recipient of age: ${recipient.slice(0, 80)}`, { cause });
  }
}

/** The bytes that were sealed, each piece authenticated before it is given out; ends with a BackupRefusal where one is not. */
export async function openSealed(path: string, opens: OpenWith): Promise<AsyncIterable<Uint8Array>> {
  await requireHeader(path);
  const decrypter = new Decrypter();
  if ('passphrase' in opens) decrypter.addPassphrase(opens.passphrase);
  else for (const identity of opens.identities) addIdentity(decrypter, identity);
  const file = createReadStream(path, { highWaterMark: 1024 * 1024 });
  const sealed = Readable.toWeb(file) as unknown as ReadableStream<Uint8Array>;
  try {
    return asRefusals(await decrypter.decrypt(sealed), file);
  } catch (cause) {
    file.destroy();
    const wrong = /no identity matched|incorrect passphrase|wrong passphrase/i.test((cause as Error).message);
    if (wrong)
      throw new BackupRefusal('wrong_key', 'neither passphrase nor identity opens the backup', { cause });
    throw new BackupRefusal('damaged', 'the backup is damaged: its header is not whole', { cause });
  }
}

function addIdentity(decrypter: Decrypter, identity: string): void {
  try {
    decrypter.addIdentity(identity);
  } catch (cause) {
    throw new BackupRefusal('wrong_key', 'the identity file holds something that is no identity of age', {
      cause,
    });
  }
}

async function* asRefusals(
  opened: AsyncIterable<Uint8Array>,
  file: { destroy(): void },
): AsyncGenerator<Uint8Array> {
  const pieces = opened[Symbol.asyncIterator]();
  try {
    for (;;) {
      let next: IteratorResult<Uint8Array>;
      try {
        next = await pieces.next();
      } catch (cause) {
        throw new BackupRefusal('damaged', 'the backup is damaged, or ends too early', { cause });
      }
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    file.destroy();
  }
}

async function requireHeader(path: string): Promise<void> {
  // A pipe would be waited for, and could be read but once.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK;
  const file = await open(path, flags).catch((cause: NodeJS.ErrnoException) => {
    throw new BackupRefusal('source_unusable', `${path} cannot be read (${cause.code})`, { cause });
  });
  try {
    if (!(await file.stat()).isFile())
      throw new BackupRefusal('source_unusable', `${path} is no regular file`);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(maxHeaderBytes), 0, maxHeaderBytes, 0);
    const start = buffer.toString('latin1', 0, bytesRead);
    if (!start.startsWith(firstLine)) throw new BackupRefusal('not_a_backup', `${path} is no file of age`);
    if (!/\n--- [^\n]*\n/.test(start))
      throw new BackupRefusal('damaged', 'the backup is damaged: its header has no end');
  } finally {
    await file.close();
  }
}
