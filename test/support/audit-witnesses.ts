import type { PublishedCheckpoint } from '../../src/audit/audit-log.ts';
import { consistencyFromTiles, type TileReader } from '../../src/audit/format/tiles.ts';
import type { WitnessedCheckpoint } from '../../src/audit/witness/ask-witnesses.ts';
import { Cosigner } from '../../src/audit/witness/cosigner.ts';
import type { WitnessPolicy } from '../../src/audit/witness/policy.ts';
import { ok, type Result, refuse } from '../../src/core/result.ts';

/** The witnesses of a log whose directory can be read from here, as tests have it; the service reads through its own thread. */
export interface LogWitnessing {
  readonly policy: WitnessPolicy;
  /** `open`: a checkpoint counts without its quorum. `closed`: what waits for witnesses goes on waiting. */
  readonly fail: 'open' | 'closed';
  readonly timeoutMs: number;
  /** The log's own tiles, as they are once the checkpoint that is to be cosigned is published. */
  tiles(): TileReader;
  /**
   * A witness says that it has cosigned more than this log has: the log was taken back, or somebody else writes under its
   * name. `held` gives the checkpoint itself, and whether the log's own keys are on it.
   */
  onAhead(ahead: { readonly witness: string; readonly size: number }, ownSize: number): void;
}

export interface LogWitnesses {
  /**
   * The witness for `AuditLogParts.witness`: the note with its cosignatures, or a refusal while the policy is not fulfilled.
   */
  witness(checkpoint: PublishedCheckpoint): Promise<Result<Uint8Array>>;
  /** The checkpoints of a log that witnesses hold, each with its witness's cosignature. Open them with the log's keys. */
  held(origin: string): Promise<readonly WitnessedCheckpoint[]>;
}

export function witnessesOf({ policy, fail, timeoutMs, tiles, onAhead }: LogWitnessing): LogWitnesses {
  const prove = (from: number, to: number) => consistencyFromTiles(tiles(), from, to);
  const cosigner = new Cosigner({ policy, fail, timeoutMs, prove, onAhead });
  return {
    async witness(checkpoint) {
      const { note, publish } = await cosigner.cosign(Buffer.from(checkpoint.note), checkpoint);
      return publish ? ok(note) : refuse('AuditUnavailable', 'too few witnesses have cosigned');
    },
    held: async (origin) => (await cosigner.held(origin)).checkpoints,
  };
}
