import { BackupRefusal } from './refusal.ts';

/**
 * The container inside of a backup: a POSIX ustar archive (IEEE Std 1003.1-2017, pax, "ustar Interchange Format") of regular files
 * with short names, which any tar reads. Nothing else is written, and nothing else is taken.
 */
const blockBytes = 512;
const maxNameBytes = 100;
/** What eleven octal digits hold. */
const maxEntryBytes = 8 * 2 ** 30 - 1;

/** Folders and file names of printable ASCII that begin with a letter or digit: none of them leaves the directory, or hides. */
const entryName = /^(?:[A-Za-z0-9][A-Za-z0-9._-]*\/){0,5}[A-Za-z0-9][A-Za-z0-9._-]*$/;

export function isEntryName(name: string): boolean {
  return name.length <= maxNameBytes && entryName.test(name);
}

export function tarHeader(name: string, bytes: number): Buffer {
  if (!isEntryName(name)) throw new BackupRefusal('source_unusable', `a file cannot be called ${name}`);
  if (bytes > maxEntryBytes) throw new BackupRefusal('too_large', `${name} has ${bytes} bytes`);
  const header = Buffer.alloc(blockBytes);
  header.write(name, 0, 'latin1');
  const numbers: readonly (readonly [number, number, number])[] = [
    // Mode, owner, group; size; time of the last change, which says nothing here.
    ...([
      [100, 0o600, 7],
      [108, 0, 7],
      [116, 0, 7],
      [124, bytes, 11],
      [136, 0, 11],
    ] as const),
  ];
  for (const [at, value, digits] of numbers) writeOctal(header, at, value, digits);
  header.write('0', 156, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  writeChecksum(header);
  return header;
}

/** Zeros up to the next block. */
export function tarPadding(bytes: number): Buffer {
  return Buffer.alloc((blockBytes - (bytes % blockBytes)) % blockBytes);
}

export const tarEnd = Buffer.alloc(2 * blockBytes);

function writeOctal(header: Buffer, at: number, value: number, digits: number): void {
  header.write(value.toString(8).padStart(digits, '0'), at, 'latin1');
}

/** The sum of all bytes, its own eight counted as blanks. */
function checksumOf(header: Buffer): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < blockBytes; at++) {
    if (at < 148 || at >= 156) sum += header[at] as number;
  }
  return sum;
}

function writeChecksum(header: Buffer): void {
  writeOctal(header, 148, checksumOf(header), 6);
  header.write('\0 ', 154, 'latin1');
}

export interface TarEntry {
  readonly name: string;
  readonly bytes: number;
  /** To be read to its end before the next entry is asked for. */
  readonly content: AsyncIterable<Uint8Array>;
}

/** The entries of an archive that is exactly as this program writes it. Throws a BackupRefusal at the first that is not. */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const input = new Input(source);
  try {
    yield* entriesOf(input);
  } finally {
    // Also where whoever reads has seen enough: what is behind it is a file that is open.
    await input.close();
  }
}

async function* entriesOf(input: Input): AsyncGenerator<TarEntry> {
  for (;;) {
    const header = await input.take(blockBytes);
    if (header.every((byte) => byte === 0)) break;
    const { name, bytes } = parseHeader(header);
    let left = bytes;
    const content = (async function* () {
      while (left > 0) {
        const piece = await input.upTo(left);
        left -= piece.length;
        yield piece;
      }
    })();
    yield { name, bytes, content };
    if (left > 0) throw new Error('an entry was not read to its end');
    const padding = await input.take(tarPadding(bytes).length);
    if (padding.some((byte) => byte !== 0)) throw damaged('an entry is followed by something else');
  }
  const last = await input.take(blockBytes);
  if (last.some((byte) => byte !== 0) || !(await input.ended()))
    throw damaged('something follows the end of it');
}

function parseHeader(header: Buffer): { name: string; bytes: number } {
  if (header.toString('latin1', 257, 265) !== 'ustar\x0000') throw damaged('an entry has no header');
  if (readOctal(header, 148, 6) !== checksumOf(header)) throw damaged('the header of an entry is damaged');
  const end = header.indexOf(0);
  const name = header.toString('latin1', 0, end < 0 || end > maxNameBytes ? maxNameBytes : end);
  // A prefix would be one more way to write a path.
  const plain = header[156] === 0x30 && header[345] === 0 && header[157] === 0;
  if (!plain || !isEntryName(name))
    throw new BackupRefusal('unsafe_entry', `an entry is no plain file: ${JSON.stringify(name)}`);
  return { name, bytes: readOctal(header, 124, 11) };
}

function readOctal(header: Buffer, at: number, digits: number): number {
  const text = header.toString('latin1', at, at + digits);
  if (!/^[0-7]+$/.test(text)) throw damaged('the header of an entry has no number');
  return Number.parseInt(text, 8);
}

function damaged(detail: string): BackupRefusal {
  return new BackupRefusal('damaged', `the backup is damaged: ${detail}`);
}

/** Bytes in the pieces that are asked for, whatever pieces they come in. */
class Input {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #piece: Uint8Array = new Uint8Array();

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#pieces = source[Symbol.asyncIterator]();
  }

  /** Exactly so many, of which there are few. */
  async take(bytes: number): Promise<Buffer> {
    const taken = Buffer.alloc(bytes);
    for (let at = 0; at < bytes; ) {
      const piece = await this.upTo(bytes - at);
      taken.set(piece, at);
      at += piece.length;
    }
    return taken;
  }

  /** At least one, at most so many. */
  async upTo(bytes: number): Promise<Uint8Array> {
    if (!(await this.#fill())) throw damaged('it ends too early');
    const piece = this.#piece.subarray(0, bytes);
    this.#piece = this.#piece.subarray(piece.length);
    return piece;
  }

  async close(): Promise<void> {
    await this.#pieces.return?.();
  }

  async ended(): Promise<boolean> {
    return !(await this.#fill());
  }

  async #fill(): Promise<boolean> {
    while (this.#piece.length === 0) {
      const next = await this.#pieces.next();
      if (next.done === true) return false;
      this.#piece = next.value;
    }
    return true;
  }
}
