import { ok, type Result, refuse } from '../../core/result.ts';
import type { PublishedCheckpoint } from '../audit-log.ts';
import { openCheckpoint } from '../format/checkpoint.ts';
import { hashBytes } from '../format/merkle.ts';
import { type NoteKey, parseNote } from '../format/note.ts';
import type { AuditReading } from '../reading/read-thread.ts';
import type { Witnessed } from '../thread-messages.ts';
import { Cosigner } from './cosigner.ts';
import type { WitnessPolicy } from './policy.ts';

/** For each request; a round may take two of them. The log's checkpoints go on meanwhile. */
const requestTimeoutMs = 2_000;

/** The facts of the log that witnessing needs. */
export interface WitnessedLog {
  /** Verifier keys of the log itself. */
  keys(origin: string): readonly NoteKey[];
  /** Origin and records of the log as it is. */
  extent(): { readonly origin: string; readonly size: number };
  /** A witness holds more than the log has. */
  contradicted(detail: string): void;
}

export interface Witnessing {
  /** The note with cosignatures. Refused while the quorum is not there (`closed`). */
  cosign(checkpoint: PublishedCheckpoint): Promise<Result<Uint8Array>>;
  /**
   * The trees that the witnesses hold, under the log's own signature. Refused while too few of them answer (`closed`).
   */
  held(origin: string): Promise<Result<readonly Witnessed[]>>;
}

/** Has checkpoints cosigned as a policy asks, and believes no witness that it was rolled back without our own signature. */
export function createWitnessing(
  policy: WitnessPolicy,
  fail: 'open' | 'closed',
  reading: AuditReading,
  log: WitnessedLog,
): Witnessing {
  const cosigner = new Cosigner({
    policy,
    fail,
    timeoutMs: requestTimeoutMs,
    async prove(from, to) {
      const answer = await reading.ask({ of: 'consistency', from, to });
      if (!answer.ok) return answer;
      return answer.value.found && 'bytes' in answer.value
        ? ok(hashesOf(answer.value.bytes))
        : refuse('NotFound');
    },
    // A witness only says that it is ahead; the checkpoint that it holds has our signature, or is nothing.
    onAhead: () => void compare(),
  });

  async function ask(origin: string): Promise<{ trees: Witnessed[]; quorum: boolean }> {
    const keys = log.keys(origin);
    const { checkpoints, quorum } = await cosigner.held(origin);
    const trees = checkpoints.flatMap(({ witness, note }) => {
      const opened = openCheckpoint(note, origin, ownSignaturesOf(note, keys));
      return opened.ok ? [{ witness, size: opened.value.size, root: opened.value.root }] : [];
    });
    return { trees, quorum };
  }

  async function compare(): Promise<void> {
    const { trees } = await ask(log.extent().origin);
    const { size } = log.extent();
    for (const { witness, size: held } of trees) {
      if (held > size) {
        log.contradicted(`witness ${witness} holds a checkpoint of ${held} records, the log has ${size}`);
      }
    }
  }

  return {
    async held(origin) {
      const { trees, quorum } = await ask(origin);
      return quorum || fail === 'open' ? ok(trees) : refuse('AuditUnavailable', 'too few witnesses answer');
    },
    async cosign({ origin, size, root, note }) {
      const round = await cosigner.cosign(Buffer.from(note), { origin, size, root });
      if (round.ahead !== undefined)
        return refuse('AuditUnavailable', 'a witness has cosigned more of this log');
      return round.publish ? ok(round.note) : refuse('AuditUnavailable', 'too few witnesses have cosigned');
    },
  };
}

/** A witness need not keep all of our signatures; those that it kept have to be ours. */
function ownSignaturesOf(note: Uint8Array, keys: readonly NoteKey[]): readonly NoteKey[] {
  const parsed = parseNote(note);
  if (!parsed.ok) return keys;
  const kept = keys.filter(({ name, id }) =>
    parsed.value.signatures.some((signature) => signature.name === name && signature.keyId === id),
  );
  return kept.length === 0 ? keys : kept;
}

function hashesOf(bytes: Uint8Array): Uint8Array[] {
  const hashes: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += hashBytes) hashes.push(bytes.subarray(at, at + hashBytes));
  return hashes;
}
