import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { AuditEvent, AuditLog, AuditReceipt } from '../audit-log.ts';
import { type Files, replaceFile, systemFiles } from '../disk/files.ts';
import { transitionType } from '../disk/key-transition.ts';
import { keyFile } from '../disk/layout.ts';
import { openCheckpoint } from '../format/checkpoint.ts';
import { type NoteKey, type NoteSigner, parseVkey } from '../format/note.ts';
import { type AuditRecord, encodeRecord, logKeyId } from '../format/record.ts';
import { verifyTlogProof } from '../format/tlog-proof.ts';

/** The keys that sign checkpoints, where they are kept: outside the log, each change at once or not at all. */
export interface RotatingKeys {
  current(origin: string): readonly NoteSigner[];
  /** None where nothing is being replaced. Of the same types as the current ones, in the same order. */
  next(origin: string): readonly NoteSigner[];
  /** Undefined: nothing is being replaced. `announced`: both generations sign, until then. */
  change(): AttestationKeyChange | undefined;
  /** Makes the next generation, which signs nothing yet. `fits`: whether its verifier keys can be told apart. */
  begin(actor: string, origin: string, fits: (vkeys: readonly string[]) => boolean): Promise<Result<void>>;
  announced(announced: NonNullable<AttestationKeyChange['announced']>): Promise<Result<void>>;
  /** The next generation becomes the current one, whose keys are destroyed. */
  finish(): Promise<Result<void>>;
}

export interface AttestationKeyChange {
  readonly actor: string;
  readonly announced: { readonly origin: string; readonly overlapEndsAtMs: number } | undefined;
}

/** The verifier keys of a log, for those who ask. */
export interface LogKeys {
  /** Of the newest generation that signs. */
  readonly vkeys: readonly string[];
  /** Of the generation that it replaces, while both sign; `until` in UTC milliseconds. */
  readonly replaced: { readonly vkeys: readonly string[]; readonly untilMs: number } | undefined;
}

export interface KeyRotationParts {
  readonly keys: RotatingKeys;
  /** The log itself needs the signers of this, so it comes later. */
  log(): AuditLog;
  /** A record and its proof under the newest checkpoint; undefined where that cannot be had now. */
  prove(index: number): Promise<{ readonly record: unknown; readonly proof: Uint8Array } | undefined>;
  readonly clock: Clock;
  /** The time in which both generations sign, in milliseconds. */
  readonly overlapMs: number;
  /** For the operator's log: one line each. */
  report(done: boolean, detail: string): void;
  readonly files?: Files;
  /** The time between two looks whether a step is due. */
  readonly tickMs?: number;
}

/** A change goes on by itself after a restart, and when the log can be written again. */
const standardTickMs = 1_000;
/** A record with a type brings a checkpoint within 100 ms of the one before, and that takes a few ms. */
const checkpointWaitMs = 5_000;
const pollMs = 10;

const unavailable = refuse('AuditUnavailable', 'it goes on when the audit log can be written', 5_000);

/**
 * Replaces the keys that sign checkpoints so that every step can be the last before a crash. The next keys are stored;
 * the log announces them, and a checkpoint that only the current keys sign covers that; its proof is kept; then both
 * sign for the overlap; then, when a published checkpoint has the signatures of both, the old ones are destroyed.
 */
export class KeyRotation {
  readonly #parts: KeyRotationParts;
  readonly #files: Files;
  #timer: NodeJS.Timeout | undefined;
  #step: Promise<Result<void>> | undefined;
  /** Records of this process that need not be made again when what follows them fails. */
  #onLog: { readonly origin: string; readonly type: string; readonly indexes: readonly number[] } | undefined;
  #reported = '';
  #closing = false;

  constructor(parts: KeyRotationParts) {
    this.#parts = parts;
    this.#files = parts.files ?? systemFiles;
  }

  /** The signers of this log's next checkpoint. */
  signers(origin: string): readonly NoteSigner[] {
    const { keys } = this.#parts;
    const current = keys.current(origin);
    return keys.change()?.announced === undefined ? current : [...keys.next(origin), ...current];
  }

  /** The name of the log that is written now, and the newest generation of keys that signs for it. */
  newest(): { readonly origin: string; readonly signers: readonly NoteSigner[] } {
    const { keys } = this.#parts;
    const { origin } = this.#parts.log().stats();
    const announced = keys.change()?.announced !== undefined;
    return { origin, signers: announced ? keys.next(origin) : keys.current(origin) };
  }

