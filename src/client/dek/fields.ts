import { fromBase64, toBase64 } from '../bytes.ts';
import type { DekProvider } from './provider.ts';

/** A field that is encrypted, as a document holds it: `v` is base64 of nonce || ciphertext || tag. */
export interface EncryptedField {
  readonly _enc: 'gcm';
  readonly v: string;
}

/** What the caller says that it is; without that its members can be read as they come. */
// biome-ignore lint/suspicious/noExplicitAny: the members of a document are the caller's to know.
type Document = Record<string, any>;

/** A field was not what it has to be. Nothing of its value is told. */
export class FieldError extends Error {
  override readonly name = 'FieldError';
  /** The path of the field, `contact.email`. */
  readonly field: string;

  constructor(field: string, problem: string, cause?: unknown) {
    super(`${field}: ${problem}`, cause === undefined ? undefined : { cause });
    this.field = field;
  }
}

/**
 * A copy of a document whose fields of these paths (`contact.email`) are encrypted. Fails closed: where one cannot be encrypted
 * there is no document at all. A field that is absent stays so; one that is encrypted already is refused, as nobody knows by which
 * key. The path is bound, so that a field's ciphertext is no other field's.
 */
export function encryptFields<Encrypted extends object = Document>(
  provider: Pick<DekProvider, 'encrypt'>,
  keyId: string,
  document: object,
  paths: readonly string[],
): Promise<Encrypted> {
  return changeFields<Encrypted>(document, paths, 'encrypted', async (value, path) => {
    if (isEncrypted(value)) throw new FieldError(path, 'is encrypted already');
    const text = JSON.stringify(value);
    if (text === undefined) throw new FieldError(path, 'is nothing that JSON can hold');
    const made = await provider.encrypt(keyId, Buffer.from(text), aadOf(path));
    return { _enc: 'gcm', v: toBase64(made) } satisfies EncryptedField;
  });
}

/** The way back. A field of these paths that is there and not encrypted is refused: somebody has put plaintext in its place. */
export function decryptFields<Decrypted extends object = Document>(
  provider: Pick<DekProvider, 'decrypt'>,
  keyId: string,
  document: object,
  paths: readonly string[],
): Promise<Decrypted> {
  return changeFields<Decrypted>(document, paths, 'decrypted', async (value, path) => {
    if (!isEncrypted(value)) throw new FieldError(path, 'is not encrypted');
    const opened = await provider.decrypt(keyId, fromBase64(value.v), aadOf(path));
    try {
      return JSON.parse(Buffer.from(opened).toString());
    } catch {
      // The error of JSON.parse has a piece of the text.
      throw new FieldError(path, 'was not encrypted by encryptFields');
    }
  });
}

async function changeFields<Changed extends object>(
  document: object,
  paths: readonly string[],
  what: 'encrypted' | 'decrypted',
  change: (value: unknown, path: string) => Promise<unknown>,
): Promise<Changed> {
  const copy = structuredClone(document);
  await Promise.all(
    paths.map(async (path) => {
      const steps = path.split('.');
      const last = steps.pop() as string;
      let parent: unknown = copy;
      for (const step of steps) parent = memberOf(parent, step, path);
      memberOf(parent, last, path);
      if (typeof parent !== 'object' || parent === null || !Object.hasOwn(parent, last)) return;
      const holder = parent as Record<string, unknown>;
      try {
        holder[last] = await change(holder[last], path);
      } catch (cause) {
        if (cause instanceof FieldError) throw cause;
        throw new FieldError(path, `could not be ${what}${reasonOf(cause)}`, cause);
      }
    }),
  );
  return copy as Changed;
}

/** Texts of a provider's refusals have nothing of what was given. */
function reasonOf(cause: unknown): string {
  const known = cause instanceof Error && (cause.name === 'KmsError' || cause.name === 'UnreachableError');
  return known ? `: ${cause.message}` : '';
}

/** Undefined where it is absent. A list has numbers for names: to pass one over would leave its fields in the clear. */
function memberOf(value: unknown, name: string, path: string): unknown {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'object') throw new FieldError(path, 'leads through a value that has no fields');
  if (Array.isArray(value) && !/^(0|[1-9][0-9]*)$/.test(name))
    throw new FieldError(path, 'leads through a list: name the place in it, as in contacts.0.email');
  return Object.hasOwn(value, name) ? (value as Document)[name] : undefined;
}

function isEncrypted(value: unknown): value is EncryptedField {
  if (typeof value !== 'object' || value === null) return false;
  const { _enc, v } = value as Partial<EncryptedField>;
  return _enc === 'gcm' && typeof v === 'string';
}

function aadOf(path: string): Uint8Array {
  return Buffer.from(`field:${path}`);
}
