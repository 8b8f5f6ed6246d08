import { decodeBase64, encodeBase64 } from '../../core/bytes.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import { type OpenedCheckpoint, openCheckpoint, parseCheckpoint } from './checkpoint.ts';
import { hashBytes, leafHash, verifyInclusion } from './merkle.ts';
import { type NoteKey, parseNote } from './note.ts';

/** Offline proofs: C2SP tlog-proof. One file that shows, with the entry and the log's keys, that the entry is on the log. */

const header = 'c2sp.org/tlog-proof@v1\n';

/** A tree of 2^53 leaves has paths of 53; C2SP allows 63. */
const maxPath = 63;

export interface TlogProof {
  readonly index: number;
  readonly path: readonly Uint8Array[];
  /** The signed note. */
  readonly checkpoint: Uint8Array;
}

export function formatTlogProof({ index, path, checkpoint }: TlogProof): Uint8Array {
  const hashes = path.map((hash) => `${encodeBase64(hash)}\n`).join('');
  return Buffer.concat([Buffer.from(`${header}index ${index}\n${hashes}\n`), checkpoint]);
}

/** With the size that the checkpoint says. */
export interface ParsedTlogProof extends TlogProof {
  readonly size: number;
}

/** Reads a proof; nothing of it is verified. An `extra` line, which other logs may add, is passed over. */
export function parseTlogProof(bytes: Uint8Array): Result<ParsedTlogProof> {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  const [head, index, hashes] =
    /^c2sp\.org\/tlog-proof@v1\n(?:extra [A-Za-z0-9+/=]*\n)?index (0|[1-9][0-9]{0,15})\n((?:[^\n]+\n)*)\n/.exec(
      text,
    ) ?? [];
  if (head === undefined || index === undefined || hashes === undefined) {
    return refuse('BadRequest', 'not a proof that begins with c2sp.org/tlog-proof@v1 and an index');
  }
  const path: Uint8Array[] = [];
  for (const line of hashes.split('\n').slice(0, -1)) {
    const hash = decodeBase64(line, hashBytes);
    if (hash?.length !== hashBytes) return refuse('BadRequest', 'the proof has a hash that is not one');
    path.push(hash);
  }
  if (path.length > maxPath || !Number.isSafeInteger(Number(index))) {
    return refuse('BadRequest', 'the proof is longer than any tree is high');
  }
  const checkpoint = bytes.subarray(head.length);
  const note = parseNote(checkpoint);
  if (!note.ok) return note;
  const parsed = parseCheckpoint(note.value.text);
  return parsed.ok ? ok({ index: Number(index), path, checkpoint, size: parsed.value.size }) : parsed;
}

export interface ProvenEntry {
  readonly index: number;
  readonly checkpoint: OpenedCheckpoint;
}

/** The place of `entry` on the log of this origin, proven by one of its signed checkpoints. `keys` as for `openCheckpoint`. */
export function verifyTlogProof(
  proof: Uint8Array,
  entry: Uint8Array,
  origin: string,
  keys: readonly NoteKey[],
): Result<ProvenEntry> {
  const parsed = parseTlogProof(proof);
  if (!parsed.ok) return parsed;
  const { index, path, checkpoint: note } = parsed.value;
  const checkpoint = openCheckpoint(note, origin, keys);
  if (!checkpoint.ok) return checkpoint;
  const { size, root } = checkpoint.value;
  return verifyInclusion(index, size, leafHash(entry), path, root)
    ? ok({ index, checkpoint: checkpoint.value })
    : refuse('BadRequest', 'the proof does not lead from the entry to the root of the checkpoint');
}
