import { createPublicKey, hash, type KeyObject, verify } from 'node:crypto';
import { decodeBase64, encodeBase64 } from '../../core/bytes.ts';
import { ok, type Result, refuse } from '../../core/result.ts';

/** Signed notes and their keys: C2SP signed-note, as Go's golang.org/x/mod/sumdb/note has them. */

/** Signature types of C2SP signed-note and tlog-cosignature. */
export const signatureTypes = {
  /** Ed25519 over the note's text: what every verifier knows. */
  ed25519: 0x01,
  /** Ed25519 over a checkpoint and a time: a witness. */
  ed25519Cosignature: 0x04,
  /** ML-DSA-44 over a checkpoint's origin, size, root and a time: the log itself, or a witness. */
  mlDsa44: 0x06,
} as const;

export type SignatureType = (typeof signatureTypes)[keyof typeof signatureTypes];

interface TypeFacts {
  readonly publicKeyBytes: number;
  /** Without the 8 bytes of time that cosignatures begin with. */
  readonly signatureBytes: number;
  readonly timed: boolean;
  /** The bytes before the raw public key in a SubjectPublicKeyInfo (RFC 8410, RFC 9881). */
  readonly spkiPrefix: string;
}

const ed25519 = { publicKeyBytes: 32, signatureBytes: 64, spkiPrefix: '302a300506032b6570032100' };

const facts: Readonly<Record<SignatureType, TypeFacts>> = {
  [signatureTypes.ed25519]: { ...ed25519, timed: false },
  [signatureTypes.ed25519Cosignature]: { ...ed25519, timed: true },
  [signatureTypes.mlDsa44]: {
    publicKeyBytes: 1312,
    signatureBytes: 2420,
    timed: true,
    spkiPrefix: '30820532300b06096086480165030403110382052100',
  },
};

/** A public key that verifies notes, under the name it signs with. */
export interface NoteKey {
  readonly name: string;
  /** 8 lowercase hex digits: SHA-256(name || "\n" || type || public key)[:4]. */
  readonly id: string;
  readonly type: SignatureType;
  /** Raw: 32 bytes of Ed25519, 1,312 of ML-DSA-44. */
  readonly publicKey: Uint8Array;
  /** The whole key as text: name+id+base64(type || public key). */
  readonly vkey: string;
  /** True if `signature`, without key id and time, is this key's over `message`. */
  verify(message: Uint8Array, signature: Uint8Array): boolean;
}

