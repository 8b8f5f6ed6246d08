import { type Dirent, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type LogFile, systemFiles } from '../audit/disk/files.ts';
import { frameHeaderBytes, readFrame } from '../audit/disk/frames.ts';
import { claimedHead, type Head } from '../audit/disk/head.ts';
import {
  epochDirectory,
  epochsIn,
  type Layout,
  layoutOf,
  segmentLeaves,
  walFilesIn,
} from '../audit/disk/layout.ts';
import { parseCheckpoint } from '../audit/format/checkpoint.ts';
import { hashBytes } from '../audit/format/merkle.ts';
import { parseNote } from '../audit/format/note.ts';
import type { BackupTree } from './manifest.ts';
import { BackupRefusal } from './refusal.ts';

/** One file of a backup: its bytes, or the place of so many of them. */
export type SourceFile =
  | { readonly name: string; readonly content: Buffer }
  | { readonly name: string; readonly path: string; readonly bytes: number };

/** A checkpoint that covers the snapshot comes within a second where the log is well; a slow disk takes longer. */
export const checkpointWaitMs = 10_000;
/** Where nobody is seen to write: it takes a container that is not seen, whose log is well. */
export const unseenWaitMs = 2_000;
const pollMs = 50;

export interface LogPlaces {
  readonly auditDir: string;
  readonly headPath: string;
}

/** Every file of a log that nobody writes. */
export function restingLog({ auditDir }: LogPlaces): SourceFile[] {
  return filesBelow(auditDir, 'audit', isOfLog);
}

/**
 * The log beside a service that writes on. Opened before the store's snapshot, so that what is sealed away meanwhile is still read;
 * the files come after it, so that no change in the snapshot is missing.
 */
export class LiveLog {
  readonly #places: LogPlaces;
  readonly #headBytes: Buffer;
  readonly #head: Head;
  readonly #layout: Layout;
  readonly #small: readonly SourceFile[];
  readonly #open = new Map<number, LogFile>();