  logKeys(): LogKeys {
    const { keys } = this.#parts;
    const { origin } = this.#parts.log().stats();
    const vkeysOf = (signers: readonly NoteSigner[]) => signers.map(({ vkey }) => vkey);
    const current = vkeysOf(keys.current(origin));
    const announced = keys.change()?.announced;
    if (announced === undefined) return { vkeys: current, replaced: undefined };
    return {
      vkeys: vkeysOf(keys.next(origin)),
      replaced: { vkeys: current, untilMs: announced.overlapEndsAtMs },
    };
  }

  /** Makes new keys and announces them; resolves when both generations sign. `actor`: who asks. */
  async rotate(actor: string): Promise<Result<LogKeys>> {
    const { keys } = this.#parts;
    const log = this.#parts.log();
    if (log.state !== 'ready') return refuse('AuditUnavailable', undefined, 5_000);
    if (keys.change()?.announced !== undefined) {
      return refuse('Conflict', 'the keys of the last rotation still sign beside the ones before');
    }
    if (keys.change() === undefined) {
      const { origin } = log.stats();
      // Ids have 32 bits, and a note tells its signatures apart by name and id.
      const taken = keys.current(origin).map((signer) => keyOf(signer).id);
      const begun = await keys.begin(actor, origin, (vkeys) => {
        const ids = vkeys.map((vkey) => keyOf({ vkey }).id);
        return new Set([...taken, ...ids]).size === taken.length + ids.length;
      });
      if (!begun.ok) return begun;
    }
    const done = await this.#advance();
    if (!done.ok) return done;
    return keys.change()?.announced === undefined ? unavailable : ok(this.logKeys());
  }

  /** Goes on with what an earlier process began, and ends overlaps. */
  start(): void {
    this.#timer = setInterval(() => void this.#advance(), this.#parts.tickMs ?? standardTickMs);
    this.#timer.unref();
  }

  async close(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#timer);
    await this.#step;
  }

