import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import type { AuditEvent, AuditLog } from '../audit-log.ts';
import { logKeyId } from '../format/record.ts';

/** Everything below the directory, what is on the log already included: about 250,000 lines. Beyond it lines are counted only. */
const sideLogBytes = 64 * 1024 * 1024;

/** Lines that wait for a slow disk, about 4,000 of them. */
const maxPendingBytes = 1024 * 1024;

/** The log's word on the side log: how much there is, and the digest by which it can be told that it is the same. */
export interface SideLogFacts {
  readonly side_log_path: string;
  readonly side_log_files: number;
  readonly side_log_bytes: number;
  readonly side_log_lines: number;
  /** Lines that found no room, of this process. */
  readonly side_log_dropped: number;
  /** Of the files' bytes in the order of their names, one after the other. */
  readonly side_log_sha256: string;
}

export interface SealedSideLog {
  readonly facts: SideLogFacts;
  /** The facts are on the log (or not): then the files are put where the facts say (or stay for the next time). */
  settle(onLog: boolean): Promise<void>;
}

export interface SideLogParts {
  /** `degraded/` in the audit directory. */
  readonly directory: string;
  /** Of the audit log; the side log's has `/degraded/<boot id>` behind it. */
  readonly origin: string;
  readonly bootId: string;
  readonly clock: Clock;
  readonly maxBytes?: number;
}

/**
 * Acts without a record, while the log takes none: verifications, reads of public keys, refusals. JSON lines, a file for each
 * time that one is begun. Nothing vouches for them until the log itself says how many there are and what their digest is;
 * whoever can write the directory can change them before that. Nobody waits for them, and they never fail.
 */
export class SideLog {
  readonly #parts: SideLogParts;
  #pending: string[] = [];
  #pendingBytes = 0;
  #dropped = 0;
  #writing: Promise<void> | undefined;
  #file: FileHandle | undefined;
  /** Of the file that is being written. */
  #name: string | undefined;
  /** The bytes by which the directory may still grow; undefined: not looked yet. */
  #roomBytes: number | undefined;
  #sealing = false;
  #moving: Promise<void> | undefined;

  constructor(parts: SideLogParts) {
    this.#parts = parts;
  }

  record({ actor, alg, keyId, keyVersion, opId, purpose, result, tenant }: AuditEvent): void {
    const ts = Math.floor(this.#parts.clock.utcMs() * 1000);
    const fields = {
      actor,
      alg,
      key_id: keyId,
      key_version: keyVersion,
      op_id: opId,
      purpose,
      result,
      tenant,
      ts,
    };
    const line = `${JSON.stringify(fields)}\n`;
    if (this.#pendingBytes + line.length > maxPendingBytes || this.#roomBytes === 0) {
      this.#dropped++;
      return;
    }
    this.#pending.push(line);
    this.#pendingBytes += line.length;
    this.#writing ??= this.#write();
  }

