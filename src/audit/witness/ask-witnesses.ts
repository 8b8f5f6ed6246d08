import { checkpointMessage, parseCheckpoint } from '../format/checkpoint.ts';
import { type Note, parseNote, parseSignatureLine, signatureLine, verifyNote } from '../format/note.ts';
import {
  type AddCheckpoint,
  formatAddCheckpoint,
  originHash,
  parseSize,
  sizeContentType,
} from './add-checkpoint.ts';
import type { PolicyWitness } from './policy.ts';

/** A witness's answer to one request. */
export type WitnessAnswer =
  | { readonly kind: 'cosigned'; readonly line: string; readonly timeS: number }
  /** It knows another size than was assumed. Beyond ours, it has seen a log of which ours is an older copy. */
  | { readonly kind: 'size'; readonly size: number }
  /** 403, 404, 422 …: it does not accept this checkpoint. */
  | { readonly kind: 'refused'; readonly status: number }
  /** No answer in time, or one that makes no sense. */
  | { readonly kind: 'unreachable' };

/** A cosignature of ML-DSA-44 is a line of 3,300 characters; a witness has a few keys. */
const maxAnswerBytes = 64 * 1024;

const unreachable: WitnessAnswer = { kind: 'unreachable' };

async function boundedText(response: Response): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > maxAnswerBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function request(url: string, init: RequestInit, timeoutMs: number) {
  try {
    const signal = AbortSignal.timeout(timeoutMs);
    const response = await fetch(url, { ...init, redirect: 'error', signal });
    const text = await boundedText(response);
    return text === undefined ? undefined : { response, text };
  } catch {
    // Refused connections, resets, timeouts: all the same to a log that asks several witnesses.
    return undefined;
  }
}

/** The witness's own cosignature among the lines of its answer, over exactly our text. */
function cosignature(witness: PolicyWitness, note: Note, lines: string): WitnessAnswer {
  if (!lines.endsWith('\n')) return unreachable;
  for (const line of lines.slice(0, -1).split('\n')) {
    const signature = parseSignatureLine(line);
    if (signature === undefined) return unreachable;
    if (signature.name !== witness.key.name || signature.keyId !== witness.key.id) continue;
    const verified = verifyNote(
      { text: note.text, signatures: [signature] },
      [witness.key],
      checkpointMessage,
    );
    const timeS = verified.ok ? verified.value[0]?.timeS : undefined;
    if (timeS === undefined) return unreachable;
    return { kind: 'cosigned', line: signatureLine(witness.key, signature.signature), timeS };
  }
  return unreachable;
}

/** POST <prefix>/add-checkpoint. The cosignature is verified here; other keys' lines are left out. */
export async function submitCheckpoint(
  witness: PolicyWitness,
  submission: AddCheckpoint,
  timeoutMs: number,
): Promise<WitnessAnswer> {
  const note = parseNote(submission.checkpoint);
  if (!note.ok) throw new Error('a log submits its own checkpoint, which is a note');
  const body = Buffer.from(formatAddCheckpoint(submission));
  const answer = await request(`${witness.url}/add-checkpoint`, { method: 'POST', body }, timeoutMs);
  if (answer === undefined) return unreachable;
  const { response, text } = answer;
  if (response.status === 200) return cosignature(witness, note.value, text);
  if (response.status === 409 && response.headers.get('content-type') === sizeContentType) {
    const size = parseSize(text);
    return size === undefined ? unreachable : { kind: 'size', size };
  }
  return { kind: 'refused', status: response.status };
}

/** A checkpoint that a witness holds, with its cosignature on it. */
export interface WitnessedCheckpoint {
  readonly witness: string;
  readonly size: number;
  readonly root: Uint8Array;
  readonly timeS: number;
  readonly note: Uint8Array;
}

/**
 * GET <prefix>/<hash of the origin>/checkpoint: the newest checkpoint that the witness cosigned. `none`: it says that it
 * has none; undefined: no answer that can be believed.
 */
export async function witnessedCheckpoint(
  witness: PolicyWitness,
  origin: string,
  timeoutMs: number,
): Promise<WitnessedCheckpoint | 'none' | undefined> {
  const answer = await request(`${witness.url}/${originHash(origin)}/checkpoint`, {}, timeoutMs);
  if (answer?.response.status === 404) return 'none';
  if (answer?.response.status !== 200) return undefined;
  const bytes = Buffer.from(answer.text);
  const note = parseNote(bytes);
  const checkpoint = note.ok ? parseCheckpoint(note.value.text) : note;
  if (!note.ok || !checkpoint.ok || checkpoint.value.origin !== origin) return undefined;
  const verified = verifyNote(note.value, [witness.key], checkpointMessage);
  const timeS = verified.ok ? verified.value[0]?.timeS : undefined;
  if (timeS === undefined) return undefined;
  return { witness: witness.name, ...checkpoint.value, timeS, note: bytes };
}