  constructor(places: LogPlaces) {
    this.#places = places;
    this.#headBytes = systemFiles.read(places.headPath) ?? Buffer.alloc(0);
    const head = headOf(this.#headBytes);
    if (head === undefined)
      throw new BackupRefusal('source_unusable', `${places.headPath} cannot be read: the log has no HEAD`);
    this.#head = head;
    this.#layout = layoutOf(epochDirectory(places.auditDir, head.epoch));
    const ofEpoch = `audit/e${head.epoch}`;
    const checkpoint = systemFiles.read(this.#layout.checkpoint);
    this.#small = [
      ...(checkpoint === undefined ? [] : [{ name: `${ofEpoch}/checkpoint`, content: checkpoint }]),
      ...filesBelow(join(this.#layout.directory, 'keys'), `${ofEpoch}/keys`, isOfLog).map(inMemory),
    ];
    this.#openWal();
  }

  get epoch(): number {
    return this.#head.epoch;
  }

  /** Of the moment before the snapshot: what it demands of the log is there. */
  get head(): SourceFile {
    return { name: 'data/audit.head', content: this.#headBytes };
  }

  /** Waits until a checkpoint covers all that is written now; the newest one there is, where none comes in time. */
  async checkpointBehind(waitMs: number): Promise<BackupTree | undefined> {
    const written = claimedHead(systemFiles, this.#places.headPath)?.written.size ?? 0;
    const untilMs = performance.now() + waitMs;
    for (;;) {
      const checkpoint = publishedIn(this.#layout, this.#head.epoch);
      if ((checkpoint?.size ?? 0) >= written || performance.now() >= untilMs) return checkpoint;
      await delay(pollMs);
    }
  }

  /** `anchorSize`: of the snapshot, whose anchor knows no segment that was sealed later. Undefined: a file is gone; begin anew. */
  files(anchorSize: number): SourceFile[] | undefined {
    this.#openWal();
    const sealed = Math.floor(anchorSize / segmentLeaves);
    const wal = this.#walFiles(sealed * segmentLeaves);
    if (wal === undefined) return undefined;
    const name = `audit/e${this.#head.epoch}`;
    const segments = filesBelow(this.#layout.segments, `${name}/seg`, isOfLog)
      .filter((file) => file.name.endsWith('/roots') || segmentOf(file.name) < sealed)
      .map((file) =>
        file.name.endsWith('/roots') && 'path' in file ? { ...file, bytes: sealed * hashBytes } : file,
      )
      .filter((file) => 'content' in file || file.bytes > 0);
    const others = filesBelow(this.#places.auditDir, 'audit', isOfLog).filter(
      (file) => !file.name.startsWith(`${name}/`) && epochOf(file.name) < this.#head.epoch,
    );
    const quarantine = filesBelow(this.#layout.quarantine, `${name}/quarantine`, isOfLog);
    return [...others, ...this.#small, ...segments, ...quarantine, ...wal];
  }

  close(): void {
    for (const file of this.#open.values()) file.close();
    this.#open.clear();
  }

  #openWal(): void {
    for (const first of walFilesIn(systemFiles, this.#layout)) {
      if (this.#open.has(first)) continue;
      try {
        this.#open.set(first, systemFiles.open(this.#layout.walFile(first), 'read'));
      } catch (cause) {
        // Sealed between the two looks: then its segment is there.
        if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
      }
    }
  }

  /** From this index on without a gap, each up to its last whole frame. */
  #walFiles(from: number): SourceFile[] | undefined {
    const files: SourceFile[] = [];
    let next = from;
    for (const [first, file] of [...this.#open].sort(([one], [other]) => one - other)) {
      if (first < from) continue;
      if (first !== next) return undefined;
      const bytes = Buffer.alloc(file.size());
      const whole = wholeFrames(bytes.subarray(0, file.read(bytes, 0)));
      if (whole.bytes > 0) {
        const name = `audit/e${this.#head.epoch}/wal/${String(first).padStart(20, '0')}.wal`;
        files.push({ name, content: bytes.subarray(0, whole.bytes) });
      }
      next = whole.records === segmentLeaves ? first + segmentLeaves : Number.NaN;
    }
    // A log of a whole number of segments has no file of the next one yet.
    return files.length === 0 && this.#head.written.size > from ? undefined : files;
  }
}

function wholeFrames(file: Buffer): { bytes: number; records: number } {
  let [bytes, records] = [0, 0];
  for (let frame = readFrame(file, 0); frame !== undefined; frame = readFrame(file, bytes)) {
    bytes += frameHeaderBytes + frame.bodyLength;
    records += frame.count;
  }
  return { bytes, records };
}

function headOf(bytes: Buffer): Head | undefined {
  return claimedHead({ ...systemFiles, read: () => bytes }, '');
}

/** The newest checkpoint of a log that rests. */
export function restingCheckpoint({ auditDir, headPath }: LogPlaces): BackupTree | undefined {
  const epoch = claimedHead(systemFiles, headPath)?.epoch ?? epochsIn(systemFiles, auditDir).at(-1);
  return epoch === undefined ? undefined : publishedIn(layoutOf(epochDirectory(auditDir, epoch)), epoch);
}

function publishedIn(layout: Layout, epoch: number): BackupTree | undefined {
  const note = systemFiles.read(layout.checkpoint);
  const parsed = note && parseNote(note);
  const checkpoint = parsed?.ok ? parseCheckpoint(parsed.value.text) : undefined;
  if (!checkpoint?.ok) return undefined;
  const { origin, size, root } = checkpoint.value;
  return { origin, epoch, size, root: Buffer.from(root).toString('hex') };
}

function segmentOf(name: string): number {
  return Number(/\/(\d{12})\.[a-z0-9.]+$/.exec(name)?.[1] ?? Number.NaN);
}

/** Infinity of what belongs to none. */
function epochOf(name: string): number {
  const epoch = /^audit\/e([1-9][0-9]{0,8})\//.exec(name)?.[1];
  return epoch === undefined
    ? name.startsWith('audit/degraded/')
      ? 0
      : Number.POSITIVE_INFINITY
    : Number(epoch);
}

/** Room that is held back is no part of a log, and what is being written is not yet one. */
function isOfLog(name: string): boolean {
  return name !== 'ballast' && !name.endsWith('.tmp');
}

function inMemory(file: SourceFile): SourceFile {
  if ('content' in file) return file;
  return { name: file.name, content: systemFiles.read(file.path) ?? Buffer.alloc(0) };
}

/** Regular files below a directory, in the order of their names; none where there is no directory. */
export function filesBelow(
  directory: string,
  name: string,
  fits: (fileName: string) => boolean,
): SourceFile[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(directory, { withFileTypes: true });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw cause;
  }
  return entries
    .sort((one, other) => (one.name < other.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) return filesBelow(path, `${name}/${entry.name}`, fits);
      if (!entry.isFile() || !fits(entry.name)) return [];
      const bytes = lstatSync(path, { throwIfNoEntry: false })?.size;
      return bytes === undefined ? [] : [{ name: `${name}/${entry.name}`, path, bytes }];
    });
}