/** Signs with a private key that stays where it is. `sign` gives the bare signature over exactly `message`. */
export interface NoteSigner {
  readonly vkey: string;
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/** 255 bytes is what an ML-DSA cosignature's length byte can say. */
const maxNameBytes = 255;

/** True if `name` can name a key or an origin: no white space, no plus, no control character, 1 to 255 bytes. */
export function isKeyName(name: string): boolean {
  return (
    name !== '' &&
    Buffer.byteLength(name) <= maxNameBytes &&
    name.isWellFormed() &&
    !/[\p{White_Space}\p{Cc}+]/u.test(name)
  );
}

/** The key of that name, type and raw public key. Throws where they do not fit: both come from our own configuration. */
export function noteKey(name: string, type: SignatureType, publicKey: Uint8Array): NoteKey {
  if (!isKeyName(name)) throw new RangeError('not a key name');
  if (publicKey.length !== facts[type].publicKeyBytes) throw new RangeError('not a public key of that type');
  const typed = Buffer.from([type, ...publicKey]);
  const id = hash('sha256', Buffer.concat([Buffer.from(`${name}\n`), typed]), 'hex').slice(0, 8);
  let imported: KeyObject | undefined;
  return {
    name,
    id,
    type,
    publicKey,
    vkey: `${name}+${id}+${encodeBase64(typed)}`,
    verify(message, signature) {
      if (signature.length !== facts[type].signatureBytes) return false;
      imported ??= createPublicKey({
        key: Buffer.concat([Buffer.from(facts[type].spkiPrefix, 'hex'), publicKey]),
        format: 'der',
        type: 'spki',
      });
      return verify(null, message, imported, signature);
    },
  };
}

function isSignatureType(type: number | undefined): type is SignatureType {
  return Object.values(signatureTypes).some((known) => known === type);
}

/** Reads a vkey; its key id has to fit its name and key, so that a typing error does not pass. */
export function parseVkey(vkey: string): Result<NoteKey> {
  const [, name = '', id = '', encoded = ''] = /^([^+]*)\+([0-9a-f]{8})\+(.*)$/.exec(vkey) ?? [];
  const typed = decodeBase64(encoded, 1 + facts[signatureTypes.mlDsa44].publicKeyBytes);
  if (!isKeyName(name) || typed === undefined || typed.length === 0) {
    return refuse('BadRequest', 'a verifier key is name+8 hex digits+base64');
  }
  const type = typed[0];
  if (!isSignatureType(type)) return refuse('BadRequest', 'the verifier key is of a type that is not known');
  if (typed.length !== 1 + facts[type].publicKeyBytes) {
    return refuse('BadRequest', 'the verifier key has the wrong length for its type');
  }
  const key = noteKey(name, type, typed.subarray(1));
  return key.id === id
    ? ok(key)
    : refuse('BadRequest', "the verifier key's id does not fit its name and key");
}

export interface NoteSignature {
  readonly name: string;
  readonly keyId: string;
  /** The bytes after the key id; with the time, for the types that have one. */
  readonly signature: Uint8Array;
}

export interface Note {
  /** Ends in a line feed; what Ed25519 signs. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** Both bounds are those of golang.org/x/mod/sumdb/note. */
const maxNoteBytes = 1_000_000;
const maxSignatures = 100;

// A longer one is of a type that is not known here and is carried along only.
const maxSignatureBytes = 64 * 1024;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes as text, or undefined where they are not UTF-8. */
function textOf(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** One line as a note ends with, without its line feed. */
export function parseSignatureLine(line: string): NoteSignature | undefined {
  const [, name = '', encoded = ''] = /^\u2014 ([^ ]+) ([^ ]+)$/.exec(line) ?? [];
  const bytes = decodeBase64(encoded, maxSignatureBytes);
  if (!isKeyName(name) || bytes === undefined || bytes.length < 5) return undefined;
  const keyId = Buffer.from(bytes.subarray(0, 4)).toString('hex');
  return { name, keyId, signature: bytes.subarray(4) };
}

/** Splits a note into its text and its signatures; none of them is verified. */
export function parseNote(bytes: Uint8Array): Result<Note> {
  if (bytes.length > maxNoteBytes) return refuse('BadRequest', 'the note is longer than a million bytes');
  const whole = textOf(bytes);
  if (whole === undefined) return refuse('BadRequest', 'the note is not UTF-8');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (/[\u0000-\u0009\u000b-\u001f]/.test(whole)) {
    return refuse('BadRequest', 'the note has control characters');
  }
  const split = whole.lastIndexOf('\n\n');
  if (split < 0 || !whole.endsWith('\n')) return refuse('BadRequest', 'the note has no signatures');
  const lines = whole.slice(split + 2, -1).split('\n');
  if (lines.length > maxSignatures) return refuse('BadRequest', 'the note has more than 100 signatures');
  const signatures: NoteSignature[] = [];
  for (const line of lines) {
    const signature = parseSignatureLine(line);
    if (signature === undefined) return refuse('BadRequest', 'the note has a malformed signature line');
    signatures.push(signature);
  }
  return ok({ text: whole.slice(0, split + 1), signatures });
}

/** A signature line with its line feed. `signature` begins with the time for the types that have one. */
export function signatureLine(key: NoteKey, signature: Uint8Array): string {
  return `\u2014 ${key.name} ${encodeBase64(Buffer.concat([Buffer.from(key.id, 'hex'), signature]))}\n`;
}

/** The signature of `key` on `note`, taken apart; undefined where it has none, or one of a wrong length. */
export interface TimedSignature {
  /** Seconds since 1970; undefined for the types without a time. */
  readonly timeS: number | undefined;
  readonly signature: Uint8Array;
}

/** The message that `key` signed; undefined where it cannot have signed such a text. */
export type MessageOf = (key: NoteKey, text: string, timeS: number | undefined) => Uint8Array | undefined;

function takeApart(key: NoteKey, signature: Uint8Array): TimedSignature | undefined {
  const { timed, signatureBytes } = facts[key.type];
  if (signature.length !== signatureBytes + (timed ? 8 : 0)) return undefined;
  if (!timed) return { timeS: undefined, signature };
  const time = Buffer.from(signature.subarray(0, 8)).readBigUInt64BE();
  if (time > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  return { timeS: Number(time), signature: signature.subarray(8) };
}

/** The message of plain Ed25519; the types with a time sign checkpoints, not notes in general. */
function plainMessage(key: NoteKey, text: string): Uint8Array | undefined {
  return key.type === signatureTypes.ed25519 ? Buffer.from(text) : undefined;
}

export interface VerifiedBy {
  readonly key: NoteKey;
  readonly timeS: number | undefined;
}

/**
 * Those of `keys` that have signed. Signatures of others are passed over. The whole note is refused if a signature that names
 * one of `keys` does not verify, or if none of them has signed.
 */
export function verifyNote(
  note: Note,
  keys: readonly NoteKey[],
  messageOf: MessageOf = plainMessage,
): Result<readonly VerifiedBy[]> {
  const verified = new Map<NoteKey, VerifiedBy>();
  for (const { name, keyId, signature } of note.signatures) {
    const key = keys.find((known) => known.name === name && known.id === keyId);
    if (key === undefined || verified.has(key)) continue;
    const apart = takeApart(key, signature);
    const message = apart && messageOf(key, note.text, apart.timeS);
    if (apart === undefined || message === undefined || !key.verify(message, apart.signature)) {
      return refuse('BadRequest', 'a signature by a known key is not valid');
    }
    verified.set(key, { key, timeS: apart.timeS });
  }
  if (verified.size === 0) return refuse('BadRequest', 'no known key has signed the note');
  return ok([...verified.values()]);
}
