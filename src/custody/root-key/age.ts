import { armor, Decrypter, Encrypter, identityToRecipient } from 'age-encryption';
import { StartError } from '../../core/start-error.ts';

/**
 * The age format, version 1 (https://age-encryption.org/v1, C2SP age), armoured: for one passphrase (scrypt), or for recipients of
 * which any opens (X25519, and ML-KEM-768 with X25519).
 */

/** age's own: 2^18, about a second and 256 MiB. */
const scryptLogN = 18;

export async function encryptForPassphrase(
  secret: Uint8Array,
  passphrase: Uint8Array,
  logN = scryptLogN,
): Promise<string> {
  const encrypter = new Encrypter();
  encrypter.setPassphrase(Buffer.from(passphrase).toString());
  encrypter.setScryptWorkFactor(logN);
  return armor.encode(await encrypter.encrypt(secret));
}

/** Throws a StartError where one of them is no recipient. */
export async function encryptForRecipients(
  secret: Uint8Array,
  recipients: readonly string[],
): Promise<string> {
  const encrypter = new Encrypter();
  for (const recipient of recipients) {
    try {
      encrypter.addRecipient(recipient);
    } catch (cause) {
      throw new StartError(`${recipient.slice(0, 24)}… is no age recipient`, { cause });
    }
  }
  return armor.encode(await encrypter.encrypt(secret));
}

/** Into a buffer of its own, which the caller wipes. Undefined where the passphrase does not open it. */
export function decryptByPassphrase(
  age: string | Uint8Array,
  passphrase: Uint8Array,
): Promise<Uint8Array | undefined> {
  const decrypter = new Decrypter();
  decrypter.addPassphrase(Buffer.from(passphrase).toString());
  return decrypt(decrypter, age);
}

/** As above, by the identities in the text of an identity file. */
export function decryptByIdentities(
  age: string | Uint8Array,
  identities: readonly string[],
): Promise<Uint8Array | undefined> {
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  return decrypt(decrypter, age);
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
