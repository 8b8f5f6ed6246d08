import { createDecipheriv, createHash, createSecretKey, type KeyObject } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { decodeBase64 } from '../../core/bytes.ts';
import { StartError } from '../../core/start-error.ts';
import { dekBytes, isDekId, isThreadId } from '../../operations/deks/dek.ts';
import { failOnWrongSettings, secretRule } from '../settings.ts';
import { secretKeyIn } from './config-file.ts';
import { type StoppedDeksFlags, settingsOfDeks, withStoppedDeks } from './stopped-deks.ts';

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

interface Imported {
  readonly imported: number;
  readonly there: number;
}

/** Throws a StartError. Nothing is written where a line is wrong. */
export async function importDeks(
  flags: ImportFlags,
  progress: (done: number, total: number) => void,
): Promise<Imported> {
  failOnWrongSettings(settingsOfDeks(flags));
  const old: OldDek[] = [];
  try {
    openOld(flags, old);
    const use: Parameters<typeof withStoppedDeks<Imported>>[1] = async (ask, { dek_import: operation }) => {
      let there = 0;
      const take = async ({ id, threadId, key }: OldDek) => {
        const made = await ask(operation, { id, threadId, key });
        if (!made.ok) throw new StartError(`${id}: ${made.failure.hint ?? made.failure.code}`);
        if (made.value.there) there++;
      };
      for (let at = 0; at < old.length; at += atOnce) {
        const some = old.slice(at, at + atOnce);
        // All of them have ended before any key is wiped: zeros would be imported in the place of one that waits.
        for (const each of await Promise.allSettled(some.map(take)))
          if (each.status === 'rejected') throw each.reason;
        wipe(some);
        progress(at + some.length, old.length);
      }
      return { imported: old.length - there, there };
    };
    return await withStoppedDeks(flags, use, true);
  } finally {
    wipe(old);
  }
}

/** Adds each DEK to `old` as soon as it is open, so that the caller wipes those before a wrong line. */
function openOld(flags: ImportFlags, old: OldDek[]): void {
  const kek = secretKeyIn(flags.oldKekFile, secretRule());
  try {
    readOld(flags.in, createSecretKey(kek), old);
  } finally {
    kek.fill(0);
  }
}

function readOld(path: string, kek: KeyObject, old: OldDek[]): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() !== true) throw new StartError(`there is no file ${path}`);
  if (stat.size > maxFileBytes) throw new StartError(`${path} is too long`);
  const seen = new Set<string>();
  const keys = new Set<string>();
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
    old.push({ id: line.key_id, threadId: line.thread_id, key });
    // One of them would open what the other one encrypted before.
    const digest = createHash('sha256').update(key).digest('base64');
    if (keys.has(digest)) throw wrong('the key stands there twice, under two ids');
    keys.add(digest);
  }
}

function wipe(deks: readonly OldDek[]): void {
  for (const { key } of deks) key.fill(0);
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

function opened(wrapped: string, kek: KeyObject): Buffer | undefined {
  const bytes = decodeBase64(wrapped, nonceBytes + dekBytes + tagBytes);
  if (bytes?.length !== nonceBytes + dekBytes + tagBytes) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', kek, bytes.subarray(0, nonceBytes));
  decipher.setAuthTag(bytes.subarray(-tagBytes));
  const key = decipher.update(bytes.subarray(nonceBytes, -tagBytes));
  try {
    decipher.final();
    return key;
  } catch {
    key.fill(0);
    return undefined;
  }
}
