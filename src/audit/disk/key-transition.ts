import { ok, type Result, refuse } from '../../core/result.ts';
import type { OpenedCheckpoint } from '../format/checkpoint.ts';
import { type NoteKey, parseVkey } from '../format/note.ts';
import { logKeyId, parseRecord } from '../format/record.ts';
import { verifyTlogProof } from '../format/tlog-proof.ts';
import { keyFile } from './layout.ts';

/**
 * A log's record names its old and its new key, under a checkpoint that the old key signed. So those who trust the old key come
 * to trust the new one.
 */

/** Type of the record that names the new key. */
export const transitionType = 'attkey.transition';

/** The content of such a record. */
export interface Transition {
  readonly oldKey: NoteKey;
  readonly newKey: NoteKey;
  /** Seconds since 1970: what the new key is said to have signed before is not its signature. */
  readonly notBeforeS: number;
}

/** The transition that the log announced in this entry; undefined where it is another record, or announces no fit key. */
export function parseTransition(entry: Uint8Array): Transition | undefined {
  const record = parseRecord(entry);
  // Records of callers have a key with slashes in its name, and a tenant.
  if (record?.type !== transitionType || record.key_id !== logKeyId || record.tenant !== '') return undefined;
  const { old_vkey: old, new_vkey: next, not_before: notBeforeS } = record.data ?? {};
  if (typeof old !== 'string' || typeof next !== 'string' || typeof notBeforeS !== 'number') return undefined;
  const oldKey = parseVkey(old);
  const newKey = parseVkey(next);
  if (!oldKey.ok || !newKey.ok) return undefined;
  // A name is a log's, and a type cannot be weakened: each key is replaced by one of its own kind.
  const fits = oldKey.value.name === newKey.value.name && oldKey.value.type === newKey.value.type;
  return fits ? { oldKey: oldKey.value, newKey: newKey.value, notBeforeS } : undefined;
}

/** A transition with its proof, as the log keeps it. */
export interface ProvenTransition extends Transition {
  /** Position of the record. */
  readonly index: number;
  /** Signed by keys that were trusted before; the log has to continue it. */
  readonly checkpoint: OpenedCheckpoint;
}

export interface Followed {
  /** Those that were trusted before, and those that came to be. */
  readonly keys: readonly NoteKey[];
  readonly transitions: readonly ProvenTransition[];
}

/**
 * Reads the proofs that the log keeps of its transitions, in their order, and follows them from `trusted` on. Transitions
 * of keys that are not trusted are passed over; one of a trusted key whose proof does not hold is refused. `read` gives
 * the file of a path such as keys/0.tlog-proof.
 */
export function followTransitions(
  read: (path: string) => Uint8Array | undefined,
  trusted: readonly NoteKey[],
): Result<Followed> {
  const keys = [...trusted];
  const transitions: ProvenTransition[] = [];
  const known = ({ vkey }: NoteKey) => keys.some((key) => key.vkey === vkey);
  for (let number = 0; ; number++) {
    const proof = read(keyFile(number, 'tlog-proof'));
    if (proof === undefined) return ok({ keys, transitions });
    const entry = read(keyFile(number, 'json'));
    const transition = entry && parseTransition(entry);
    if (entry === undefined || transition === undefined) {
      return refuse('BadRequest', `${keyFile(number, 'json')} is not a transition to another key`);
    }
    if (!known(transition.oldKey) || known(transition.newKey)) continue;
    const proven = verifyTlogProof(proof, entry, transition.oldKey.name, keys);
    if (!proven.ok) {
      return refuse('BadRequest', `${keyFile(number, 'tlog-proof')}: ${proven.failure.hint}`);
    }
    keys.push(transition.newKey);
    transitions.push({ ...transition, ...proven.value });
  }
}
