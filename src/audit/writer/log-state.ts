import { chunkLeaves, segmentLeaves } from '../disk/layout.ts';
import { LoggedKeys } from '../disk/logged-keys.ts';
import type { SegmentToSeal } from '../disk/segments.ts';
import type { Snapshot } from '../disk/snapshot.ts';
import { Frontier, hashBytes, leafHashInPlace } from '../format/merkle.ts';
import { type AuditRecord, parseRecord } from '../format/record.ts';

/** A segment whose last record was appended: all that sealing it takes, besides its entries. */
export interface FullSegment extends SegmentToSeal {
  /** The state after its last record. */
  readonly snapshot: Snapshot;
}

/**
 * The state that the next record depends on: the tree, the keys' sequence numbers, the last time stamp, the log's view of the
 * keys.
 */
export class LogState {
  readonly seqs: Map<string, number>;
  readonly keys: LoggedKeys;
  lastTs: number;
  /** Segments that became full and were not taken away yet. */
  readonly full: FullSegment[] = [];
  readonly #frontier: Frontier;
  #tile = new Uint8Array(chunkLeaves * hashBytes);
  #segmentRoot: Uint8Array | undefined;

  /** `openFrom`: see LoggedKeys. */
  constructor(from?: Snapshot, openFrom?: number) {
    this.seqs = new Map(from?.seqs);
    this.keys = new LoggedKeys(from?.keys, openFrom);
    this.lastTs = from?.lastTs ?? 0;
    this.#frontier = Frontier.of(from?.size ?? 0, from?.nodes ?? [], (level, hash) => {
      if (level === 1) {
        this.#tile.set(hash, (Math.floor(this.size / chunkLeaves) % chunkLeaves) * hashBytes);
      } else if (level === 2) {
        this.#segmentRoot = hash;
      }
    });
  }

  get size(): number {
    return this.#frontier.size;
  }

  root(): Uint8Array {
    return this.#frontier.root();
  }

  /** The next sequence number of the key; counted. */
  nextSeq(keyId: string): number {
    const seq = (this.seqs.get(keyId) ?? 0) + 1;
    this.seqs.set(keyId, seq);
    return seq;
  }

  /** Takes the leaf at bytes[start, start + length) into the tree. The byte before it must be there. */
  appendLeaf(bytes: Buffer, start: number, length: number): void {
    this.#frontier.appendLatin1(leafHashInPlace(bytes, start, length));
    if (this.size % segmentLeaves === 0) this.#segmentEnds();
  }

  /** Takes a stored entry, or says what is wrong with it. */
  replay(bytes: Buffer, start: number, length: number): AuditRecord | 'malformed' | 'sequence' | 'time' {
    const record = parseRecord(bytes.subarray(start, start + length));
    if (record === undefined) return 'malformed';
    if (record.ts < this.lastTs) return 'time';
    if (this.nextSeq(record.key_id) !== record.seq) return 'sequence';
    this.lastTs = record.ts;
    if (record.type !== undefined) this.keys.apply(record, this.size);
    this.appendLeaf(bytes, start, length);
    return record;
  }

  #segmentEnds(): void {
    const root = this.#segmentRoot;
    if (root === undefined) throw new Error('a full segment has a root');
    this.full.push({
      segment: this.size / segmentLeaves - 1,
      tile: this.#tile,
      root,
      snapshot: {
        size: this.size,
        nodes: this.#frontier.nodes(),
        lastTs: this.lastTs,
        seqs: new Map(this.seqs),
        keys: this.keys.snapshot(),
      },
    });
    this.#tile = new Uint8Array(chunkLeaves * hashBytes);
  }
}
