import { createHash, randomBytes } from 'node:crypto';
import { existsSync, linkSync, lstatSync, readdirSync, realpathSync, renameSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { anchorKey } from '../audit/disk/anchor.ts';
import { systemFiles } from '../audit/disk/files.ts';
import { claimedHead } from '../audit/disk/head.ts';
import type { SealTo } from '../custody/root-key/age.ts';
import { checkBeforeOpening } from '../store/lmdb/data-file.ts';
import { lockDirectory } from '../store/lmdb/directory-lock.ts';
import { sealBytes } from './age.ts';
import { Archive, type Gathered } from './archive.ts';
import { type DataPart, type DataPlaces, dataPart } from './data-part.ts';
import {
  checkpointWaitMs,
  LiveLog,
  type LogPlaces,
  restingCheckpoint,
  restingLog,
  unseenWaitMs,
} from './log-part.ts';
import type { BackupHead, Manifest } from './manifest.ts';
import { BackupRefusal, type Outcome, outcomeOf } from './refusal.ts';
import { openStoreSnapshot, type StoreSnapshot } from './store-part.ts';

/** Whoever seals a segment, rotates a root key or begins an epoch between two looks does it once. */
const maxAttempts = 5;

export interface CreateOptions {
  readonly places: DataPlaces;
  /** The backup's file; its directory is there. */
  readonly out: string;
  readonly sealTo: SealTo;
  readonly withRootKey: boolean;
  /** An older file of this name is replaced. */
  readonly force: boolean;
  /** Of this program. */
  readonly version: string;
  /** Bytes that went in, and how many there are to be; the second is an estimate. */
  progress(done: number, of: number): void;
  /** Aborted: the backup is not made, and leaves nothing. */
  readonly signal?: AbortSignal;
}

export interface BackupReport {
  readonly head: BackupHead;
  readonly manifest: Manifest;
  /** Of the sealed file. */
  readonly bytes: number;
  /** Files of the data directory that are not in it, for their names. */
  readonly skipped: readonly string[];
  /** Files beside it that a backup of the same name had left when it was killed; they are gone. */
  readonly removed: readonly string[];
}

/** One sealed file of everything in a data directory; a service there may go on meanwhile. */
export function createBackup(options: CreateOptions): Promise<Outcome<BackupReport>> {
  return outcomeOf(async () => {
    requirePlace(options);
    const gathered = await gather(options.places, options.withRootKey);
    try {
      return await write(options, gathered);
    } finally {
      await gathered.close();
    }
  });
}

function requirePlace({ out, force, places: { dataDir, auditDir } }: CreateOptions): void {
  const directory = dirname(resolve(out));
  if (!existsSync(directory)) throw new BackupRefusal('target_unsafe', `there is no directory ${directory}`);
  for (const own of [dataDir, auditDir].filter((path) => existsSync(path))) {
    const inside = relative(realpathSync(own), realpathSync(directory));
    if (inside === '' || (!inside.startsWith('..') && inside !== resolve(inside)))
      throw new BackupRefusal('target_unsafe', `${out} would lie in ${own}, which it is a backup of`);
  }
  const found = lstatSync(out, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isFile()) throw new BackupRefusal('target_unsafe', `${out} is there, and is no regular file`);
  if (!force) throw new BackupRefusal('file_exists', `${out} is there already; --force replaces it`);
}

async function gather(places: DataPlaces, withRootKey: boolean): Promise<Gathered> {
  const directory = join(places.dataDir, 'store');
  if (!existsSync(join(directory, 'data.mdb')))
    throw new BackupRefusal('source_unusable', `there is no store in ${places.dataDir}`);
  const unlock = await lockDirectory(directory);
  try {
    if (unlock !== undefined) requireWhole(join(directory, 'data.mdb'));
    // A log that was not closed is one that is written: by whoever holds the lock, by a container that this one does not
    // see, or by a process that was killed.
    const rests = unlock !== undefined && isClosed(logPlacesOf(places));
    const gathered = await (rests
      ? gatherResting(places, withRootKey)
      : gatherLive(places, withRootKey, unlock === undefined ? checkpointWaitMs : unseenWaitMs));
    return {
      ...gathered,
      async close() {
        await gathered.close();
        await unlock?.();
      },
    };
  } catch (cause) {
    await unlock?.();
    throw cause;
  }
}

function requireWhole(dataFile: string): void {
  try {
    checkBeforeOpening(dataFile);
  } catch (cause) {
    throw new BackupRefusal('source_unusable', (cause as Error).message, { cause });
  }
}

/** True too where there is no log yet. */
function isClosed({ headPath }: LogPlaces): boolean {
  return claimedHead(systemFiles, headPath)?.clean ?? true;
}

async function gatherResting(places: DataPlaces, withRootKey: boolean): Promise<Gathered> {
  const snapshot = await openStoreSnapshot(places.dataDir);
  const logPlaces = logPlacesOf(places);
  const head = systemFiles.read(logPlaces.headPath);
  return {
    live: false,
    snapshot,
    files: [
      ...(head === undefined ? [] : [{ name: 'data/audit.head', content: head }]),
      ...restingLog(logPlaces),
    ],
    data: dataPart(places, withRootKey),
    checkpoint: restingCheckpoint(logPlaces),
    anchorSize: anchorIn(snapshot)?.size ?? 0,
    close: () => snapshot.close(),
  };
}

async function gatherLive(places: DataPlaces, withRootKey: boolean, waitMs: number): Promise<Gathered> {
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const gathered = await tryLive(places, withRootKey, waitMs);
    if (gathered !== undefined) return gathered;
  }
  throw new BackupRefusal('source_unusable', 'the data directory changes too fast; try again');
}

