import { setTimeout as sleep } from 'node:timers/promises';
import type { Files } from '../disk/files.ts';
import { eachEntry } from '../disk/frames.ts';
import { chunkLeaves, type Layout, segmentLeaves, segmentsIn } from '../disk/layout.ts';
import { sealedBundles } from '../disk/segments.ts';
import { Frontier, hashBytes, leafHashInPlace } from '../format/merkle.ts';
import { statistic } from '../thread-messages.ts';
import { DiskFailures } from './disk-failures.ts';

export interface ScrubStep {
  /** Chunks of 256 records compared so far, and how many there are. */
  readonly chunks: number;
  readonly of: number;
  /** The damage, in words for the operator; nothing follows then. */
  readonly damage: string | undefined;
}

/**
 * Compares every entry of the sealed segments with the tiles, the tiles with the segments' roots; a chunk at a time, so
 * that the caller may pause. The frames of the last segments are read whole at every start. `minimumIndex`: entries before
 * it need not be here, and go while this runs. Throws as the disk does.
 */
export function* scrubLog(files: Files, layout: Layout, minimumIndex: () => number): Generator<ScrubStep> {
  const sealed = segmentsIn(files, layout, 'tile1');
  // A segment that is being sealed has its tile before its root.
  const snapshots = segmentsIn(files, layout, 'state').at(-1) ?? -1;
  const withEntries = new Set(segmentsIn(files, layout, 'ents.zst'));
  const roots = files.read(layout.roots) ?? Buffer.alloc(0);
  const whole = sealed.filter((segment) => segment <= snapshots);
  const of = whole.filter((segment) => withEntries.has(segment)).length * chunkLeaves;
  let chunks = 0;
  for (const segment of whole) {
    const tile = files.read(layout.tile(segment)) ?? Buffer.alloc(0);
    const root = roots.subarray(segment * hashBytes, (segment + 1) * hashBytes);
    const damage = tileDamage(tile, root, segment);
    if (damage !== undefined) {
      yield { chunks, of, damage };
      return;
    }
    const kept = () => segment * segmentLeaves >= minimumIndex();
    if (!withEntries.has(segment)) {
      if (!kept()) continue;
      yield { chunks, of, damage: `the entries of segment ${segment} are gone` };
      return;
    }
    let chunk = 0;
    for (const bundle of sealedBundles(files, layout, segment)) {
      const expected = tile.subarray(chunk * hashBytes, (chunk + 1) * hashBytes);
      if (bundle === undefined && !kept()) break;
      const found = bundle && chunkRoot(bundle);
      if (found === undefined || !expected.equals(found)) {
        const first = segment * segmentLeaves + chunk * chunkLeaves;
        yield { chunks, of, damage: `entries from ${first} on do not fit their tile` };
        return;
      }
      chunk++;
      chunks++;
      yield { chunks, of, damage: undefined };
    }
  }
}

/** A scrub that failed begins with the first segment again, which is 22 MB to read. */
const retryMs = 1_000;

export interface SlowScrub {
  readonly files: Files;
  readonly layout: Layout;
  readonly statistics: Float64Array;
  /** Between chunks. */
  readonly pauseMs: number;
  goesOn(): boolean;
  /** With the system's error code, once; undefined: the disk gives everything again. */
  failed(cause: string | undefined): void;
}

/** `scrubLog` from end to end, as soon as the disk lets it. The damage that it found. */
export async function scrubSlowly(scrub: SlowScrub): Promise<string | undefined> {
  const failures = new DiskFailures((_, cause) => scrub.failed(cause));
  while (scrub.goesOn()) {
    try {
      const damage = await scrubOnce(scrub);
      failures.ended('scrub');
      return damage;
    } catch (error) {
      // It says nothing about what is on the disk, and must not end the thread that writes.
      failures.began('scrub', error);
      await sleep(retryMs, undefined, { ref: false });
    }
  }
  return undefined;
}

async function scrubOnce({ files, layout, statistics, ...scrub }: SlowScrub): Promise<string | undefined> {
  const minimumIndex = () => statistics[statistic.minimumIndex] ?? 0;
  for (const { chunks, damage } of scrubLog(files, layout, minimumIndex)) {
    if (!scrub.goesOn()) return undefined;
    if (damage !== undefined) return damage;
    statistics[statistic.scrubbedChunks] = chunks;
    await sleep(scrub.pauseMs, undefined, { ref: false });
  }
  return undefined;
}

function tileDamage(tile: Buffer, root: Buffer, segment: number): string | undefined {
  if (tile.length !== chunkLeaves * hashBytes) return `the tile of segment ${segment} has the wrong length`;
  const frontier = new Frontier();
  for (let chunk = 0; chunk < chunkLeaves; chunk++) {
    frontier.append(tile.subarray(chunk * hashBytes, (chunk + 1) * hashBytes));
  }
  return root.equals(frontier.root()) ? undefined : `the tile of segment ${segment} does not fit its root`;
}

/** The root over a full bundle; undefined where it does not hold 256 entries. */
export function chunkRoot(bundle: Buffer): Uint8Array | undefined {
  const frontier = new Frontier();
  const whole = eachEntry(bundle, 0, bundle.length, chunkLeaves, (start, length) => {
    frontier.appendLatin1(leafHashInPlace(bundle, start, length));
    return true;
  });
  return whole ? frontier.root() : undefined;
}
