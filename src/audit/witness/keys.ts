import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign } from 'node:crypto';
import { decodeBase64, encodeBase64 } from '../../core/bytes.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import {
  isKeyName,
  type NoteKey,
  type NoteSigner,
  noteKey,
  type SignatureType,
  signatureTypes,
} from '../format/note.ts';

/**
 * The witness's own keys, as text: PRIVATE+KEY+<name>+<key id>+<base64(type || 32 bytes of seed)>, as Go's note package
 * and transparency-dev/formats have them. A witness is a small program of its own with keys of its own in a file;
 * the keys of the log never have this form.
 */

/** Ed25519 keys are written with the type of plain notes (0x01), and cosign as 0x04. */
const kinds = [
  {
    written: signatureTypes.ed25519,
    signs: signatureTypes.ed25519Cosignature,
    pkcs8: '302e020100300506032b657004220420',
    publicKeyBytes: 32,
  },
  {
    written: signatureTypes.mlDsa44,
    signs: signatureTypes.mlDsa44,
    pkcs8: '3034020100300b060960864801650304031104228020',
    publicKeyBytes: 1312,
  },
] as const;

type Kind = (typeof kinds)[number];

const seedBytes = 32;

function imported(kind: Kind, seed: Uint8Array): { key: KeyObject; publicKey: Uint8Array } {
  const der = Buffer.concat([Buffer.from(kind.pkcs8, 'hex'), seed]);
  try {
    const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
    return { key, publicKey: spki.subarray(-kind.publicKeyBytes) };
  } finally {
    der.fill(0);
  }
}

/** The text of a new private key, for a file that nobody else may read. */
export function newSkey(name: string, type: SignatureType): string {
  const kind = kinds.find(({ signs }) => signs === type);
  if (kind === undefined) throw new RangeError('witnesses sign with types that carry a time');
  const seed = randomBytes(seedBytes);
  const { publicKey } = imported(kind, seed);
  const { id } = noteKey(name, kind.written, publicKey);
  return `PRIVATE+KEY+${name}+${id}+${encodeBase64(Buffer.concat([Buffer.of(kind.written), seed]))}`;
}

export interface WitnessKey {
  readonly key: NoteKey;
  readonly signer: NoteSigner;
}

export function parseSkey(skey: string): Result<WitnessKey> {
  const [, name = '', id = '', encoded = ''] =
    /^PRIVATE\+KEY\+([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(skey) ?? [];
  const typed = decodeBase64(encoded, 1 + seedBytes);
  const kind = kinds.find(({ written }) => written === typed?.[0]);
  if (typed?.length !== 1 + seedBytes || kind === undefined || !isKeyName(name)) {
    return refuse('BadRequest', 'not a private key of a witness');
  }
  const { key, publicKey } = imported(kind, typed.subarray(1));
  typed.fill(0);
  if (noteKey(name, kind.written, publicKey).id !== id) {
    return refuse('BadRequest', "the private key's id does not fit its name");
  }
  const known = noteKey(name, kind.signs, publicKey);
  const signer = {
    vkey: known.vkey,
    sign: (message: Uint8Array) => Promise.resolve(sign(null, message, key)),
  };
  return ok({ key: known, signer });
}
