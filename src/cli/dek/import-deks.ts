import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { decodeBase64 } from '../../core/bytes.ts';
import { StartError } from '../../core/start-error.ts';
import { isDekId, isThreadId } from '../../operations/deks/dek.ts';
import { secretRule } from '../settings.ts';
import { secretKeyIn } from './config-file.ts';
import { type StoppedDeksFlags, withStoppedDeks } from './stopped-deks.ts';

export interface ImportFlags extends StoppedDeksFlags {
  readonly in: string;
  readonly oldKekFile: string;
}

const shape = TypeCompiler.Compile(
  Type.Object(
    {
      key_id: Type.String(),
      wrapped: Type.String(),
      thread_id: Type.Optional(Type.String()),
    },
    { additionalProperties: false },
  ),
);
/** A million DEKs have some 150 MB. */
const maxFileBytes = 512 * 1024 * 1024;

/** As many share a message to a worker, and a commit. */
const atOnce = 64;

interface OldDek {
  readonly id: string;
  readonly threadId: string | undefined;
  readonly key: Buffer;
}

/** Throws a StartError. Nothing is written where a line is wrong. */
export async function importDeks(
  flags: ImportFlags,
  progress: (done: number, total: number) => void,
): Promise<{ readonly imported: number; readonly there: number }> {
  const kek = secretKeyIn(flags.oldKekFile, secretRule());
  const old = readOld(flags.in, createSecretKey(kek));
  kek.fill(0);
  return withStoppedDeks(flags, async (ask, { dek_import: operation, dek_decrypt: decrypt }) => {
    let there = 0;
    const take = async ({ id, threadId, key }: OldDek) => {
      const made = await ask(operation, { id, threadId, key });
      const probe = made.ok && made.value.there ? probeOf(key) : undefined;
      key.fill(0);
      if (!made.ok) throw new StartError(`${id}: ${made.failure.hint ?? made.failure.code}`);
      if (probe === undefined) return;
      const opened = await ask(decrypt, { id, ciphertext: probe, aad: noBytes, version: 1 });
      if (opened.ok) there++;
      else if (opened.failure.code === 'BadRequest')
        throw new StartError(`${id}: there is another key of this id`);
      else throw new StartError(`${id}: ${opened.failure.hint ?? opened.failure.code}`);
    };
    for (let at = 0; at < old.length; at += atOnce) {
      await Promise.all(old.slice(at, at + atOnce).map(take));
      progress(Math.min(at + atOnce, old.length), old.length);
    }
    return { imported: old.length - there, there };
  });
}

function readOld(path: string, kek: KeyObject): readonly OldDek[] {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() !== true) throw new StartError(`there is no file ${path}`);
  if (stat.size > maxFileBytes) throw new StartError(`${path} is too long`);
  const seen = new Set<string>();
  const keys = new Set<string>();
  const old: OldDek[] = [];
  for (const [index, text] of readFileSync(path, 'utf8').split('\n').entries()) {
    if (text === '') continue;
    const wrong = (what: string) => new StartError(`${path}, line ${index + 1}: ${what}`);
    const line = parsed(text);
    if (line === undefined) throw wrong('is not {"key_id", "wrapped", "thread_id"?}');
    if (!isDekId(line.key_id)) throw wrong('the key_id is none that this service takes');
    if (line.thread_id !== undefined && !isThreadId(line.thread_id))
      throw wrong('the thread_id is none that this service takes');
    if (seen.has(line.key_id)) throw wrong('the key_id stands there twice');
    seen.add(line.key_id);
    const key = opened(line.wrapped, kek);
    if (key === undefined) throw wrong('does not open under this KEK');
    // One of them would open what the other one encrypted before.
    const digest = createHash('sha256').update(key).digest('base64');
    if (keys.has(digest)) throw wrong('the key stands there twice, under two ids');
    keys.add(digest);
    old.push({ id: line.key_id, threadId: line.thread_id, key });
  }
  return old;
}

function parsed(text: string) {
  try {
    const value: unknown = JSON.parse(text);
    return shape.Check(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const nonceBytes = 12;
const tagBytes = 16;
const dekBytes = 32;

const noBytes = new Uint8Array(0);

/** Opens by this key alone: bound to no id, as what the service before has encrypted. */
function probeOf(key: Uint8Array): Uint8Array {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  return Buffer.concat([nonce, cipher.update(randomBytes(dekBytes)), cipher.final(), cipher.getAuthTag()]);
}

function opened(wrapped: string, kek: KeyObject): Buffer | undefined {
  const bytes = decodeBase64(wrapped, nonceBytes + dekBytes + tagBytes);
  if (bytes?.length !== nonceBytes + dekBytes + tagBytes) return undefined;
  try {
    const decipher = createDecipheriv('aes-256-gcm', kek, bytes.subarray(0, nonceBytes));
    decipher.setAuthTag(bytes.subarray(-tagBytes));
    const key = decipher.update(bytes.subarray(nonceBytes, -tagBytes));
    decipher.final();
    return key;
  } catch {
    return undefined;
  }
}
