import { basename, join } from 'node:path';
import type { ReadableFiles } from './files.ts';

/** Leaves of a full level-0 tile and of a full entry bundle (C2SP tlog-tiles). */
export const chunkLeaves = 256;
/** Leaves of a segment: one full level-1 tile. */
export const segmentLeaves = chunkLeaves * chunkLeaves;

/** Each epoch is a log of its own: its origin, its directory, its sequence numbers from 1. */
export function epochOrigin(origin: string, epoch: number): string {
  return epoch === 1 ? origin : `${origin}/e${epoch}`;
}

export function epochDirectory(auditDirectory: string, epoch: number): string {
  return join(auditDirectory, `e${epoch}`);
}

/** Of the directory of an epoch. */
export function epochAt(directory: string): number {
  return Number(/^e([1-9][0-9]{0,8})$/.exec(basename(directory))?.[1] ?? 1);
}

/** Epochs of which there is a directory, ascending. */
export function epochsIn(files: ReadableFiles, auditDirectory: string): number[] {
  return files
    .list(auditDirectory)
    .flatMap((name) => /^e([1-9][0-9]{0,8})$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** The proof of a change of the keys that sign checkpoints, and the record that it proves; from 0, in their order. */
export function keyFile(number: number, ending: 'tlog-proof' | 'json'): string {
  return `keys/${number}.${ending}`;
}

/** True if this is such a path. */
export function isKeyFile(path: string): boolean {
  return /^keys\/(0|[1-9][0-9]{0,5})\.(tlog-proof|json)$/.test(path);
}

/** Names of the files of one epoch. */
export interface Layout {
  readonly directory: string;
  readonly wal: string;
  readonly segments: string;
  readonly quarantine: string;
  readonly checkpoint: string;
  /** Roots of sealed segments, 32 bytes each: the hashes of the level-2 tiles. */
  readonly roots: string;
  walFile(firstIndex: number): string;
  /** 256 entry bundles, compressed one by one. */
  entries(segment: number): string;
  /** The level-1 tile. */
  tile(segment: number): string;
  /** The state from which replay begins after the segment. */
  snapshot(segment: number): string;
}

export function layoutOf(directory: string): Layout {
  const wal = join(directory, 'wal');
  const segments = join(directory, 'seg');
  const named = (number: number, ending: string) =>
    join(segments, `${String(number).padStart(12, '0')}.${ending}`);
  return {
    directory,
    wal,
    segments,
    quarantine: join(directory, 'quarantine'),
    checkpoint: join(directory, 'checkpoint'),
    roots: join(segments, 'roots'),
    walFile: (firstIndex) => join(wal, `${String(firstIndex).padStart(20, '0')}.wal`),
    entries: (segment) => named(segment, 'ents.zst'),
    tile: (segment) => named(segment, 'tile1'),
    snapshot: (segment) => named(segment, 'state'),
  };
}

/** First indexes of the frame files, ascending. */
export function walFilesIn(files: ReadableFiles, layout: Layout): number[] {
  return files
    .list(layout.wal)
    .flatMap((name) => /^([0-9]{20})\.wal$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** Numbers of the segments of which there is a file with this ending, ascending. */
export function segmentsIn(
  files: ReadableFiles,
  layout: Layout,
  ending: 'ents.zst' | 'tile1' | 'state',
): number[] {
  return files
    .list(layout.segments)
    .filter((name) => name.endsWith(`.${ending}`))
    .flatMap((name) => /^([0-9]{12})\./.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** True if any epoch in the audit directory has records. */
export function hasRecords(files: ReadableFiles, directory: string): boolean {
  return epochsIn(files, directory).some((epoch) => {
    const layout = layoutOf(epochDirectory(directory, epoch));
    return (
      segmentsIn(files, layout, 'tile1').length > 0 ||
      walFilesIn(files, layout).some((first) => (files.read(layout.walFile(first))?.length ?? 0) > 0)
    );
  });
}
