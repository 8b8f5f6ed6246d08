import { ok, type Result, refuse } from '../../core/result.ts';
import { followTransitions, parseTransition } from '../disk/key-transition.ts';
import { keyFile } from '../disk/layout.ts';
import { openCheckpoint } from '../format/checkpoint.ts';
import { leafHash, verifyInclusion } from '../format/merkle.ts';
import type { NoteKey } from '../format/note.ts';
import { inclusionFromTiles, type TileReader } from '../format/tiles.ts';
import { parseTlogProof } from '../format/tlog-proof.ts';

/** Verifier keys that count, and until when. */
export interface AttestationKeysOfLog {
  readonly keys: readonly string[];
  /** By name and id of a key that was replaced: seconds since 1970, after which it signs no evidence. */
  readonly notAfter: Readonly<Record<string, number>>;
}

/** The new keys sign evidence once a checkpoint covers their announcement, which takes seconds where the log can be written. */
const handoverS = 600;

/**
 * The keys that signed evidence of this log, from those that are trusted on: their successors, as the log keeps the proofs, and
 * their predecessors, where the newest checkpoint covers the record that replaced them. A predecessor counts for what was made
 * before it was replaced.
 */
export function attestationKeys(
  log: { readonly tiles: TileReader; readonly note: Uint8Array | undefined },
  trusted: readonly NoteKey[],
): Result<AttestationKeysOfLog> {
  const read = (path: string) => log.tiles.read(path);
  const followed = followTransitions(read, trusted);
  if (!followed.ok) return followed;
  const keys = [...followed.value.keys];
  const notAfter: Record<string, number> = {};
  const [{ name }] = trusted as [NoteKey];
  const opened = log.note === undefined ? undefined : openCheckpoint(log.note, name, keys);
  if (opened === undefined || !opened.ok)
    return refuse('BadRequest', 'its checkpoint is not signed by these keys');
  const { size, root } = opened.value;
  const kept = proofsIn(read);
  // Newest first, so that one predecessor leads to the next.
  for (const { entry, index } of kept.reverse()) {
    const transition = parseTransition(entry);
    const known = ({ vkey }: NoteKey) => keys.some((key) => key.vkey === vkey);
    if (transition === undefined || !known(transition.newKey)) continue;
    const path = index < size ? inclusionFromTiles(log.tiles, index, size) : undefined;
    if (!path?.ok || !verifyInclusion(index, size, leafHash(entry), path.value, root)) {
      return refuse('BadRequest', `record ${index} that replaced a key is not under the checkpoint`);
    }
    const { oldKey, notBeforeS } = transition;
    notAfter[`${oldKey.name}+${oldKey.id}`] = notBeforeS + handoverS;
    if (!known(oldKey)) keys.push(oldKey);
  }
  return ok({ keys: keys.map(({ vkey }) => vkey), notAfter });
}

/** Records of transitions with their places, as the log keeps them; what they claim is not checked yet. */
function proofsIn(read: (path: string) => Uint8Array | undefined): { entry: Uint8Array; index: number }[] {
  const found: { entry: Uint8Array; index: number }[] = [];
  for (let number = 0; ; number++) {
    const proof = read(keyFile(number, 'tlog-proof'));
    const entry = read(keyFile(number, 'json'));
    if (proof === undefined || entry === undefined) return found;
    const parsed = parseTlogProof(proof);
    if (parsed.ok) found.push({ entry, index: parsed.value.index });
  }
}