/** Undefined: something was changed between two looks. */
async function tryLive(
  places: DataPlaces,
  withRootKey: boolean,
  waitMs: number,
): Promise<Gathered | undefined> {
  const rootBefore = fingerprint(dataPart(places, true));
  const log = new LiveLog(logPlacesOf(places));
  let snapshot: StoreSnapshot | undefined;
  try {
    snapshot = await openStoreSnapshot(places.dataDir);
    const anchor = anchorIn(snapshot);
    const checkpoint = await log.checkpointBehind(waitMs);
    const files = log.files(anchor?.size ?? 0);
    const sameEpoch = anchor === undefined || anchor.epoch === log.epoch;
    if (files === undefined || !sameEpoch || fingerprint(dataPart(places, true)) !== rootBefore) {
      await snapshot.close();
      return undefined;
    }
    const opened = snapshot;
    return {
      ...{ live: true, snapshot, checkpoint, anchorSize: anchor?.size ?? 0 },
      files: [log.head, ...files],
      data: dataPart(places, withRootKey),
      close: () => opened.close(),
    };
  } catch (cause) {
    await snapshot?.close();
    throw cause;
  } finally {
    log.close();
  }
}

/** Of the root key's sources: a rotation that ends in between would leave a snapshot under a key that is not here. */
function fingerprint({ files }: DataPart): string {
  const digest = createHash('sha256');
  for (const file of files) {
    if ('content' in file) digest.update(file.content);
    else if (file.name === 'data/root-sources.json')
      digest.update(systemFiles.read(file.path) ?? Buffer.alloc(0));
  }
  return digest.digest('hex');
}

function logPlacesOf({ dataDir, auditDir }: DataPlaces): LogPlaces {
  return { auditDir, headPath: join(dataDir, 'audit.head') };
}

/** The anchor as it says itself: JSON, and a MAC behind it. */
function anchorIn(snapshot: StoreSnapshot): { readonly size: number; readonly epoch: number } | undefined {
  const stored = snapshot.get(anchorKey);
  if (stored === undefined) return undefined;
  try {
    const { size, epoch } = JSON.parse(stored.toString('utf8', 0, stored.length - 32));
    if (Number.isSafeInteger(size) && Number.isSafeInteger(epoch)) return { size, epoch };
  } catch {
    // Told below.
  }
  throw new BackupRefusal('source_unusable', 'the anchor of the audit log in the store cannot be read');
}

/** One that is so young may be of a process that has not locked it yet, in milliseconds. */
const leftOverAfterMs = 10_000;

/** What backups of this name have left that were killed while they were written. Who writes one holds it. */
async function removeLeftOver(out: string): Promise<string[]> {
  const directory = dirname(out);
  const ours = new RegExp(`^${RegExp.escape(basename(out))}\\.[0-9a-f]{12}\\.partial$`);
  const removed: string[] = [];
  for (const name of readdirSync(directory).filter((each) => ours.test(each))) {
    const path = join(directory, name);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat?.isFile() !== true || Date.now() - stat.mtimeMs < leftOverAfterMs) continue;
    const unlock = await lockDirectory(path);
    if (unlock === undefined) continue;
    rmSync(path, { force: true });
    await unlock();
    removed.push(name);
  }
  return removed;
}

async function write(options: CreateOptions, gathered: Gathered): Promise<BackupReport> {
  const { out, force } = options;
  const removed = await removeLeftOver(resolve(out));
  const beside = `${resolve(out)}.${randomBytes(6).toString('hex')}.partial`;
  let unlock: (() => Promise<void>) | undefined;
  try {
    const file = await open(beside, 'wx', 0o600);
    let written: Omit<BackupReport, 'removed'>;
    try {
      unlock = await lockDirectory(beside);
      written = await writeSealed(file, options, gathered);
      await file.sync();
    } finally {
      await file.close();
    }
    try {
      if (force) renameSync(beside, out);
      else linkSync(beside, out);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
      throw new BackupRefusal('file_exists', `${out} is there already; --force replaces it`, { cause });
    }
    await systemFiles.syncDirectory(dirname(resolve(out)));
    return { ...written, removed };
  } finally {
    rmSync(beside, { force: true });
    await unlock?.();
  }
}

async function writeSealed(
  file: FileHandle,
  options: CreateOptions,
  gathered: Gathered,
): Promise<Omit<BackupReport, 'removed'>> {
  const content = new Archive(gathered, {
    version: options.version,
    storeFile: join(options.places.dataDir, 'store', 'data.mdb'),
    progress: options.progress,
  });
  let bytes = 0;
  for await (const piece of await sealBytes(options.sealTo, content.bytes())) {
    if (options.signal?.aborted === true)
      throw new BackupRefusal('interrupted', 'the backup was interrupted, and nothing of it is left');
    await file.writeFile(piece);
    bytes += piece.length;
  }
  const { head, manifest, skipped } = content;
  if (manifest === undefined) throw new Error('a backup ends with its manifest');
  return { head, manifest, bytes, skipped };
}
