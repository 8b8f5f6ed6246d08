import { hash } from 'node:crypto';
import type { Anchor } from '../disk/anchor.ts';
import type { Files } from '../disk/files.ts';
import { eachEntry, findFrame, frameHeaderBytes, readFrame } from '../disk/frames.ts';
import { type Head, type HeadFound, type TreeHead, unknownBootId } from '../disk/head.ts';
import { chunkLeaves, type Layout, segmentLeaves, segmentsIn, walFilesIn } from '../disk/layout.ts';
import type { AuditSecrets } from '../disk/secrets.ts';
import { sealedBundles } from '../disk/segments.ts';
import { openSnapshot, type Snapshot } from '../disk/snapshot.ts';
import { openCheckpoint } from '../format/checkpoint.ts';
import type { NoteKey } from '../format/note.ts';
import type { Witnessed } from '../thread-messages.ts';
import { LogState } from './log-state.ts';

/** The facts about the log from elsewhere than its directory. */
export interface RecoveryInput {
  readonly files: Files;
  readonly layout: Layout;
  readonly origin: string;
  readonly epoch: number;
  readonly found: Exclude<HeadFound, 'missing' | 'damaged'>;
  /** Of the key store; undefined where there is none yet. */
  readonly anchor: Anchor | undefined;
  /** True if there is a key store that would have an anchor. */
  readonly anchored: boolean;
  /** The trees of this epoch that witnesses hold. */
  readonly witnessed: readonly Witnessed[];
  /** The attestation keys, from outside the audit directory. */
  readonly keys: readonly NoteKey[];
  readonly bootId: string;
  readonly secrets: AuditSecrets;
}

/** Bytes at the end of the log that are no whole frame: what a crash left of the last write. */
export interface TornTail {
  /** First index of the file that they begin in, and where. */
  readonly file: number;
  readonly offset: number;
  /** Files behind it, all of whose bytes are torn off with it. Only after a power loss. */
  readonly laterFiles: readonly number[];
  readonly bytes: number;
  /** Hex, of all these bytes in their order. */
  readonly sha256: string;
}

export interface Recovered {
  readonly ok: true;
  readonly state: LogState;
  readonly head: Head;
  readonly headCounter: number;
  /** First index of the write-ahead file to go on with, and its length up to the last whole frame. */
  readonly walFirst: number;
  readonly walOffset: number;
  readonly torn: TornTail | undefined;
  /** Records that were written before a power loss and are not here: none of them was `synced`. */
  readonly lost: number;
  /** Records under the newest checkpoint that anything here remembers. */
  readonly covered: number;
}

/** The reason why the log cannot be believed. A closed list: operators and metrics know these words. */
export type IntegrityReason =
  | 'head_missing'
  | 'head_damaged'
  | 'head_behind'
  | 'anchor_missing'
  | 'anchor_rejected'
  | 'anchor_behind'
  | 'anchor_mismatch'
  | 'checkpoint_invalid'
  | 'snapshot_invalid'
  | 'segment_missing'
  | 'segment_damaged'
  | 'frame_damaged'
  | 'frame_out_of_order'
  | 'record_malformed'
  | 'sequence_broken'
  | 'time_goes_back'
  | 'bytes_after_clean_end'
  | 'truncated'
  | 'root_differs'
  /** The keys of the store lack changes that the log has, or have some that the log lacks. */
  | 'store_behind'
  | 'store_ahead'
  /** A witness has cosigned a longer log, or another one. */
  | 'contradicted';

export interface IntegrityFailure {
  readonly ok: false;
  readonly reason: IntegrityReason;
  /** The demand and its source, or the place of the damage; for the operator's log and the next epoch's first record. */
  readonly detail: string;
  readonly size: number;
  /** Hex, of what could be read. */
  readonly root: string;
}

/** A failure where no record could be read. */
export function failureWithoutRecords(reason: IntegrityFailure['reason'], detail: string): IntegrityFailure {
  return { ok: false, reason, detail, size: 0, root: '' };
}

/** Reads the log of one epoch from its newest snapshot on, and holds it against everything that remembers it. Changes nothing. */
export function recover(input: RecoveryInput): Recovered | IntegrityFailure {
  return new Replay(input).run();
}