  /** Ends the file that is written, and says what there is; undefined where there is nothing, or it is being done already. */
  async seal(): Promise<SealedSideLog | undefined> {
    if (this.#sealing) return undefined;
    this.#sealing = true;
    try {
      const sealed = await this.#seal();
      if (sealed === undefined) this.#sealing = false;
      return sealed;
    } catch {
      // It cannot be read now; the files stay for the next time.
      this.#sealing = false;
      return undefined;
    }
  }

  async close(): Promise<void> {
    await this.#writing;
    try {
      if (this.#dropped > 0) await this.#file?.appendFile(`${JSON.stringify({ dropped: this.#dropped })}\n`);
      await this.#file?.close();
    } catch {
      // The disk does not take it, and nobody waits for it.
    }
    this.#file = undefined;
  }

  /** One write at a time, of all that has come since the last. */
  async #write(): Promise<void> {
    while (this.#pending.length > 0) {
      const lines = this.#pending;
      this.#pending = [];
      this.#pendingBytes = 0;
      try {
        this.#file ??= await this.#begin();
        const room = this.#roomBytes ?? 0;
        let bytes = 0;
        const fitting = lines.filter((line) => {
          bytes += Buffer.byteLength(line);
          return bytes <= room;
        });
        this.#roomBytes = Math.max(0, room - bytes);
        this.#dropped += lines.length - fitting.length;
        lines.splice(0, lines.length - fitting.length);
        await this.#file.appendFile(fitting.join(''));
      } catch {
        this.#dropped += lines.length;
      }
    }
    this.#writing = undefined;
  }

  async #begin(): Promise<FileHandle> {
    const { directory, origin, bootId, clock, maxBytes = sideLogBytes } = this.#parts;
    // Lines that were put on the log are counted in their place there, before or after.
    await this.#moving;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const header = `${JSON.stringify({ origin: `${origin}/degraded/${bootId}`, v: 1 })}\n`;
    this.#roomBytes = Math.max(0, maxBytes - (await bytesBelow(directory)) - header.length);
    // The same one again after a failure: a full disk must not be filled with empty files.
    this.#name ??= `${String(Math.floor(clock.utcMs())).padStart(14, '0')}-${bootId}.jsonl`;
    const file = await open(join(directory, this.#name), 'a', 0o600);
    try {
      if (this.#roomBytes > 0) await file.appendFile(header);
    } catch (cause) {
      await file.close();
      throw cause;
    }
    return file;
  }

  async #seal(): Promise<SealedSideLog | undefined> {
    const { directory, clock } = this.#parts;
    while (this.#writing !== undefined) await this.#writing;
    const file = this.#file;
    this.#file = undefined;
    this.#name = undefined;
    this.#roomBytes = undefined;
    await file?.sync();
    await file?.close();
    // Later lines go to another file.
    const names = (await filesIn(directory)).filter((name) => name !== this.#name);
    const dropped = this.#dropped;
    if (names.length === 0 && dropped === 0) return undefined;
    const digest = createHash('sha256');
    let [bytes, lines] = [0, 0];
    for (const name of names) {
      // Each begins with the line that says whose it is.
      let linesOfFile = -1;
      for await (const chunk of createReadStream(join(directory, name)) as AsyncIterable<Buffer>) {
        digest.update(chunk);
        bytes += chunk.length;
        for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) linesOfFile++;
      }
      lines += Math.max(0, linesOfFile);
    }
    const place = String(Math.floor(clock.utcMs()));
    return {
      facts: {
        side_log_path: `degraded/${place}`,
        side_log_files: names.length,
        side_log_bytes: bytes,
        side_log_lines: lines,
        side_log_dropped: dropped,
        side_log_sha256: digest.digest('hex'),
      },
      settle: async (onLog) => {
        if (onLog) {
          this.#dropped -= dropped;
          // A name that cannot be changed is put on the log once more, with the same digest.
          this.#moving = moveTo(directory, place, names).catch(() => undefined);
          await this.#moving;
        }
        this.#sealing = false;
      },
    };
  }
}

/** Puts what there is onto the log, as a record of type `degraded`. */
export async function linkSideLog(
  sideLog: SideLog,
  log: Pick<AuditLog, 'reserve' | 'append'>,
): Promise<void> {
  const sealed = await sideLog.seal();
  if (sealed === undefined) return;
  if (!log.reserve(1)) {
    await sealed.settle(false);
    return;
  }
  const appended = await log.append(
    {
      ...{ actor: 'audit-log', alg: 'none', inputDigest: undefined, keyId: logKeyId, keyVersion: 0 },
      ...{ opId: randomUUID(), purpose: 'log', result: 'ok', tenant: '' },
      ...{ type: 'degraded', data: { ...sealed.facts } },
    },
    'synced',
  );
  await sealed.settle(appended.ok);
}

async function moveTo(directory: string, place: string, names: readonly string[]): Promise<void> {
  await mkdir(join(directory, place), { recursive: true, mode: 0o700 });
  for (const name of names) await rename(join(directory, name), join(directory, place, name));
}

async function filesIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  return entries
    .flatMap((entry) => (entry.isFile() && entry.name.endsWith('.jsonl') ? [entry.name] : []))
    .sort();
}

async function bytesBelow(directory: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    // Somebody may tidy up just then.
    const found = entry.isFile() && (await stat(join(entry.parentPath, entry.name)).catch(() => undefined));
    if (found) bytes += found.size;
  }
  return bytes;
}
