import { createHash, randomUUID } from 'node:crypto';
import { statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename } from 'node:path';
import type { DataPart } from './data-part.ts';
import type { SourceFile } from './log-part.ts';
import {
  type BackupHead,
  type BackupTree,
  headName,
  type Manifest,
  manifestName,
  newHead,
} from './manifest.ts';
import { BackupRefusal } from './refusal.ts';
import type { StoreSnapshot } from './store-part.ts';
import { isEntryName, tarEnd, tarHeader, tarPadding } from './tar.ts';

const readBytes = 1024 * 1024;

/** All that goes into a backup, as it was at one moment. */
export interface Gathered {
  readonly live: boolean;
  readonly snapshot: StoreSnapshot;
  readonly files: readonly SourceFile[];
  readonly data: DataPart;
  readonly checkpoint: BackupTree | undefined;
  readonly anchorSize: number;
  close(): Promise<void>;
}

export interface ArchiveOptions {
  /** Of this program. */
  readonly version: string;
  /** For the estimate of what there is to do. */
  readonly storeFile: string;
  progress(done: number, of: number): void;
}

/** The bytes of a backup before they are sealed. */
export class Archive {
  readonly head: BackupHead;
  readonly skipped: string[] = [];
  manifest: Manifest | undefined;
  readonly #options: ArchiveOptions;
  readonly #gathered: Gathered;
  readonly #entries: { name: string; bytes: number; sha256: string }[] = [];
  #done = 0;
  readonly #expected: number;

  constructor(gathered: Gathered, options: ArchiveOptions) {
    const { live, snapshot, data, files } = gathered;
    this.#options = options;
    this.#gathered = gathered;
    this.head = newHead({
      ...{ id: randomUUID(), version: options.version, createdAtMs: Date.now(), live },
      ...{ databases: [...snapshot.databases], rootKey: data.rootKey },
    });
    const ofFiles = [...data.files, ...files].reduce((sum, each) => sum + bytesOf(each), 0);
    this.#expected = ofFiles + statSync(options.storeFile).size;
  }

  async *bytes(): AsyncGenerator<Uint8Array> {
    const { data, files, snapshot, checkpoint, anchorSize } = this.#gathered;
    yield* this.#whole(headName, jsonBytes(this.head));
    for (const file of [...data.files, ...files]) {
      if (!isEntryName(file.name)) this.skipped.push(file.name);
      else if ('content' in file) yield* this.#whole(file.name, file.content);
      else yield* this.#file(file);
    }
    let number = 0;
    for await (const piece of snapshot.pieces(() => {})) {
      yield* this.#whole(`store/${String(number).padStart(8, '0')}`, piece);
      number++;
    }
    this.manifest = {
      ...{
        entries: [...this.#entries],
        records: snapshot.records,
        anchorSize,
      },
      ...(checkpoint && { checkpoint }),
    };
    yield* this.#whole(manifestName, jsonBytes(this.manifest));
    yield tarEnd;
  }

  *#whole(name: string, content: Buffer): Generator<Uint8Array> {
    yield tarHeader(name, content.length);
    if (content.length > 0) yield content;
    yield* this.#ends(name, content.length, createHash('sha256').update(content).digest('hex'));
  }

  async *#file({ name, path, bytes }: Extract<SourceFile, { path: string }>): AsyncGenerator<Uint8Array> {
    yield tarHeader(name, bytes);
    const digest = createHash('sha256');
    const file = await open(path);
    try {
      for (let at = 0; at < bytes; ) {
        const piece = Buffer.allocUnsafe(Math.min(readBytes, bytes - at));
        const { bytesRead } = await file.read(piece, 0, piece.length, at);
        if (bytesRead === 0)
          throw new BackupRefusal('source_unusable', `${basename(path)} became shorter while it was read`);
        at += bytesRead;
        digest.update(piece.subarray(0, bytesRead));
        yield piece.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
    yield* this.#ends(name, bytes, digest.digest('hex'));
  }

  *#ends(name: string, bytes: number, sha256: string): Generator<Uint8Array> {
    const padding = tarPadding(bytes);
    if (padding.length > 0) yield padding;
    this.#entries.push({ name, bytes, sha256 });
    this.#done += bytes;
    this.#options.progress(this.#done, Math.max(this.#expected, this.#done));
  }
}

function bytesOf(file: SourceFile): number {
  return 'content' in file ? file.content.length : file.bytes;
}

function jsonBytes(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}
