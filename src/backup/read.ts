import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import type { OpenWith } from '../custody/root-key/age.ts';
import { openSealed } from './age.ts';
import {
  type BackupHead,
  headName,
  type Manifest,
  manifestName,
  parseHead,
  parseManifest,
} from './manifest.ts';
import { BackupRefusal, type Outcome, outcomeOf } from './refusal.ts';
import { maxPieceBytes, pieceEntries } from './store-part.ts';
import { readTar, type TarEntry } from './tar.ts';

/** The parts of a backup as they come. */
export interface BackupSink {
  begin(head: BackupHead): void | Promise<void>;
  /** `data/…` or `audit/…`. `content` is read to its end. */
  file(name: string, content: AsyncIterable<Uint8Array>): Promise<void>;
  /** Whole entries of the store's databases. */
  storePiece(piece: Buffer): void | Promise<void>;
}

/** Larger than any that a backup has: a head with its sources, a list of all entries, a sealed segment with its records. */
const maxBytesOf = {
  head: 1024 * 1024,
  manifest: 256 * 1024 * 1024,
  data: 64 * 1024 * 1024,
  audit: 2 * 1024 * 1024 * 1024,
  store: maxPieceBytes,
} as const;
/** Of a log of 20 billion records, three files for every 65,536 of them. */
const maxEntries = 1_000_000;

type Kind = keyof typeof maxBytesOf;

interface Read {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * Reads a backup to its end and holds every part against the manifest. Whatever the sink did counts only when this resolves.
 * Throws a BackupRefusal.
 */
export async function readBackup(
  path: string,
  opens: OpenWith,
  sink: BackupSink,
  progress: (done: number, of: number) => void,
): Promise<{ readonly head: BackupHead; readonly manifest: Manifest }> {
  const reader = new Reader(sink);
  const of = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  let done = 0;
  for await (const entry of readTar(await openSealed(path, opens))) {
    await reader.take(entry);
    done += entry.bytes;
    progress(done, Math.max(done, of));
  }
  return reader.end();
}

/** What a backup says of itself at its beginning; nothing else of it is read. Throws a BackupRefusal. */
export async function readBackupHead(path: string, opens: OpenWith): Promise<BackupHead> {
  const reader = new Reader({ begin() {}, async file() {}, storePiece() {} });
  const entries = readTar(await openSealed(path, opens))[Symbol.asyncIterator]();
  try {
    const first = await entries.next();
    if (first.done !== true) await reader.take(first.value);
  } finally {
    await entries.return(undefined);
  }
  if (reader.head === undefined) throw damaged('it has no head');
  return reader.head;
}

class Reader {
  readonly #sink: BackupSink;
  readonly #read = new Map<string, Read>();
  #head: BackupHead | undefined;
  #manifest: Manifest | undefined;
  #records = 0;
  #pieces = 0;

  constructor(sink: BackupSink) {
    this.#sink = sink;
  }

  get head(): BackupHead | undefined {
    return this.#head;
  }

  async take(entry: TarEntry): Promise<void> {
    const kind = this.#kindOf(entry.name);
    if (entry.bytes > maxBytesOf[kind] || this.#read.size >= maxEntries)
      throw new BackupRefusal('too_large', `the backup has more than a backup has: ${entry.name}`);
    if (this.#manifest !== undefined) throw damaged('something follows its manifest');
    if (this.#read.has(entry.name)) throw damaged(`${entry.name} is in it twice`);
    const digest = createHash('sha256');
    const content = counted(entry, digest);
    if (kind === 'data' || kind === 'audit') await this.#sink.file(entry.name, content);
    else await this.#takeWhole(kind, await wholeOf(content, entry.bytes));
    const { name, bytes } = entry;
    if (kind !== 'manifest') this.#read.set(name, { name, bytes, sha256: digest.digest('hex') });
  }

  end(): { readonly head: BackupHead; readonly manifest: Manifest } {
    const [head, manifest] = [this.#head, this.#manifest];
    if (head === undefined || manifest === undefined) throw damaged('it has no manifest');
    const read = [...this.#read.values()];
    const same =
      read.length === manifest.entries.length &&
      manifest.entries.every(
        ({ name, bytes, sha256 }, n) =>
          read[n]?.name === name && read[n].bytes === bytes && read[n].sha256 === sha256,
      );
    if (!same) throw damaged('its parts are not those of its manifest');
    if (this.#records !== manifest.records)
      throw damaged(`it has ${this.#records} records of keys and more, and says ${manifest.records}`);
    return { head, manifest };
  }

  #kindOf(name: string): Kind {
    const first = this.#head === undefined;
    if (first !== (name === headName))
      throw new BackupRefusal('not_a_backup', 'this is no backup of intaglio: it does not begin as one');
    if (first) return 'head';
    if (name === manifestName) return 'manifest';
    const [folder, below] = name.split('/');
    // These two have parts of their own, and would be written twice.
    if (folder === 'data' && below !== 'store' && below !== 'audit') return folder;
    if (folder === 'audit') return folder;
    const piece = `store/${String(this.#pieces).padStart(8, '0')}`;
    if (name === piece) return 'store';
    throw new BackupRefusal('unsafe_entry', `an entry belongs nowhere: ${JSON.stringify(name)}`);
  }

  async #takeWhole(kind: Exclude<Kind, 'data' | 'audit'>, bytes: Buffer): Promise<void> {
    if (kind === 'head') {
      this.#head = parseHead(bytes);
      await this.#sink.begin(this.#head);
    } else if (kind === 'manifest') this.#manifest = parseManifest(bytes);
    else {
      const { databases } = this.#head as BackupHead;
      const records = databases.indexOf('records');
      for (const { database } of pieceEntries(bytes, databases.length)) {
        if (database === records) this.#records++;
      }
      this.#pieces++;
      await this.#sink.storePiece(bytes);
    }
  }
}

async function* counted(
  { content }: TarEntry,
  digest: ReturnType<typeof createHash>,
): AsyncGenerator<Uint8Array> {
  for await (const piece of content) {
    digest.update(piece);
    yield piece;
  }
}

async function wholeOf(content: AsyncIterable<Uint8Array>, bytes: number): Promise<Buffer> {
  const whole = Buffer.allocUnsafe(bytes);
  let at = 0;
  for await (const piece of content) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

function damaged(detail: string): BackupRefusal {
  return new BackupRefusal('damaged', `the backup is damaged: ${detail}`);
}

/** Reads a whole backup, and restores nothing. */
export function verifyBackup(
  path: string,
  opens: OpenWith,
  progress: (done: number, of: number) => void,
): Promise<Outcome<{ readonly head: BackupHead; readonly manifest: Manifest }>> {
  const nothing: BackupSink = {
    begin() {},
    async file(_name, content) {
      for await (const _ of content);
    },
    storePiece() {},
  };
  return outcomeOf(() => readBackup(path, opens, nothing, progress));
}
