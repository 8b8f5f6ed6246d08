import { mkdir, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { BackupHead } from './manifest.ts';
import type { BackupSink } from './read.ts';
import { BackupRefusal } from './refusal.ts';
import { stagingOf, type Targets } from './staging.ts';
import { StoreWriter } from './store-part.ts';

/** Puts the parts where they wait for the whole. */
export class StagingSink implements BackupSink {
  readonly #targets: Targets;
  #store: StoreWriter | undefined;

  constructor(targets: Targets) {
    this.#targets = targets;
  }

  begin({ databases }: BackupHead): void {
    this.#store = new StoreWriter(stagingOf(this.#targets.dataDir), databases);
  }

  async file(name: string, content: AsyncIterable<Uint8Array>): Promise<void> {
    const path = this.#pathOf(name);
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      const file = await open(path, 'wx', 0o600);
      try {
        for await (const piece of content) await file.writeFile(piece);
        await file.sync();
      } finally {
        await file.close();
      }
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code !== 'EEXIST' && code !== 'ENOTDIR' && code !== 'EISDIR') throw cause;
      throw new BackupRefusal('unsafe_entry', `an entry takes the place of another: ${name}`, { cause });
    }
  }

  storePiece(piece: Buffer): void {
    this.#store?.write(piece);
  }

  async close(): Promise<void> {
    const store = this.#store;
    this.#store = undefined;
    await store?.close();
  }

  #pathOf(name: string): string {
    const { dataDir, auditDir } = this.#targets;
    if (name.startsWith('audit/')) {
      const base = auditDir === undefined ? join(stagingOf(dataDir), 'audit') : stagingOf(auditDir);
      return join(base, name.slice('audit/'.length));
    }
    return join(stagingOf(dataDir), name.slice('data/'.length));
  }
}
