import { hash } from 'node:crypto';
import { decodeBase64, encodeBase64 } from '../../core/bytes.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import { hashBytes } from '../format/merkle.ts';

/** C2SP tlog-witness, as both sides see it. */

/** A consistency proof has at most 63 hashes, a line each of 45 bytes; a note is far below the rest. */
export const maxRequestBytes = 64 * 1024;

export const sizeContentType = 'text/x.tlog.size';

export interface AddCheckpoint {
  /** The size that the witness cosigned last; 0 where it has not seen the log. */
  readonly old: number;
  /** From `old` to the checkpoint's size (RFC 6962 section 2.1.2); empty where old is 0. */
  readonly proof: readonly Uint8Array[];
  /** The signed note. */
  readonly checkpoint: Uint8Array;
}

const maxProof = 63;

/** The body of POST <prefix>/add-checkpoint. */
export function formatAddCheckpoint({ old, proof, checkpoint }: AddCheckpoint): Uint8Array {
  const lines = proof.map((hash) => `${encodeBase64(hash)}\n`).join('');
  return Buffer.concat([Buffer.from(`old ${old}\n${lines}\n`), checkpoint]);
}

export function parseAddCheckpoint(body: Uint8Array): Result<AddCheckpoint> {
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('latin1');
  const [head, old, lines] = /^old (0|[1-9][0-9]{0,15})\n((?:[^\n]+\n)*)\n/.exec(text) ?? [];
  if (head === undefined || old === undefined || lines === undefined || !Number.isSafeInteger(Number(old))) {
    return refuse('BadRequest', 'the body begins with old, a size, the proof and an empty line');
  }
  const proof: Uint8Array[] = [];
  for (const line of lines.split('\n').slice(0, -1)) {
    const bytes = decodeBase64(line, hashBytes);
    if (bytes?.length !== hashBytes) return refuse('BadRequest', 'the proof has a hash that is not one');
    proof.push(bytes);
  }
  if (proof.length > maxProof) return refuse('BadRequest', 'the proof has more than 63 hashes');
  if (old === '0' && proof.length > 0) return refuse('BadRequest', 'there is no proof from size 0');
  return ok({ old: Number(old), proof, checkpoint: body.subarray(head.length) });
}

/** A witness's size line, as 409 answers have it. */
export function parseSize(text: string): number | undefined {
  const size = /^(0|[1-9][0-9]{0,15})\n$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(size) ? size : undefined;
}

/** <monitoring prefix>/<this>/checkpoint is the newest checkpoint of the log that the witness cosigned. */
export function originHash(origin: string): string {
  return hash('sha256', origin, 'hex');
}
