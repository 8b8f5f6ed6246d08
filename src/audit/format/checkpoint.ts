import { decodeBase64, encodeBase64 } from '../../core/bytes.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import { emptyRoot, hashBytes } from './merkle.ts';
import {
  isKeyName,
  type NoteKey,
  type NoteSigner,
  parseNote,
  parseVkey,
  signatureLine,
  signatureTypes,
  type VerifiedBy,
  verifyNote,
} from './note.ts';

/** Checkpoints: C2SP tlog-checkpoint, signed as C2SP signed-note and tlog-cosignature say. */

export interface Checkpoint {
  /** Names the log: a URL without its scheme, such as kms.example/audit/node-1. */
  readonly origin: string;
  /** Number of leaves. */
  readonly size: number;
  /** 32 bytes. */
  readonly root: Uint8Array;
}

/** The note's text. No extension lines: ML-DSA signatures would not cover them, and witnesses refuse them. */
export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${encodeBase64(root)}\n`;
}

/** Reads a note's text. Extension lines, which other logs may have, are not given on. */
export function parseCheckpoint(text: string): Result<Checkpoint> {
  const [, origin = '', sizeText = '', rootText = ''] = /^([^\n]+)\n([^\n]+)\n([^\n]+)\n/.exec(text) ?? [];
  const size = /^(0|[1-9][0-9]{0,15})$/.test(sizeText) ? Number(sizeText) : -1;
  const root = decodeBase64(rootText, hashBytes);
  if (!isKeyName(origin)) return refuse('BadRequest', 'the checkpoint has no origin');
  if (!Number.isSafeInteger(size) || size < 0) {
    return refuse('BadRequest', 'the checkpoint has no size below 2^53');
  }
  if (root?.length !== hashBytes) return refuse('BadRequest', 'the checkpoint has no root of 32 bytes');
  if (size === 0 && Buffer.compare(root, emptyRoot) !== 0) {
    return refuse('BadRequest', 'the checkpoint has size 0 and not the root of an empty tree');
  }
  return ok({ origin, size, root });
}

/** The message under an Ed25519 cosignature (tlog-cosignature, type 0x04). */
export function ed25519CosignatureMessage(text: string, timeS: number): Uint8Array {
  return Buffer.from(`cosignature/v1\ntime ${timeS}\n${text}`);
}

/** The message under an ML-DSA-44 signature, with an empty context (tlog-cosignature, type 0x06). */
export function mlDsaCosignatureMessage(cosigner: string, timeS: number, checkpoint: Checkpoint): Uint8Array {
  const name = Buffer.from(cosigner);
  const origin = Buffer.from(checkpoint.origin);
  const [time, start, end] = [timeS, 0, checkpoint.size].map((value) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(BigInt(value));
    return bytes;
  }) as [Buffer, Buffer, Buffer];
  return Buffer.concat([
    Buffer.from('subtree/v1\n\0'),
    Buffer.from([name.length]),
    name,
    time,
    Buffer.from([origin.length]),
    origin,
    start,
    end,
    checkpoint.root,
  ]);
}

/** The message that a key of this type signs for a checkpoint's text; undefined where there is none that it could sign. */
export function checkpointMessage(
  key: NoteKey,
  text: string,
  timeS: number | undefined,
): Uint8Array | undefined {
  if (key.type === signatureTypes.ed25519) return Buffer.from(text);
  if (timeS === undefined) return undefined;
  if (key.type === signatureTypes.ed25519Cosignature) return ed25519CosignatureMessage(text, timeS);
  const checkpoint = parseCheckpoint(text);
  // Time 0 says of a subtree that it was seen, not of a checkpoint that it is the largest one.
  if (!checkpoint.ok || timeS === 0) return undefined;
  return mlDsaCosignatureMessage(key.name, timeS, checkpoint.value);
}

/** One signature line over a checkpoint's text, at `timeS` seconds since 1970. */
export async function signCheckpointText(text: string, signer: NoteSigner, timeS: number): Promise<string> {
  const key = parseVkey(signer.vkey);
  if (!key.ok) throw new Error('the signer has no valid verifier key');
  const timed = key.value.type !== signatureTypes.ed25519;
  const message = checkpointMessage(key.value, text, timed ? timeS : undefined);
  if (message === undefined) throw new Error('the signer cannot sign this text');
  const signature = await signer.sign(message);
  if (!timed) return signatureLine(key.value, signature);
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(BigInt(timeS));
  return signatureLine(key.value, Buffer.concat([time, signature]));
}

/** The signed note of a checkpoint, one line for each signer in their order. `timeS`: seconds since 1970. */
export async function signCheckpoint(
  checkpoint: Checkpoint,
  signers: readonly NoteSigner[],
  timeS: number,
): Promise<Uint8Array> {
  const text = formatCheckpoint(checkpoint);
  const lines = await Promise.all(signers.map((signer) => signCheckpointText(text, signer, timeS)));
  return Buffer.from(`${text}\n${lines.join('')}`);
}

export interface OpenedCheckpoint extends Checkpoint {
  /** The note's text, which includes extension lines where a log has them. */
  readonly text: string;
  readonly verifiedBy: readonly VerifiedBy[];
}

/**
 * Opens a checkpoint that the log itself signed: of each signature type among `keys`, at least one key has to have
 * signed, so that taking off the post-quantum signature does not pass. While a key is being replaced, `keys` has two of
 * a type. `origin`: the log that is expected.
 */
export function openCheckpoint(
  bytes: Uint8Array,
  origin: string,
  keys: readonly NoteKey[],
): Result<OpenedCheckpoint> {
  const note = parseNote(bytes);
  if (!note.ok) return note;
  const checkpoint = parseCheckpoint(note.value.text);
  if (!checkpoint.ok) return checkpoint;
  if (checkpoint.value.origin !== origin) return refuse('BadRequest', 'the checkpoint is of another log');
  const verified = verifyNote(note.value, keys, checkpointMessage);
  if (!verified.ok) return verified;
  for (const type of new Set(keys.map((key) => key.type))) {
    if (!verified.value.some(({ key }) => key.type === type)) {
      return refuse('BadRequest', 'a signature of a type that is required is missing');
    }
  }
  return ok({ ...checkpoint.value, text: note.value.text, verifiedBy: verified.value });
}
