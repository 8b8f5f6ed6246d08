import { armor, Decrypter, Encrypter, identityToRecipient } from 'age-encryption';
import { StartError } from '../../core/start-error.ts';

/**
 * The age format, version 1 (https://age-encryption.org/v1, C2SP age), armoured: for one passphrase (scrypt), or for recipients of
 * which any opens (X25519, and ML-KEM-768 with X25519).
 */

/** age's own: 2^18, about a second and 256 MiB. */
const scryptLogN = 18;

/** To whom something is sealed: a passphrase, or one or more recipients. */
export type SealTo =
  | { readonly passphrase: string; readonly scryptLogN?: number }
  /** `age1…` (X25519), `age1pq1…` (ML-KEM-768 with X25519). */
  | { readonly recipients: readonly string[] };

export type OpenWith =
  | { readonly passphrase: string }
  /** `AGE-SECRET-KEY-1…`, `AGE-SECRET-KEY-PQ-1…`. */
  | { readonly identities: readonly string[] };

/** Throws a StartError where one of them is no recipient. */
export function sealerTo(to: SealTo): Encrypter {
  const encrypter = new Encrypter();
  if ('passphrase' in to) {
    encrypter.setPassphrase(to.passphrase);
    encrypter.setScryptWorkFactor(to.scryptLogN ?? scryptLogN);
    return encrypter;
  }
  for (const recipient of to.recipients) {
    try {
      encrypter.addRecipient(recipient);
    } catch (cause) {
      // It is a public key, and a mistake in typing shows best as it was typed.
      throw new StartError(`this is no recipient of age: ${recipient.slice(0, 80)}`, { cause });
    }
  }
  return encrypter;
}

/** Throws a StartError where one of them is no identity. */
export function openerWith(opens: OpenWith): Decrypter {
  const decrypter = new Decrypter();
  if ('passphrase' in opens) {
    decrypter.addPassphrase(opens.passphrase);
    return decrypter;
  }
  for (const identity of opens.identities) {
    try {
      decrypter.addIdentity(identity);
    } catch (cause) {
      throw new StartError('the identity file holds something that is no identity of age', { cause });
    }
  }
  return decrypter;
}

export async function encryptForPassphrase(
  secret: Uint8Array,
  passphrase: Uint8Array,
  logN = scryptLogN,
): Promise<string> {
  return armoured({ passphrase: Buffer.from(passphrase).toString(), scryptLogN: logN }, secret);
}

/** Throws a StartError where one of them is no recipient. */
export async function encryptForRecipients(
  secret: Uint8Array,
  recipients: readonly string[],
): Promise<string> {
  return armoured({ recipients }, secret);
}

async function armoured(to: SealTo, secret: Uint8Array): Promise<string> {
  return armor.encode(await sealerTo(to).encrypt(secret));
}

/** Into a buffer of its own, which the caller wipes. Undefined where the passphrase does not open it. */
export function decryptByPassphrase(
  age: string | Uint8Array,
  passphrase: Uint8Array,
): Promise<Uint8Array | undefined> {
  return decrypt(openerWith({ passphrase: Buffer.from(passphrase).toString() }), age);
}

/** As above, by the identities in the text of an identity file. */
export function decryptByIdentities(
  age: string | Uint8Array,
  identities: readonly string[],
): Promise<Uint8Array | undefined> {
  return decrypt(openerWith({ identities }), age);
}

async function decrypt(decrypter: Decrypter, age: string | Uint8Array): Promise<Uint8Array | undefined> {
  try {
    return await decrypter.decrypt(binaryOf(age));
  } catch {
    // The library has one error for all that does not open.
    return undefined;
  }
}

const armourBegins = '-----BEGIN AGE ENCRYPTED FILE-----';

/** Files may be armoured or not. */
function binaryOf(age: string | Uint8Array): Uint8Array {
  if (typeof age === 'string') return armor.decode(age);
  const text = Buffer.from(age.buffer, age.byteOffset, Math.min(age.length, 64)).toString('latin1');
  return text.trimStart().startsWith(armourBegins) ? armor.decode(Buffer.from(age).toString('latin1')) : age;
}

/** The identities of an identity file as age-keygen writes it: comments and empty lines are skipped. Throws a StartError. */
export function identitiesIn(file: Uint8Array, place: string): string[] {
  const lines = Buffer.from(file.buffer, file.byteOffset, file.length).toString().split(/\r?\n/);
  const identities = lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
  for (const line of identities) {
    if (!/^AGE-SECRET-KEY-(PQ-)?1[A-Z0-9]+$/.test(line))
      throw new StartError(`${place} is no age identity file: a line is neither a comment nor an identity`);
  }
  if (identities.length === 0) throw new StartError(`${place} holds no age identity`);
  return identities;
}

/** The recipient of an identity. */
export async function recipientOf(identity: string): Promise<string> {
  return identityToRecipient(identity);
}
