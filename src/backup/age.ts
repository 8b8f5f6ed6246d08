import { constants, createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { StartError } from '../core/start-error.ts';
import { type OpenWith, openerWith, type SealTo, sealerTo } from '../custody/root-key/age.ts';
import { BackupRefusal } from './refusal.ts';

const firstLine = 'age-encryption.org/v1\n';
/** Twenty post-quantum recipients take 45 KB. A header without an end would be read into memory whole. */
const maxHeaderBytes = 128 * 1024;

/** The sealed bytes of `content`, piece by piece. Throws a BackupRefusal where a recipient is none. */
export async function sealBytes(
  to: SealTo,
  content: AsyncIterable<Uint8Array>,
): Promise<AsyncIterable<Uint8Array>> {
  return wrongKeyAsRefusal(() => sealerTo(to)).encrypt(ReadableStream.from(content));
}

function wrongKeyAsRefusal<T>(make: () => T): T {
  try {
    return make();
  } catch (cause) {
    if (cause instanceof StartError) throw new BackupRefusal('wrong_key', cause.message, { cause });
    throw cause;
  }
}

/** The bytes that were sealed, each piece authenticated before it is given out; ends with a BackupRefusal where one is not. */
export async function openSealed(path: string, opens: OpenWith): Promise<AsyncIterable<Uint8Array>> {
  await requireHeader(path);
  const decrypter = wrongKeyAsRefusal(() => openerWith(opens));
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