  /** The next step, if it is due. One at a time; never rejects. */
  #advance(): Promise<Result<void>> {
    this.#step ??= this.#next()
      .catch((error: unknown) => {
        this.#report(false, error instanceof Error ? error.message : 'unknown');
        return unavailable;
      })
      .finally(() => {
        this.#step = undefined;
      });
    return this.#step;
  }

  async #next(): Promise<Result<void>> {
    const { keys, clock } = this.#parts;
    const log = this.#parts.log();
    const change = keys.change();
    if (change === undefined) return ok(undefined);
    if (log.state !== 'ready') return unavailable;
    const { origin } = log.stats();
    const { actor, announced } = change;
    // The log of a new epoch knows nothing of what the one before announced.
    if (announced?.origin !== origin) return this.#announce(origin, actor);
    return clock.utcMs() < announced.overlapEndsAtMs ? ok(undefined) : this.#finish(origin, actor);
  }

  async #announce(origin: string, actor: string): Promise<Result<void>> {
    const { keys, clock, overlapMs } = this.#parts;
    const [old, next] = [keys.current(origin), keys.next(origin)];
    const notBeforeS = Math.floor(clock.utcMs() / 1000);
    const facts = next.map(({ vkey }, at) => ({
      old_vkey: old[at]?.vkey ?? '',
      new_vkey: vkey,
      not_before: notBeforeS,
    }));
    const recorded = await this.#record(origin, transitionType, facts, actor);
    if (!recorded.ok) return recorded;
    if (!(await this.#covered(origin, recorded.value)))
      return this.#waits('no checkpoint yet over the transition');
    for (const index of recorded.value) {
      const kept = await this.#keepProof(origin, index, old.map(keyOf));
      if (!kept) return this.#waits('the proof of the transition cannot be had yet');
    }
    const overlapEndsAtMs = clock.utcMs() + overlapMs;
    const stored = await keys.announced({ origin, overlapEndsAtMs });
    if (!stored.ok) return stored;
    const ends = new Date(overlapEndsAtMs).toISOString();
    this.#report(true, `new keys sign beside the old ones until ${ends}`);
    // A checkpoint with all signatures, though nothing else may happen for hours.
    const data = { until: Math.floor(overlapEndsAtMs / 1000) };
    const noted = await this.#record(origin, 'attkey.overlap', [data], actor);
    if (noted.ok) await this.#covered(origin, noted.value);
    return ok(undefined);
  }

  async #finish(origin: string, actor: string): Promise<Result<void>> {
    const { keys } = this.#parts;
    const log = this.#parts.log();
    const newest = log.checkpoint();
    const next = keys.next(origin).map(keyOf);
    // The checkpoint that the next start finds published has to verify with the new keys alone.
    const both = newest !== undefined && openCheckpoint(Buffer.from(newest.note), origin, next).ok;
    if (!both) return this.#waits('no checkpoint yet that the new keys have signed');
    const facts = keys.current(origin).map((signer) => ({ key: `${origin}+${keyOf(signer).id}` }));
    const recorded = await this.#record(origin, 'attkey.destroy', facts, actor);
    if (!recorded.ok) return recorded;
    const finished = await keys.finish();
    if (finished.ok) this.#report(true, 'the old keys are destroyed; the new ones sign alone');
    return finished;
  }

  /** Records of the log about its keys, durable when it resolves; not twice in one process. */
  async #record(
    origin: string,
    type: string,
    facts: readonly NonNullable<AuditEvent['data']>[],
    actor: string,
  ): Promise<Result<readonly number[]>> {
    if (this.#onLog?.origin === origin && this.#onLog.type === type) return ok(this.#onLog.indexes);
    const log = this.#parts.log();
    const indexes: number[] = [];
    for (const data of facts) {
      if (!log.reserve(1)) return unavailable;
      const appended: Result<AuditReceipt> = await log.append(
        {
          actor,
          alg: 'none',
          inputDigest: undefined,
          keyId: logKeyId,
          keyVersion: 0,
          opId: randomUUID(),
          purpose: 'log',
          result: 'ok',
          tenant: '',
          type,
          data,
        },
        'synced',
      );
      if (!appended.ok) return appended;
      indexes.push(appended.value.index);
    }
    this.#onLog = { origin, type, indexes };
    return ok(indexes);
  }

  /** True if a published checkpoint covers these records, within a few seconds. */
  async #covered(origin: string, indexes: readonly number[]): Promise<boolean> {
    const { clock } = this.#parts;
    const log = this.#parts.log();
    const lastMs = clock.monotonicMs() + checkpointWaitMs;
    const newest = Math.max(...indexes);
    while (clock.monotonicMs() < lastMs && !this.#closing) {
      const checkpoint = log.checkpoint();
      if (checkpoint?.origin === origin && checkpoint.size > newest) return true;
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
    return false;
  }

  /** Beside the log, where it outlives the entry; only what holds for those who trust `keys` is kept. */
  async #keepProof(origin: string, index: number, keys: readonly NoteKey[]): Promise<boolean> {
    const proven = await this.#parts.prove(index);
    if (proven === undefined) return false;
    const { proof } = proven;
    const entry = Buffer.from(encodeRecord(proven.record as AuditRecord));
    if (!verifyTlogProof(proof, entry, origin, keys).ok) return false;
    const { directory } = this.#parts.log();
    const path = (ending: 'json' | 'tlog-proof', number: number) => join(directory, keyFile(number, ending));
    this.#files.makeDirectory(join(directory, 'keys'));
    let number = 0;
    while (this.#files.read(path('tlog-proof', number)) !== undefined) {
      // Kept already, by an attempt whose end failed.
      if (this.#files.read(path('json', number))?.equals(entry) === true) return true;
      number++;
    }
    // The proof comes last: a record without one is not looked at.
    await replaceFile(this.#files, path('json', number), entry);
    await replaceFile(this.#files, path('tlog-proof', number), proof);
    return true;
  }

  #waits(why: string): Result<void> {
    this.#report(false, why);
    return unavailable;
  }

  /** The same trouble once, not each second. */
  #report(done: boolean, detail: string): void {
    if (detail === this.#reported) return;
    this.#reported = detail;
    this.#parts.report(done, detail);
  }
}

function keyOf({ vkey }: { readonly vkey: string }): NoteKey {
  const key = parseVkey(vkey);
  if (!key.ok) throw new Error('an attestation key is not a verifier key');
  return key.value;
}
