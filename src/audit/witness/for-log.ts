import { ok, type Result, refuse } from '../../core/result.ts';
import type { PublishedCheckpoint } from '../audit-log.ts';
import { consistencyFromTiles, type TileReader } from '../tiles.ts';
import { Cosigner } from './cosigner.ts';
import type { Policy } from './policy.ts';

export interface LogWitnessing {
  readonly policy: Policy;
  /** `open`: a checkpoint counts without its quorum. `closed`: what waits for witnesses goes on waiting. */
  readonly fail: 'open' | 'closed';
  readonly timeoutMs: number;
  /** The log's own tiles, as they are once the checkpoint that is to be cosigned is published. */
  tiles(): TileReader;
  /** A witness has cosigned more than this log has: it was taken back, or somebody else writes under its name. */
  onAhead(ahead: { readonly witness: string; readonly size: number }, ownSize: number): void;
}

/** What `AuditLogParts.witness` takes: the note with its cosignatures, or a refusal while the policy is not fulfilled. */
export function witnessedBy({
  policy,
  fail,
  timeoutMs,
  tiles,
  onAhead,
}: LogWitnessing): (checkpoint: PublishedCheckpoint) => Promise<Result<Uint8Array>> {
  const prove = (from: number, to: number) => consistencyFromTiles(tiles(), from, to);
  const cosigner = new Cosigner({ policy, fail, timeoutMs, prove });
  return async (checkpoint) => {
    const { note, publish, ahead } = await cosigner.cosign(Buffer.from(checkpoint.note), checkpoint);
    if (ahead !== undefined) onAhead(ahead, checkpoint.size);
    return publish ? ok(note) : refuse('AuditUnavailable', 'too few witnesses have cosigned');
  };
}