/** A tree that the log must contain. */
interface Demand extends TreeHead {
  readonly by: 'written' | 'durable' | 'checkpoint' | 'anchor' | 'published' | 'witness';
}

class Failed extends Error {
  readonly reason: IntegrityReason;
  constructor(reason: IntegrityReason, detail: string) {
    super(detail);
    this.reason = reason;
  }
}

class Replay {
  readonly #input: RecoveryInput;
  readonly #head: Head;
  readonly #sameBoot: boolean;
  #state = new LogState();
  #demands: Demand[] = [];
  #beyondHead = 0;
  #covered = 0;

  constructor(input: RecoveryInput) {
    this.#input = input;
    this.#head = input.found.head;
    this.#sameBoot = input.bootId !== unknownBootId && input.bootId === this.#head.bootId;
  }

  run(): Recovered | IntegrityFailure {
    try {
      this.#collectDemands(this.#openCheckpoint()?.tree);
      const openFrom = this.#head.restored ? this.#covered : undefined;
      this.#state = new LogState(this.#loadSnapshot(), openFrom);
      this.#meetDemands();
      this.#replaySealed();
      const { walFirst, walOffset, torn } = this.#replayFrames();
      this.#allDemandsMet();
      const head = this.#head;
      return {
        ok: true,
        state: this.#state,
        head,
        headCounter: this.#input.found.counter,
        walFirst,
        walOffset,
        torn,
        lost: Math.max(0, head.written.size - this.#state.size),
        covered: this.#covered,
      };
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      const root = Buffer.from(this.#state.root()).toString('hex');
      return { ok: false, reason: error.reason, detail: error.message, size: this.#state.size, root };
    }
  }

  #openCheckpoint(): { tree: TreeHead; note: string } | undefined {
    const { files, layout, origin, keys, anchor, anchored } = this.#input;
    const note = files.read(layout.checkpoint);
    if (note === undefined) return undefined;
    const opened = openCheckpoint(note, origin, keys);
    // The store has the keys that sign checkpoints, so a store that is new knows none of this log's.
    if (!opened.ok && anchored && anchor === undefined) {
      throw new Failed(
        'anchor_missing',
        'the key store does not know this log: it is missing, or another one',
      );
    }
    if (!opened.ok) throw new Failed('checkpoint_invalid', opened.failure.hint ?? 'not a checkpoint');
    const { size, root } = opened.value;
    return { tree: { size, root }, note: note.toString() };
  }

  #collectDemands(published: TreeHead | undefined): void {
    const { anchor, anchored, epoch, origin, witnessed } = this.#input;
    const { durable, checkpoint, written, clean } = this.#head;
    const demands: Demand[] = [
      { by: 'durable', ...durable },
      { by: 'checkpoint', ...checkpoint },
    ];
    if (this.#sameBoot || clean) demands.push({ by: 'written', ...written });
    if (published !== undefined) demands.push({ by: 'published', ...published });
    for (const { witness, size, root } of witnessed) {
      const known = anchor?.epoch === epoch ? anchor.size : 0;
      if (anchored && known < size) {
        throw new Failed(
          'contradicted',
          `witness ${witness} has cosigned ${size} records, the key store remembers ${known}`,
        );
      }
      demands.push({ by: 'witness', size, root });
    }
    // The anchor is saved before HEAD counts a checkpoint and before anyone sees it.
    const seen = Math.max(checkpoint.size, published?.size ?? 0);
    this.#covered = seen;
    if (anchor !== undefined && anchor.epoch === epoch) {
      if (anchor.origin !== origin) throw new Failed('anchor_mismatch', 'the anchor is of another log');
      if (anchor.size < seen) {
        throw new Failed('anchor_behind', `the key store remembers ${anchor.size} of ${seen} records`);
      }
      demands.push({ by: 'anchor', size: anchor.size, root: anchor.root });
      this.#covered = anchor.size;
    } else if (anchored && seen > 0) {
      if (anchor === undefined) throw new Failed('anchor_missing', 'the key store does not know this log');
      throw new Failed(
        'anchor_mismatch',
        `the key store is at epoch ${anchor.epoch}, the log at epoch ${epoch}`,
      );
    } else if (anchor !== undefined && anchor.epoch > epoch) {
      throw new Failed(
        'anchor_mismatch',
        `the key store is at epoch ${anchor.epoch}, HEAD at epoch ${epoch}`,
      );
    }
    this.#demands = demands.sort((a, b) => a.size - b.size);
  }

  #loadSnapshot(): Snapshot | undefined {
    const { files, layout, origin, secrets } = this.#input;
    const newest = segmentsIn(files, layout, 'state').at(-1);
    if (newest === undefined) return undefined;
    const snapshot = openSnapshot(
      origin,
      files.read(layout.snapshot(newest)) ?? Buffer.alloc(0),
      secrets.snapshot,
    );
    if (snapshot?.size !== (newest + 1) * segmentLeaves) {
      throw new Failed('snapshot_invalid', `the snapshot of segment ${newest} is not authentic`);
    }
    return snapshot;
  }

  /** Sealed segments are all there; those behind the snapshot are replayed. What lies before it is for the scrub. */
  #replaySealed(): void {
    const { files, layout } = this.#input;
    const sealed = segmentsIn(files, layout, 'tile1');
    const contiguous = sealed.every((segment, index) => segment === index);
    const snapshotSegments = this.#state.size / segmentLeaves;
    if (!contiguous || sealed.length < snapshotSegments) {
      throw new Failed(
        'segment_missing',
        `${sealed.length} of ${snapshotSegments} sealed segments are there`,
      );
    }
    const minimum = this.#head.minimumIndex / segmentLeaves;
    const withEntries = new Set(segmentsIn(files, layout, 'ents.zst'));
    for (let segment = minimum; segment < snapshotSegments; segment++) {
      if (!withEntries.has(segment)) {
        throw new Failed('segment_missing', `the entries of segment ${segment} are gone`);
      }
    }
    const wal = new Set(walFilesIn(files, layout));
    while (!wal.has(this.#state.size) && withEntries.has(this.#state.size / segmentLeaves)) {
      this.#replaySegment(this.#state.size / segmentLeaves);
    }
  }

  #replaySegment(segment: number): void {
    const { files, layout } = this.#input;
    for (const bundle of sealedBundles(files, layout, segment)) {
      const whole =
        bundle !== undefined &&
        eachEntry(bundle, 0, bundle.length, chunkLeaves, (start, length) =>
          this.#take(bundle, start, length),
        );
      if (!whole) throw new Failed('segment_damaged', `segment ${segment} is damaged`);
    }
  }

