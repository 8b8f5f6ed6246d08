import { ok, type Result, refuse } from '../../core/result.ts';
import type { PublishedCheckpoint } from '../audit-log.ts';
import { hashBytes } from '../merkle.ts';
import type { AuditReading } from '../reading.ts';
import { Cosigner } from './cosigner.ts';
import type { Policy } from './policy.ts';

/** For each request; a round may take two of them. The log's checkpoints go on meanwhile. */
const requestTimeoutMs = 2_000;

/**
 * Has checkpoints cosigned as a policy asks. Refused while the quorum is not there (`closed`), and whenever a witness
 * has seen more of this log than there is: then this is an older copy of it.
 */
export function createWitnessing(
  policy: Policy,
  fail: 'open' | 'closed',
  reading: AuditReading,
): (checkpoint: PublishedCheckpoint) => Promise<Result<Uint8Array>> {
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
  });
  return async ({ origin, size, root, note }) => {
    const round = await cosigner.cosign(Buffer.from(note), { origin, size, root });
    if (round.ahead !== undefined) {
      return refuse(
        'AuditUnavailable',
        'a witness has cosigned more of this log than there is: it was rolled back',
      );
    }
    return round.publish ? ok(round.note) : refuse('AuditUnavailable', 'too few witnesses have cosigned');
  };
}

function hashesOf(bytes: Uint8Array): Uint8Array[] {
  const hashes: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += hashBytes) hashes.push(bytes.subarray(at, at + hashBytes));
  return hashes;
}