  #replayFrames(): { walFirst: number; walOffset: number; torn: TornTail | undefined } {
    const { files, layout } = this.#input;
    // Files before the snapshot were sealed; a crash came before they were removed.
    const names = walFilesIn(files, layout).filter((first) => first >= this.#state.size);
    let [walFirst, walOffset] = [this.#state.size, 0];
    for (const [position, first] of names.entries()) {
      if (first !== this.#state.size || first % segmentLeaves !== 0) {
        throw new Failed('segment_missing', `a file begins at ${first}, the log ends at ${this.#state.size}`);
      }
      const bytes = files.read(layout.walFile(first)) ?? Buffer.alloc(0);
      walFirst = first;
      walOffset = this.#replayFile(bytes, first);
      const later = names.slice(position + 1);
      if (walOffset < bytes.length || (later.length > 0 && this.#state.size !== first + segmentLeaves)) {
        return { walFirst, walOffset, torn: this.#tornTail(bytes, first, walOffset, later) };
      }
    }
    // A full file is closed; the next one was not made yet.
    if (this.#state.size === walFirst + segmentLeaves) [walFirst, walOffset] = [this.#state.size, 0];
    return { walFirst, walOffset, torn: undefined };
  }

  /** The end of the file's whole frames. */
  #replayFile(bytes: Buffer, first: number): number {
    let offset = 0;
    while (offset < bytes.length) {
      const frame = readFrame(bytes, offset);
      if (frame === undefined) return offset;
      const where = `the frame at byte ${offset} of the file that begins at ${first}`;
      if (frame.firstIndex !== this.#state.size || frame.count === 0) {
        throw new Failed('frame_out_of_order', `${where} does not continue the log`);
      }
      if (this.#state.size + frame.count > first + segmentLeaves) {
        throw new Failed('frame_out_of_order', `${where} goes past the segment`);
      }
      if (Buffer.compare(frame.rootBefore, this.#state.root()) !== 0) {
        throw new Failed('root_differs', `${where} continues another history`);
      }
      const body = offset + frameHeaderBytes;
      const whole = eachEntry(bytes, body, frame.bodyLength, frame.count, (start, length) =>
        this.#take(bytes, start, length),
      );
      if (!whole) throw new Failed('record_malformed', `${where} does not hold what it says`);
      offset = body + frame.bodyLength;
      this.#countBeyondHead(frame.firstIndex);
    }
    return offset;
  }

  /** HEAD is written after each frame, so a process that is killed leaves at most one that HEAD does not know. */
  #countBeyondHead(firstIndex: number): void {
    const { clean, written } = this.#head;
    if (firstIndex < written.size) return;
    if (clean) throw new Failed('bytes_after_clean_end', 'the log was closed, and records follow');
    this.#beyondHead++;
    if (this.#sameBoot && this.#beyondHead > 1) {
      throw new Failed('head_behind', `HEAD knows ${written.size} records, and more than one frame follows`);
    }
  }

  #take(bytes: Buffer, start: number, length: number): boolean {
    const index = this.#state.size;
    const record = this.#state.replay(bytes, start, length);
    if (record === 'malformed') throw new Failed('record_malformed', `record ${index} is malformed`);
    if (record === 'sequence') {
      throw new Failed('sequence_broken', `record ${index} breaks the sequence of its key`);
    }
    if (record === 'time') throw new Failed('time_goes_back', `record ${index} is older than the one before`);
    // Before that every change is decided.
    if (index >= this.#covered && record.type === undefined && !record.result.startsWith('denied')) {
      this.#state.keys.used(record.key_id, record.key_version);
    }
    if (this.#demands[0]?.size === this.#state.size) this.#meetDemands();
    return true;
  }

  /** Holds the tree as it is now against what was demanded of this size. */
  #meetDemands(): void {
    for (let demand = this.#demands[0]; demand !== undefined; demand = this.#demands[0]) {
      if (demand.size > this.#state.size) return;
      if (demand.by === 'witness' && demand.size < this.#state.size) {
        // It lies before the snapshot: the witness asks for the proof itself when it is to cosign more.
        this.#demands.shift();
        continue;
      }
      if (demand.size < this.#state.size) {
        // Segments are sealed only behind a checkpoint that was anchored and published.
        throw new Failed('anchor_behind', `${demand.by} knows ${demand.size} records, fewer than are sealed`);
      }
      if (Buffer.compare(demand.root, this.#state.root()) !== 0) {
        throw new Failed(
          demand.by === 'witness' ? 'contradicted' : 'root_differs',
          `at ${demand.size} records ${demand.by} remembers another root`,
        );
      }
      this.#demands.shift();
    }
  }

  #allDemandsMet(): void {
    const missed = this.#demands.at(-1);
    if (missed === undefined) return;
    const reason = missed.by === 'witness' ? 'contradicted' : 'truncated';
    throw new Failed(reason, `${missed.by} knows ${missed.size} records, ${this.#state.size} are there`);
  }

  /** A write that a crash cut short, or a failure. */
  #tornTail(bytes: Buffer, file: number, offset: number, laterFiles: readonly number[]): TornTail {
    const { files, layout } = this.#input;
    if (this.#head.clean) {
      const { size } = this.#head.written;
      if (this.#state.size >= size) {
        throw new Failed('bytes_after_clean_end', 'the log was closed, and something follows');
      }
      throw new Failed(
        'frame_damaged',
        `damage, or the end, at byte ${offset} of the file that begins at ${file}: ${this.#state.size} of ${size} records lie before it`,
      );
    }
    // After a power loss any page behind the last fdatasync may be missing, whatever lies behind it; `durable` decides.
    // Otherwise writes are cut only at their end.
    if (this.#sameBoot && (laterFiles.length > 0 || findFrame(bytes, offset + 1) !== undefined)) {
      throw new Failed('frame_damaged', `damage at byte ${offset} of the file that begins at ${file}`);
    }
    const tails = [
      bytes.subarray(offset),
      ...laterFiles.map((first) => files.read(layout.walFile(first)) ?? Buffer.alloc(0)),
    ];
    const all = Buffer.concat(tails);
    return { file, offset, laterFiles, bytes: all.length, sha256: hash('sha256', all, 'hex') };
  }
}
